"""Measurements: `python -m tests.bench`, the numbers of docs/benchmarks.md.

Law: one module a measurement, with `measure(bench) -> list[Row]`; what they share is in `place`
(groups and programs, cleaned up on every way out), `rounds` (how samples are taken) and `table`
(what is made of them).  A program to compare with is somebody else's, or C that does the job with
the fewest system calls.  Ratios count, from samples taken in turn within one run: absolute numbers
are this machine's, on that day.
"""
