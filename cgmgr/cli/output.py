"""How answers look: tables and paragraphs that fit, and JSON for programs.

Law: values in, text out; nothing is asked of the machine but how wide its terminal is.  There are
no colours.  Text that came from elsewhere (names, command lines) is made printable, so that it
cannot talk to the terminal.  In JSON bytes are integers, times integers of microseconds, "max" is
no limit, and null is what the kernel does not say.
"""

from __future__ import annotations

import os

from cgmgr.record import Record
from cgmgr.units import Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Final, cast
else:

    def cast(_kind: object, value: object) -> object:
        return value


#: what a line may be where nothing says how wide it is: into a file or a pipe
UNLIMITED: Final = 10_000
NARROWEST: Final = 20
#: the longest line of prose, however wide the terminal is
READABLE: Final = 80


def columns(fd: int = 1) -> int:
    """How wide output may be: COLUMNS, else the terminal's width, else unlimited."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return max(int(told), NARROWEST)
    try:
        return max(os.get_terminal_size(fd).columns, NARROWEST)
    except OSError:
        return UNLIMITED


def printable(text: str) -> str:
    """One line, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def clipped(line: str, width: int) -> str:
    """The line, or its beginning and three dots."""
    return line if len(line) <= width else line[: max(width - 3, 0)] + "..."


def table(head: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> list[str]:
    """Columns under their titles.

    The last one is cut where the terminal ends; where even that does not fit, each row becomes a
    paragraph of ``TITLE value`` lines.
    """
    every = [list(head), *(list(row) for row in rows)]
    sizes = [max(len(row[i]) for row in every) for i in range(len(head))]
    fixed = sum(sizes[:-1]) + 2 * (len(head) - 1)
    if fixed + min(sizes[-1], 10) > width:
        return _paragraphs(every, width)
    lines = (
        "  ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)) for row in every
    )
    return [clipped(line.rstrip(), width) for line in lines]


def _paragraphs(every: list[list[str]], width: int) -> list[str]:
    head, *rows = every
    size = max(len(title) for title in head)
    return [
        clipped(f"{title:<{size}} {cell}".rstrip(), width)
        for row in rows
        for title, cell in zip(head, row, strict=True)
    ]


def wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    """Text in lines that fit, behind `first`, then behind `rest`."""
    from textwrap import wrap

    room = max(width, len(rest) + NARROWEST)
    return wrap(
        text,
        room,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def prose(text: str, width: int) -> list[str]:
    """Paragraphs in lines that fit, and that can be read; one of "Usage:" keeps its own lines."""
    width = min(width, READABLE)
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        if lines:
            lines.append("")
        if paragraph.startswith("Usage:"):
            for usage in paragraph.splitlines():
                words = usage.lstrip()
                lines += wrapped(words, width, " " * (len(usage) - len(words)), " " * 9)
        else:
            lines += wrapped(" ".join(paragraph.split()), width, "", "")
    return lines


def plain(value: Any) -> Any:
    """A record, or anything made of records, as JSON's own types."""
    if isinstance(value, Record):
        return {field: plain(getattr(value, field)) for field in value.__fields__}
    if isinstance(value, Max):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in cast("Sequence[Any]", value)]
    if hasattr(value, "items"):
        entries: Mapping[Any, Any] = value
        return {str(key): plain(entry) for key, entry in entries.items()}
    return value


def to_json(value: Any) -> str:
    """JSON, a line each for people's eyes and diff(1)."""
    import json

    return json.dumps(plain(value), indent=2)
