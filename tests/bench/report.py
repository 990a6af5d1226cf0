"""docs/benchmarks.md, written from one whole run.

Law: numbers come from the run, words from the measurements; nothing here tells where the run was.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from .table import Missing, Row, markdown

WIDTH = 100
PATH = Path(__file__).parents[2] / "docs" / "benchmarks.md"

INTRO = """\
# Benchmarks

`make bench` measures, and prints this table; `python -m tests.bench --write` writes this page, from
one whole run. The sides of a comparison take their samples in turn within that run (A B A B, after
a round that does not count), and the numbers are medians. What counts is the result: `x` is ours
divided by theirs, other units are ours less theirs. The absolute numbers are this machine's, on
that day: {machine}.
"""


class Taken(NamedTuple):
    """A measurement as it was taken: its rows, how, and where the time goes."""

    rows: Sequence[Row]
    how: str
    spent: str


def page(taken: Sequence[Taken], missing: Sequence[Missing], machine: str) -> str:
    """The page as Markdown."""
    parts = [INTRO.format(machine=machine), markdown([row for one in taken for row in one.rows])]
    parts += ["", _missed([row for one in taken for row in one.rows])]
    if missing:
        lines = (f"- {item.name}: {item.why}" for item in missing)
        parts += ["", "Not measured in that run:", "", *lines]
    for one in taken:
        parts += ["", f"## {one.rows[0].name}", "", one.how.strip()]
        if one.spent:
            parts += ["", fill(f"Where the time goes: {one.spent}", WIDTH)]
    return "\n".join(parts) + "\n"


def write(taken: Sequence[Taken], missing: Sequence[Missing], machine: str) -> None:
    PATH.write_text(page(taken, missing, machine), encoding="utf-8")


def machine(mode: str) -> str:
    """Kernel and number of CPUs, nothing that could name the machine; `mode` is of the host."""
    kernel = ".".join(platform.release().split(".")[:2])
    load = os.getloadavg()[0]
    return (
        f"Linux {kernel}, {os.cpu_count()} CPUs, {mode} cgroups, Python "
        f"{platform.python_version()}, load {load:.1f} when the run began"
    )


def _missed(rows: Sequence[Row]) -> str:
    missed = [f"{row.name} ({row.cells()[5]})" for row in rows if row.verdict == "missed"]
    if not missed:
        return "Every aim was met in that run."
    return fill(f"Missed in that run: {'; '.join(missed)}. Why is said below.", WIDTH)
