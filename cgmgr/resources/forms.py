"""How one value of each kind is said: by Python, by TOML, and as text.

Law: a form reads what people give (text, numbers, lists) into what the model holds, and spells that
as text which reads back to the same.  Which setting has which form is the business of `words`.

Plain numbers are in the kernel's unit: bytes for sizes, microseconds for times.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.record import Record
from cgmgr.units import (
    MAX,
    MAX_ID,
    MAX_U32,
    MAX_U64,
    Max,
    format_id_list,
    parse_bytes,
    parse_duration_usec,
    parse_id_list,
    parse_int,
    refuse,
)

from .devices import format_signed_rule, parse_signed_rule
from .model import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_MOST: Final = MAX_U64 >> 1


class Form(Record):
    """`read(value, word)` raises `RequestError` that names the word; `spell` is its inverse."""

    read: Callable[[Any, str], Any]
    spell: Callable[[Any], str]


def _whole(value: Any, word: str, parse: Callable[[str, str], int]) -> int:
    """An int as it is, text by `parse`; a float is a mistake that would hide until much later."""
    if type(value) is int:
        return parse_int(str(value), word, 0, _MOST)
    if isinstance(value, str):
        return parse(value, word)
    raise refuse(word, value, "give a whole number or text")


def _or_max(read: Callable[[Any, str], int]) -> Callable[[Any, str], int | Max]:
    return lambda value, word: MAX if value in (MAX, "max") else read(value, word)


def _number(value: Any, word: str) -> int:
    return _whole(value, word, lambda text, what: parse_int(text, what, 0, _MOST))


def _bytes(value: Any, word: str) -> int:
    return _whole(value, word, parse_bytes)


def _usec(value: Any, word: str) -> int:
    return _whole(value, word, _usec_text)


def _usec_text(text: str, word: str) -> int:
    plain = text.isascii() and text.isdigit()
    return parse_int(text, word, 0, _MOST) if plain else parse_duration_usec(text, word)


def spell_bytes(count: int | Max) -> str:
    """Bytes exactly, in the largest unit that divides them: "64M", "1000"."""
    if isinstance(count, Max) or count == 0:
        return str(count)
    for power, letter in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if count % (1 << power) == 0:
            return f"{count >> power}{letter}"
    return str(count)


def _spell_usec(usec: int | Max) -> str:
    return "max" if isinstance(usec, Max) else f"{usec}us"


_TRUE: Final = ("yes", "true", "on", "1")
_FALSE: Final = ("no", "false", "off", "0")


def _flag(value: Any, word: str) -> bool:
    text = str(value).lower()
    if isinstance(value, bool | int | str) and text in (*_TRUE, *_FALSE):
        return text in _TRUE
    raise refuse(word, value, "say yes or no")


def _ids(value: Any, word: str) -> tuple[int, ...]:
    """ "0-3,7", one id, or several in any container."""
    if isinstance(value, str):
        ids = parse_id_list(value, word)
    else:
        several = (value,) if type(value) is int else value
        try:
            ids = tuple(sorted({parse_int(str(number), word, 0, MAX_ID) for number in several}))
        except (TypeError, RequestError):
            wanted = f"write a list such as 0-3,7 with numbers up to {MAX_ID}"
            raise refuse(word, value, wanted) from None
    if not ids:
        raise refuse(word, value, "empty, write a list such as 0-3,7")
    return ids


def _text(value: Any, word: str) -> str:
    if not isinstance(value, str) or not value:
        raise refuse(word, value, "give text")
    return value


def _classid(value: Any, word: str) -> int:
    """A number, 0xAAAABBBB, or AAAA:BBBB with both in hexadecimal, as tc writes handles."""
    wanted = "write 0xAAAABBBB, a number, or AAAA:BBBB as tc does"
    if type(value) is int:
        return parse_int(str(value), word, 0, MAX_U32)
    text = _text(value, word).lower()
    major, colon, minor = text.partition(":")
    if colon:
        if not (_hex(major) and _hex(minor)):
            raise refuse(word, value, wanted)
        return int(major, 16) << 16 | int(minor, 16)
    digits = text.removeprefix("0x")
    if digits == text:
        return parse_int(text, word, 0, MAX_U32)
    if not _hex(digits, most=8):
        raise refuse(word, value, wanted)
    return int(digits, 16)


def _hex(text: str, most: int = 4) -> bool:
    return 0 < len(text) <= most and not set(text) - set("0123456789abcdef")


def _rules(value: Any, word: str) -> tuple[DeviceRule, ...]:
    """Rules in their order, text ones split at commas; "none" is the filter that allows nothing."""
    if value == "none":
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    try:
        parts = list(parts)
    except TypeError:
        raise refuse(word, value, "write rules such as 'c 1:3 rwm, !c 1:5 w', or none") from None
    return tuple(_rule(part, word) for part in parts)


def _rule(value: Any, word: str) -> DeviceRule:
    return value if isinstance(value, DeviceRule) else parse_signed_rule(str(value).strip(), word)


def _spell_rules(rules: tuple[DeviceRule, ...]) -> str:
    return ", ".join(format_signed_rule(rule) for rule in rules) or "none"


_RDMA: Final = ("hca_handle", "hca_object")


def _rdma(value: Any, word: str) -> dict[str, int | Max]:
    """hca_handle:N,hca_object:M, either or both, or the same as a mapping."""
    pairs: dict[str, Any] = _rdma_pairs(value) if isinstance(value, str) else value
    if type(pairs) is not dict or not pairs or set(pairs) - set(_RDMA):
        raise refuse(word, value, "write hca_handle:N,hca_object:M, or one of them")
    return {key: COUNT_LIMIT.read(pairs[key], word) for key in _RDMA if key in pairs}


def _rdma_pairs(text: str) -> dict[str, Any]:
    parts = [part.partition(":") for part in text.split(",")]
    pairs = {key: number for key, _, number in parts}
    return pairs if len(pairs) == len(parts) else {}


def _spell_rdma(limits: dict[str, int | Max]) -> str:
    return ",".join(f"{key}:{value}" for key, value in limits.items())


NUMBER: Final = Form(read=_number, spell=str)
COUNT_LIMIT: Final = Form(read=_or_max(_number), spell=str)
BYTES_LIMIT: Final = Form(read=_or_max(_bytes), spell=spell_bytes)
USEC: Final = Form(read=_usec, spell=_spell_usec)
USEC_LIMIT: Final = Form(read=_or_max(_usec), spell=_spell_usec)
FLAG: Final = Form(read=_flag, spell=lambda value: "yes" if value else "no")
IDS: Final = Form(read=_ids, spell=format_id_list)
TEXT: Final = Form(read=_text, spell=str)
CLASSID: Final = Form(read=_classid, spell=lambda value: f"0x{value:08x}")
RULES: Final = Form(read=_rules, spell=_spell_rules)
RDMA: Final = Form(read=_rdma, spell=_spell_rdma)


def read(kind: type[Any] | None, field: str, form: Form, value: Any, word: str) -> Any:
    """A value within the model's range, or a complaint that says the range."""
    try:
        read = form.read(value, word)
    except RequestError:
        if kind is None or form not in (NUMBER, COUNT_LIMIT):
            raise
        wanted = f"write a whole number, {range_of(kind, field, form)}"
        raise refuse(word, value, wanted) from None
    if kind is not None and not within(kind, field, read):
        raise refuse(word, value, range_of(kind, field, form))
    return read


