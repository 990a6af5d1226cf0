"""How a file's text is compared with what was written to it.

Law: pure; a table of comparisons by name, `Row.compare` names one, with an argument behind a slash
where it takes one ("bytes/2097152").  A comparison answers two things: whether the kernel holds
what was asked, within the rounding that it documents, and whether it rounded.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr.parse import UNLIMITED_V1
from cgmgr.units import parse_bytes, parse_id_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ANY_VALUE: Final = ("0", "max", "default")
_NO_LIMIT: Final = ("=max", "=0")


def _bytes(asked: str, held: str, unit: int) -> bool:
    """Byte limits are cut down to whole units, pages as a rule, but something is not held by
    nothing; "max" and -1 are no limit."""
    wanted, real = (_no_limit(text) for text in (asked, held))
    if wanted is None or real is None:
        return wanted is real
    return wanted - wanted % unit == real and bool(real) == bool(wanted)


def _no_limit(text: str) -> int | None:
    if text in ("max", "-1") or int(text) >= UNLIMITED_V1:
        return None
    return int(text)


def _ids(asked: str, held: str) -> bool:
    return parse_id_list(asked) == parse_id_list(held)


def _first(asked: str, held: str) -> bool:
    """Only the first words are ours: "max" written to cpu.max, which prints "max 100000"."""
    words = asked.split()
    return held.split()[: len(words)] == words


def _second(asked: str, held: str) -> bool:
    """The first line is a name and our value: "1" written to memory.oom_control, which begins with
    "oom_kill_disable 1"."""
    return held.split()[1:2] == [asked]


def _default(asked: str, held: str) -> bool:
    """A weight for all disks: io.weight prints "default 200" above a line per disk, and older
    kernels the number alone."""
    return held.splitlines()[:1] in ([asked], [f"default {asked}"])


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
    return all(word in _ANY_VALUE or word.endswith(_NO_LIMIT) for word in wanted)


def _lines(asked: str, held: str) -> bool:
    """The same lines, in whatever order."""
    return sorted(asked.splitlines()) == sorted(held.splitlines())


def _raw(asked: str, held: str) -> bool:
    """A file that nothing is known of: as written, or in one of the ways in which the kernel
    prints another text for the same value."""
    if not asked.strip() or not held:
        return asked.split() == held.split() or (" " in asked and _line(asked, held))
    if _first(asked, held) or _default(asked, held):
        return True
    if " " in asked.strip():
        return _line(asked.strip(), held)
    with contextlib.suppress(ValueError):
        return _bytes(str(parse_bytes(asked)), held, PAGE)
    with contextlib.suppress(ValueError):
        return _ids(asked, held)
    return False


COMPARE: Final[dict[str, Callable[[str, str], bool]]] = {
    "exact": lambda asked, held: asked == held,
    "bytes": lambda asked, held: _bytes(asked, held, PAGE),
    "ids": _ids,
    "first": _first,
    "second": _second,
    "default": _default,
    "line": _line,
    "lines": _lines,
    "raw": _raw,
}


def agree(name: str, asked: str, held: str) -> bool:
    """Whether `held` is what was asked, as far as the kernel can."""
    kind, slash, unit = name.partition("/")
    if slash:
        return _bytes(asked, held, int(unit))
    return COMPARE[kind](asked, held)


def rounded(name: str, asked: str, held: str) -> bool:
    """Whether the kernel holds another number than the one that was asked."""
    return name.partition("/")[0] == "bytes" and asked not in ("max", "-1") and asked != held
