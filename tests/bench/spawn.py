"""`true` started in a group, by a large program and by a small one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .place import Bench, NotHere
from .rounds import interleave
from .table import Row

HOW = """\
`Group.popen(["true"])` until it has ended, in a group of every hierarchy: by a program with 2 GiB
resident, and by the same program without them. Both run side by side and take turns."""

SPENT = """\
the spawner, a process of its own that holds nothing of the caller's memory, clones the new process,
so what the caller holds does not count. Most is the kernel's: clone, exec, exit, and a hand-over
from the caller to the spawner to the new process."""

LARGE_MIB, SMALL_MIB, ROUNDS = 2048, 1, 15
SPARE_MIB = 1024


def measure(bench: Bench) -> list[Row]:
    available = available_mib()
    if available < LARGE_MIB + SPARE_MIB:
        raise NotHere(f"it needs {LARGE_MIB + SPARE_MIB} MiB of memory, {available} are available")
    with bench.group("spawn") as group, ExitStack() as stack:
        large, small = (
            resident(stack, bench.python, mib, group.name) for mib in (LARGE_MIB, SMALL_MIB)
        )
        mine, theirs = interleave((large, small), ROUNDS)
    return [
        Row("start of true, 2 GiB resident", "us", mine, theirs, "a small program", aim=1.2),
    ]


def available_mib() -> int:
    """MemAvailable of proc_meminfo(5)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) >> 10


def resident(stack: ExitStack, python: str, mib: int, group: str) -> Callable[[], float]:
    """A sample of a program of that size: see `tests.bench.resident`."""
    command = [python, "-m", "tests.bench.resident", str(mib), group]
    program = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    talk_to, answers = program.stdin, program.stdout
    assert talk_to is not None and answers is not None
    stack.callback(talk_to.close)
    held = int(answers.readline())
    if held < mib:
        raise AssertionError(f"{held} MiB are resident, not {mib}")

    def sample() -> float:
        talk_to.write("\n")
        talk_to.flush()
        return float(answers.readline())

    return sample
