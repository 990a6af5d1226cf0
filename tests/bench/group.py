"""A group made, given eight settings, and removed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cgmgr.manager import Manager
from cgmgr.resources.words import resources_of

from .place import Bench
from .rounds import interleave, per_call_usec
from .table import Row

HOW = """\
A resident process makes a group in every hierarchy, gives it eight settings and removes it:
`Manager.create(name, resources).delete()`. The C program makes the same directories, opens, writes
and closes the same eight files and removes the directories, relative to directories that it holds
open; its values are text already, as ours are `Resources` already. What we do beyond that: look
first, read every value back, remember the group in the run directory under a lock, so that a killed
process leaves nothing unknown, and make sure that no process is left before a directory goes."""

SPENT = """\
a quarter or so of ours is what the C program does, nearly all of it mkdir and rmdir in the kernel.
As much goes into the record of the group, the locks, and the look at whether its parent is to go
with it; a sixth into looking at what is there before anything is made; a twentieth into reading
the values back. The rest is the plan: each step is a record that can describe, execute and undo
itself. The record is written once: what is noted before the first step becomes it by rename(2)."""

#: eight files on every kind of host: two for the CPUs' quota, two for the cpuset
WORDS: dict[str, Any] = {
    "cpus": 0.5,
    "cpu_weight": 200,
    "cpuset": "0",
    "mems": "0",
    "memory": "64M",
    "memory_soft": "32M",
    "pids": 100,
}
BATCH, ROUNDS = 20, 15


def measure(bench: Bench) -> list[Row]:
    name = f"{bench.parent.name}/group"
    arguments = same_job(bench, name)

    resources = resources_of(**WORDS)

    def by(manager: Manager) -> Callable[[], float]:
        return lambda: per_call_usec(lambda: manager.create(name, resources).delete(), BATCH)

    def theirs() -> float:
        return bench.numbers("group", str(BATCH), *arguments)[0] / 1000

    mine, c, usual = interleave((by(bench.manager), theirs, by(bench.usual)), ROUNDS)
    rows = [Row("group: create, 8 settings, delete", "us", mine, c, "C", aim=1.5)]
    if bench.usual is not bench.manager:
        rows.append(Row("the same, records on this machine's /run, a disk", "us", usual, c, "C"))
    return rows


def same_job(bench: Bench, name: str) -> list[str]:
    """What the C program is told to do, as our plan says it: HIERARCHY... -- INDEX:FILE=VALUE..."""
    places: list[str] = []
    settings: list[tuple[str, str, str]] = []
    for line in bench.manager.plan(name, **WORDS):
        if made := re.fullmatch(rf"mkdir (\S+){re.escape(name)}", line):
            places.append(made[1] + bench.parent.name)
        elif written := re.fullmatch(rf"write (.*) > (\S+){re.escape(name)}/(\S+)", line):
            settings.append((written[2] + bench.parent.name, written[3], written[1]))
    if len(settings) != 8:
        raise AssertionError(f"the plan has {len(settings)} settings, not 8")
    files = [f"{places.index(place)}:{file}={value}" for place, file, value in settings]
    return [*places, "--", *files]
