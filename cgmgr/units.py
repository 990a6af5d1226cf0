"""Quantities as people write them, and MAX.

Law: text in, numbers out, and back; no file is opened and nothing is known of controllers.  Every
parser raises `RequestError` that quotes the text and shows a form that works.
"""

from __future__ import annotations

from cgmgr.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, final
else:

    def final(cls: type) -> type:
        return cls


@final
class Max:
    """The type of `MAX`, the limit that limits nothing.  There is one, equal to itself only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MAX"

    def __str__(self) -> str:
        return "max"

    def __copy__(self) -> Max:
        return self

    def __deepcopy__(self, _memo: object) -> Max:
        return self

    def __reduce__(self) -> str:
        return "MAX"


MAX: Final = Max()

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

#: binary whatever the spelling, as docker's `units.RAMInBytes`: 1kb = 1k = 1kib = 1024
BYTE_POWERS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
BYTE_NAMES: Final = ((50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: microseconds in one of each, longest spelling first so that "ms" is not read as "m"
DURATION_USEC: Final = (
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
)

MAX_U64: Final = (1 << 64) - 1
MAX_U32: Final = (1 << 32) - 1
#: the highest CPU and memory node: above NR_CPUS of every distribution's kernel
MAX_ID: Final = 8_191


def refuse(what: str, text: object, wanted: str) -> RequestError:
    """The one form of a complaint about a written value."""
    shown = str(text) if len(str(text)) <= 80 else str(text)[:77] + "..."
    return RequestError(
        f"invalid {what} {shown!r}: {wanted}", operation=f"parse {what}", value=str(text)
    )


def _digits(text: str) -> bool:
    """Plain ASCII digits, few enough that Python reads them at all (its limit is 4300)."""
    return text.isascii() and text.isdigit() and len(text) <= 64


def parse_decimal(text: str) -> tuple[int, int] | None:
    """A plain non-negative decimal as digits over a power of ten: "1.25" is (125, 100).

    None for any other text, so that the caller can say what it wants instead.
    """
    whole, _, fraction = text.partition(".")
    if not _digits(whole + fraction):
        return None
    scale: int = 10 ** len(fraction)
    return int(whole + fraction), scale


def parse_int(text: str, what: str, least: int, most: int) -> int:
    """A whole number within bounds, both included."""
    body = text.removeprefix("-")
    if not _digits(body) or not least <= int(text) <= most:
        raise refuse(what, text, f"write a whole number from {least} to {most}")
    return int(text)


def parse_bytes(text: str, what: str = "size") -> int:
    """Bytes from docker's grammar: a decimal, at most one space, and b k m g t p with b or ib.

    Always 1024-based (docker/go-units `RAMInBytes`); fractions of a byte are cut off.
    """
    number = text.rstrip(LETTERS)
    suffix = text[len(number) :].lower()
    letter, rest = suffix[:1], suffix[1:]
    if letter == "b":
        letter, rest = "", letter + rest
    decimal = parse_decimal(number.removesuffix(" ") if suffix else number)
    if decimal is None or letter not in BYTE_POWERS or rest not in _ENDS[bool(letter)]:
        raise refuse(what, text, "write a size such as 512m, 1.5g or 64MiB")
    value = (decimal[0] << BYTE_POWERS[letter]) // decimal[1]
    if value > MAX_U64 >> 1:
        raise refuse(what, text, "more than the kernel counts (8 EiB)")
    return value


#: what may follow no letter, and a letter of `BYTE_POWERS`
_ENDS: Final = (("", "b"), ("", "b", "ib"))


def parse_cpus_usec(text: str, period_us: int, what: str = "cpus") -> int:
    """A number of CPUs, such as "1.5" or "3/2", as the quota in microseconds of one period.

    Exact: what is no whole number of billionths is refused, as by docker, and what is less than a
    microsecond of quota is cut off.
    """
    numerator, slash, denominator = text.partition("/")
    top, bottom = parse_decimal(numerator), parse_decimal(denominator if slash else "1")
    if top is None or bottom is None or not bottom[0]:
        raise refuse(what, text, "write a number of CPUs such as 0.5 or 2")
    above, below = top[0] * bottom[1], top[1] * bottom[0]
    if above * 1_000_000_000 % below:
        raise refuse(what, text, "too precise, 9 decimals are the most")
    return above * period_us // below


def parse_duration_usec(text: str, what: str = "duration") -> int:
    """Microseconds from "250ms", "1m30s", "1.5h"; a bare number is seconds."""
    wanted = "write a duration such as 250ms, 10s or 1m30s"
    total, rest = 0, text + "s" if parse_decimal(text) else text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = next((pair for pair in DURATION_USEC if rest.startswith(pair[0])), None)
        decimal = parse_decimal(number)
        if unit is None or decimal is None:
            raise refuse(what, text, wanted)
        total += decimal[0] * unit[1] // decimal[1]
        rest = rest[len(unit[0]) :]
    if not text:
        raise refuse(what, text, wanted)
    if total > MAX_U64 >> 1:
        raise refuse(what, text, "more than the kernel counts")
    return total


def parse_id_list(text: str, what: str = "list", most: int = MAX_ID) -> tuple[int, ...]:
    """The kernel's list format: "0-3,7" is (0, 1, 2, 3, 7).  Empty text is the empty tuple.

    Source: Documentation/admin-guide/kernel-parameters, "cpu lists".
    """
    wanted = f"write a list such as 0-3,7 with numbers up to {most}"
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        low, dash, high = part.partition("-")
        ends = (low, high if dash else low)
        if not all(_digits(end) for end in ends):
            raise refuse(what, text, wanted)
        first, last = int(ends[0]), int(ends[1])
        if first > last or last > most:
            raise refuse(what, text, wanted)
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def format_id_list(ids: Iterable[int]) -> str:
    """The canonical spelling of a set of ids: (0, 1, 2, 3, 7) is "0-3,7"."""
    ranges: list[list[int]] = []
    for number in sorted(set(ids)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in ranges)


def format_bytes(count: int | Max) -> str:
    """Bytes for people: "64MiB" when exact, else one decimal, "63.9MiB"; MAX is "max"."""
    if isinstance(count, Max):
        return "max"
    for power, name in BYTE_NAMES:
        if count >= 1 << power:
            exact = count % (1 << power) == 0
            return f"{count >> power}{name}" if exact else f"{count / (1 << power):.1f}{name}"
    return f"{count}B"


def format_usec(usec: int) -> str:
    """Microseconds for people: "250us", "1.5ms", "2.50s"."""
    if usec < 1_000:
        return f"{usec}us"
    if usec < 1_000_000:
        return f"{usec / 1_000:.1f}ms"
    return f"{usec / 1_000_000:.2f}s"
