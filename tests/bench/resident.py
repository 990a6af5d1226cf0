"""A program with much or little memory resident, that starts `true` in a group when it is told to.

    python -m tests.bench.resident MIB GROUP

It says how many MiB are resident, then answers every line on its input with the microseconds from
the start of one `true` to its end, a median over BATCH.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from cgmgr.group import Group
from cgmgr.manager import Manager

BATCH = 10


def resident_mib() -> int:
    """Of this process, by proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def start_usec(group: Group) -> float:
    begin = time.perf_counter_ns()
    with group.popen(["true"]) as process:
        process.wait()
    return (time.perf_counter_ns() - begin) / 1000


def main(mib: int, name: str) -> None:
    ballast = b"x" * (mib << 20)
    group = Manager().open(name)
    start_usec(group)  # the first one starts the spawner
    print(resident_mib(), flush=True)
    with suppress(BrokenPipeError):  # nobody wants to know any more
        for _ in sys.stdin:
            print(median(start_usec(group) for _ in range(BATCH)), flush=True)
    del ballast


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
