"""How a file's text is compared with what was written to it.

Law: pure; a table of comparisons by name, `Row.compare` names one.  A comparison answers two things:
whether the kernel holds what was asked, within the rounding that it documents, and whether it
rounded.
"""

from __future__ import annotations

import os

from cgmgr.units import parse_id_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
#: what v1 prints for "no limit": PAGE_COUNTER_MAX pages (mm/page_counter.c)
V1_UNLIMITED: Final = (1 << 63) - 1 - ((1 << 63) - 1) % PAGE


def _bytes(asked: str, held: str) -> bool:
    """Byte limits are cut down to whole pages; "max" and -1 are no limit."""
    wanted, real = (_no_limit(text) for text in (asked, held))
    if wanted is None or real is None:
        return wanted is real
    return wanted - wanted % PAGE == real


def _no_limit(text: str) -> int | None:
    if text in ("max", "-1") or int(text) >= V1_UNLIMITED:
        return None
    return int(text)


def _ids(asked: str, held: str) -> bool:
    return parse_id_list(asked) == parse_id_list(held)


def _first(asked: str, held: str) -> bool:
    """Only the first words are ours: "max" written to cpu.max, which prints "max 100000"."""
    words = asked.split()
    return held.split()[: len(words)] == words


def _line(asked: str, held: str) -> bool:
    """A table with a line per key: the line of our key says what ours says.

    `8:0 rbps=1 wbps=max` holds `8:0 rbps=1`.  A key whose every value is no limit may be absent.
    """
    key, _, rest = asked.partition(" ")
    wanted = rest.split()
    for line in held.splitlines():
        name, _, values = line.partition(" ")
        if name == key:
            return set(wanted) <= set(values.split())
    return all(word in ("0", "max", "default") or word.endswith("=max") for word in wanted)


COMPARE: Final[dict[str, Callable[[str, str], bool]]] = {
    "exact": lambda asked, held: asked == held,
    "bytes": _bytes,
    "ids": _ids,
    "first": _first,
    "line": _line,
}


def agree(name: str, asked: str, held: str) -> bool:
    """Whether `held` is what was asked, as far as the kernel can."""
    return COMPARE[name](asked, held)


def rounded(name: str, asked: str, held: str) -> bool:
    """Whether the kernel holds another number than the one that was asked."""
    return name == "bytes" and asked not in ("max", "-1") and asked != held
