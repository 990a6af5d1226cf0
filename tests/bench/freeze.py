"""A group of 100 processes frozen, until the kernel confirms it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from statistics import median

from cgmgr.group import Group

from .place import Bench
from .rounds import interleave
from .table import Row

HOW = """\
`Group.freeze()` of 100 sleeping processes returns once the kernel says that all stand still; the
thaw is not counted. The C program writes the same file and asks in the same way until it is
confirmed, with its descriptors open. What we do beyond that: a lock, so that two callers do not
freeze and thaw in turn, and a look at what the group was before, to put that back on failure."""

SPENT = """\
four fifths are the kernel's, which wakes every process to stop it. The rest is the lock file of the
group and the look at its state before."""

PROCESSES, BATCH, ROUNDS = 100, 10, 40


def measure(bench: Bench) -> list[Row]:
    with bench.group("freeze") as group, crowd(bench, group):
        hierarchy = bench.manager.host.need("freezer")
        place = hierarchy.mountpoint + group.paths[hierarchy.key]
        arguments = (str(BATCH), place, f"v{hierarchy.version}")

        def ours() -> float:
            return median(freeze_usec(group) for _ in range(BATCH))

        def theirs() -> float:
            return median(bench.numbers("freeze", *arguments)) / 1000

        mine, c = interleave((ours, theirs), ROUNDS)
    return [Row("freeze 100 processes, confirmed", "us", mine, c, "C", aim=1.2)]


def freeze_usec(group: Group) -> float:
    begin = time.perf_counter_ns()
    group.freeze()
    spent = time.perf_counter_ns() - begin
    group.thaw()
    return spent / 1000


@contextmanager
def crowd(bench: Bench, group: Group) -> Generator[None]:
    """The processes, in the group."""
    command = [bench.program("crowd"), str(PROCESSES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None and first.stdout is not None
        try:
            group.add(first.pid)
            first.stdin.write(b"!")
            first.stdin.flush()
            first.stdout.readline()
            count = len(group.pids())
            if count != PROCESSES:
                raise AssertionError(f"{count} processes are in the group, not {PROCESSES}")
            yield
        finally:
            group.thaw()
            first.stdin.close()