def within(kind: type[Any], field: str, value: Any) -> bool:
    """Whether the model takes a number; what is none is not looked at."""
    if type(value) is not int:
        return True
    least, most, _ = kind.RANGES[field]
    return bool(least <= value <= most)


def range_of(kind: type[Any], field: str, form: Form) -> str:
    """The numbers that the model takes, as they are said."""
    least, most, takes_max = kind.RANGES[field]
    spell: Callable[[Any], str] = str if form is RDMA else form.spell
    bounded = most < _MOST
    ends = f"from {spell(least)} to {spell(most)}" if bounded else f"the least is {spell(least)}"
    return f"{ends}; max lifts it" if takes_max else ends


def hugepage_size(value: Any, word: str) -> str:
    """A huge page size as the kernel names its files: "2m", "2MiB" and "2048kB" are "2MB"."""
    text = _text(value, word)
    size = text.rstrip("bBiI")
    unit = {"k": 10, "m": 20, "g": 30}.get(size[-1:].lower())
    if unit is None or size[-1:] == size or not size[:-1].isdigit() or not size.isascii():
        raise refuse(word, value, "write a huge page size such as 2MB or 1GB")
    count = parse_int(size[:-1], word, 1, _MOST >> unit) << unit
    for power, name in ((30, "GB"), (20, "MB")):
        if count % (1 << power) == 0:
            return f"{count >> power}{name}"
    return f"{count >> 10}KB"
