"""The statistics of 1,000 groups, read and parsed."""

from __future__ import annotations

import os
import resource
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cgmgr.group import Group
from cgmgr.kept import Budget, KeptFiles

from .place import Bench
from .rounds import interleave
from .table import Row

HOW = """\
`Group.stats()` of 1,000 groups whose directories are open: every statistics file of every
controller, parsed into records. The C program opens, reads and closes the same files relative to
directories that it has opened before, and parses every number in them. The groups are idle; a busy
one's files are a little longer.

With files kept open, as the metrics' collector keeps them from one scrape to the next, each file is
one pread. What it keeps is half of what the process may have open, so both sides take the groups in
portions that fit."""

SPENT = """\
to open, read and close the files alone takes Python as long as it takes C to do that and to parse
them; what is above is, in equal parts, parsing, making the records, and the calls in between. Fewer
system calls help: a file that is kept open costs one instead of three. The 38 files of a group here
are 38 descriptors, so a collector of a thousand groups wants a limit (RLIMIT_NOFILE) of 80,000;
below that, some groups are read as without."""

GROUPS, ROUNDS = 1000, 5


def measure(bench: Bench) -> list[Row]:
    parent = bench.parent.name
    with ExitStack() as made:
        groups = [
            made.enter_context(bench.manager.create(f"{parent}/{number}", ephemeral=True))
            for number in range(GROUPS)
        ]
        arguments = same_files(groups[0])
        files = len(arguments) - arguments.index("--") - 1
        at_once = descriptors() // 4 // max(len(groups[0].paths), files // 2)
        starts = range(0, GROUPS, at_once)

        def ours(keep: bool) -> float:
            return sum(read_all(groups[start : start + at_once], keep) for start in starts)

        def theirs() -> float:
            counts = ((start, min(at_once, GROUPS - start)) for start in starts)
            return sum(c_reads(bench, start, count, arguments) for start, count in counts)

        sides = (partial(ours, keep=False), partial(ours, keep=True), theirs)
        opened, kept, c = interleave(sides, ROUNDS)
    return [
        Row("stats of 1,000 groups", "ms", opened, c, "C", aim=1.3),
        Row("the same, files kept open", "ms", kept, c, "C", aim=1.3),
    ]


def read_all(groups: list[Group], keep: bool) -> float:
    """Milliseconds for the statistics of groups, opened before and closed afterwards."""
    budget = Budget.of_this_process()
    files = [KeptFiles(budget) if keep else None for _ in groups]
    for group, kept in zip(groups, files, strict=True):
        group.everywhere()
        if keep:
            group.stats(kept)
    assert budget.left > 0, "what is measured fits"
    begin = time.perf_counter_ns()
    for group, kept in zip(groups, files, strict=True):
        group.stats(kept)
    spent = time.perf_counter_ns() - begin
    for group, kept in zip(groups, files, strict=True):
        if kept is not None:
            kept.close()
        group.close()
    return spent / 1e6


def c_reads(bench: Bench, first: int, count: int, arguments: list[str]) -> float:
    return bench.numbers("stats", str(first), str(count), *arguments)[0] / 1e6


def same_files(group: Group) -> list[str]:
    """What the C program is told to read, from what our own reading opens: the hierarchies, then
    INDEX:FILE."""
    group.everywhere()
    opened: list[tuple[str, str]] = []
    really_open = os.open

    def watch(path: str, *arguments: Any, dir_fd: int | None = None, **options: Any) -> int:
        fd = really_open(path, *arguments, dir_fd=dir_fd, **options)
        opened.append((str(Path(f"/proc/self/fd/{dir_fd}").readlink().parent), path))
        return fd

    with patch("os.open", watch):
        group.stats()
    group.close()
    places = sorted({place for place, _ in opened})
    return [*places, "--", *(f"{places.index(place)}:{file}" for place, file in opened)]


def descriptors() -> int:
    """How many files may be open, as many as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
