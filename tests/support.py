"""README's table of what is held where, from what the conformance suite showed.

Law: pure; rows in, text out.  A test says what it shows by its property "support": driver, row,
and one of HOW.  A cell has the most that a test showed; an empty one means that none did.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, NamedTuple

PROPERTY = "support"
HOW = ("refused", "held", "bites")
"""In the order of what says more."""

LAYOUTS = ("unified", "hybrid", "legacy", "mixed")
DRIVERS = ("cgroupfs", "systemd")
ROWS = (
    "memory",
    "swap",
    "cpu quota",
    "cpu weight",
    "cpuset",
    "pids",
    "devices",
    "freezer",
    "io rates",
    "io weight",
    "io latency",
    "hugetlb",
    "rdma",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
)
BEGIN = "<!-- by the conformance suite: make support -->"
END = "<!-- end -->"


class Shown(NamedTuple):
    layout: str
    driver: str
    row: str
    how: str


def shown_by(nodeid: str, properties: Iterable[tuple[str, Any]]) -> list[Shown]:
    """What a test of a guest showed, by its node id (tests/vm/LAYOUT/...) and its properties."""
    parts = PurePath(nodeid.partition("::")[0]).parts
    if parts[:2] != ("tests", "vm") or len(parts) < 4:
        return []
    return [Shown(parts[2], *value) for name, value in properties if name == PROPERTY]


def table(found: Iterable[Shown]) -> str:
    """In Markdown; equal columns of the two drivers are still two, for a difference is news."""
    best: dict[tuple[str, str, str], str] = {}
    for shown in found:
        if shown.row not in ROWS or shown.how not in HOW:
            raise ValueError(f"the table has no place for {shown}")
        at = (shown.row, shown.layout, shown.driver)
        best[at] = max(best.get(at, HOW[0]), shown.how, key=HOW.index)
    columns = [(layout, driver) for layout in LAYOUTS for driver in DRIVERS]
    lines = [
        ["", *(f"{layout}, {driver}" for layout, driver in columns)],
        ["---"] * (len(columns) + 1),
        *([row, *(best.get((row, *column), "") for column in columns)] for row in ROWS),
    ]
    return "".join(f"| {' | '.join(cells)} |\n".replace("  ", " ") for cells in lines)


def filled_in(text: str, rows: str) -> str:
    """The text with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not before or not after:
        raise ValueError(f"no place for the table: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{rows}\n{END}{after}"
