"""What is made of samples: rows, ratios, verdicts, and the table in text and in Markdown.

Law: arithmetic and layout, nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

RATIO, OVER = "ratio", "over"
HEAD = ("measurement", "unit", "ours", "theirs", "compared with", "result", "aim", "verdict")


class Row(NamedTuple):
    """Two medians in `unit`, ours and that of `against`.

    `kind` says what counts: RATIO is ours / theirs, OVER is ours - theirs.  `aim` is the most that
    the result should be; None is a number to know, without an aim.
    """

    name: str
    unit: str
    ours: float
    theirs: float
    against: str
    aim: float | None = None
    kind: str = RATIO

    @property
    def result(self) -> float:
        return self.ours / self.theirs if self.kind == RATIO else self.ours - self.theirs

    @property
    def verdict(self) -> str:
        if self.aim is None:
            return ""
        return "met" if self.result <= self.aim else "missed"

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of HEAD."""
        aim = "" if self.aim is None else "<= " + self._shown(self.aim)
        return (
            self.name,
            self.unit,
            number(self.ours),
            number(self.theirs),
            self.against,
            self._shown(self.result),
            aim,
            self.verdict,
        )

    def _shown(self, value: float) -> str:
        return f"{number(value)}x" if self.kind == RATIO else f"{number(value)} {self.unit}"


class Missing(NamedTuple):
    """A measurement that could not be taken here, and why."""

    name: str
    why: str


def number(value: float) -> str:
    """Three digits: 1234, 123, 12.3, 1.23, 0.12."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:.{digits}f}"


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """The table for docs/benchmarks.md."""
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
