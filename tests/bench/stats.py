"""The statistics of 1,000 groups, read and parsed."""

from __future__ import annotations

import os
import resource
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cgmgr.group import Group

from .place import Bench
from .rounds import interleave
from .table import Row

HOW = """\
`Group.stats()` of 1,000 groups whose directories are open: every statistics file of every
controller, parsed into records. The C program opens, reads and closes the same files relative to
directories that it has opened before, and parses every number in them. The groups are idle; a busy
one's files are a little longer."""

SPENT = """\
to open, read and close the files alone takes Python as long as it takes C to do that and to parse
them; what is above is, in equal parts, parsing, making the records, and the calls in between. Only
fewer system calls would help: with every file held open one call a file does instead of three, and
the whole is as fast as C, but a thousand groups then hold some 40,000 descriptors."""

GROUPS, ROUNDS = 1000, 5
SPARE_FDS = 200


def measure(bench: Bench) -> list[Row]:
    parent = bench.parent.name
    with ExitStack() as made:
        groups = [
            made.enter_context(bench.manager.create(f"{parent}/{number}", ephemeral=True))
            for number in range(GROUPS)
        ]
        arguments = same_files(groups[0])
        at_once = descriptors() // len(groups[0].paths)
        starts = range(0, GROUPS, at_once)

        def ours() -> float:
            return sum(read_all(groups[start : start + at_once]) for start in starts)

        def theirs() -> float:
            counts = ((start, min(at_once, GROUPS - start)) for start in starts)
            return sum(c_reads(bench, start, count, arguments) for start, count in counts)

        mine, c = interleave((ours, theirs), ROUNDS)
    return [Row("stats of 1,000 groups", "ms", mine, c, "C", aim=1.3)]


def read_all(groups: list[Group]) -> float:
    """Milliseconds for the statistics of groups, opened before and closed afterwards."""
    for group in groups:
        group.everywhere()
    begin = time.perf_counter_ns()
    for group in groups:
        group.stats()
    spent = time.perf_counter_ns() - begin
    for group in groups:
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
    """How many files may be open, as many as may be, less some for other uses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft - SPARE_FDS if soft != resource.RLIM_INFINITY else 1 << 20
