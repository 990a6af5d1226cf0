"""systemd's resource properties as people write them: `MemoryMax=2G`, `CPUQuota=150%`.

Law: pure.  A text becomes a property with its D-Bus value and goes on from there, and back; what a
property means is known to `systemd_read` and `systemd_write`.  Percentages of the host's memory or
tasks are refused, because no host is known here.

Source: systemd.resource-control(5), systemd.time(7), systemd.exec(5) for sizes.
"""

from __future__ import annotations

from cgmgr.units import (
    MAX_ID,
    MAX_U64,
    format_id_list,
    parse_decimal,
    parse_id_list,
    parse_int,
    refuse,
)

from .forms import spell_bytes
from .formulas import ids_to_mask, mask_to_ids
from .model import Pids
from .systemd_read import from_properties
from .systemd_write import INFINITY, NEWEST, properties

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from .devices import Resolve
    from .model import Resources

    #: a text, and the name of its property for complaints, to the D-Bus value
    Parse = Callable[[str, str], Any]
    #: the name of a property and its D-Bus value, to lines
    Spell = Callable[[str, Any], list[str]]

#: the least and the most of TasksMax
TASKS: Final = Pids.RANGES["max"][:2]
#: microseconds in one of each (src/basic/time-util.c)
_SPANS: Final = {
    **dict.fromkeys(("us", "usec", "µs", "μs"), 1),
    **dict.fromkeys(("ms", "msec"), 1_000),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000_000),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600_000_000),
}


def from_assignments(lines: Iterable[str], resolve: Resolve | None = None) -> Resources:
    """Resources from `systemd-run -p` texts or lines of a unit file, in their order.

    Raises `RequestError` for a property that is no resource setting, and for a value that it does
    not take.
    """
    rows: list[tuple[str, Any]] = []
    for line in lines:
        name, equals, text = line.strip().partition("=")
        if not equals or name not in TEXTS:
            raise refuse("property", line, "write one such as MemoryMax=2G, known are " + _known())
        property_, parse = TEXTS[name]
        rows.append((property_, parse(text.strip(), name)))
    return from_properties(rows, resolve)


def to_assignments(resources: Resources, *, version: int = 2, systemd: int = NEWEST) -> list[str]:
    """The lines that say this, for `systemd-run -p` or a unit file; see `systemd.unexpressed`."""
    return spelled(properties(resources, version=version, systemd=systemd))


def spelled(rows: Iterable[tuple[str, str, Any]]) -> list[str]:
    """Properties (name, signature, value) as such lines."""
    lines: list[str] = []
    for name, signature, value in rows:
        lines += _SPELL.get(name, _BY_SIGNATURE[signature])(name, value)
    return lines


def _known() -> str:
    return ", ".join(sorted(TEXTS))


def parse_size(text: str, name: str, base: int = 1_024) -> int:
    """A number with K, M, G, T, P or E; `base` is 1000 for rates (src/core/load-fragment.c)."""
    if "%" in text:
        raise refuse(name, text, "percentages of the host are not known here, give bytes")
    power = "BKMGTPE".find(text[-1:].upper()) if text else -1
    decimal = parse_decimal(text[:-1] if power >= 0 else text)
    if decimal is None or (decimal[1] > 1 and power < 1):
        raise refuse(name, text, "write a size such as 512M or 1.5G, or infinity")
    size: int = decimal[0] * base ** max(power, 0) // decimal[1]
    if size > MAX_U64 >> 1:
        raise refuse(name, text, "more than the kernel counts (8 EiB)")
    return size


def _limit(text: str, name: str) -> int:
    """A size; nothing, and infinity, are no limit."""
    return INFINITY if text in ("", "infinity") else parse_size(text, name)


def _guarantee(text: str, name: str) -> int:
    """A size; nothing is none, which is where MemoryMin and MemoryLow begin."""
    return 0 if text == "" else _limit(text, name)


def _tasks(text: str, name: str) -> int:
    if "%" in text:
        raise refuse(name, text, "percentages of the host are not known here, give a number")
    return INFINITY if text in ("", "infinity") else parse_int(text, name, *TASKS)


def _weight(text: str, name: str) -> int:
    if text == "idle" and name == "CPUWeight":
        return 0
    return INFINITY if text == "" else parse_int(text, name, 1, 262_144)


def _percent(text: str, name: str) -> int:
    """Of one CPU, up to two decimals, as microseconds a second."""
    if text in ("", "infinity"):
        return INFINITY
    number = text.removesuffix("%")
    whole, _, fraction = number.partition(".")
    digits = whole + fraction.ljust(2, "0")
    if number == text or len(fraction) > 2 or not whole or not digits.isascii():
        raise refuse(name, text, "write a percentage of one CPU, such as 150%")
    return parse_int(digits, name, 1, MAX_U64 // 1_000) * 100


def parse_span(text: str, name: str) -> int:
    """A number and its unit, "100ms", or several, "1s 500ms"; a bare number is seconds."""
    if text in ("", "infinity"):
        return INFINITY
    total = 0
    for part in text.split():
        number = part.rstrip("abcdefghijklmnopqrstuvwxyzµμ")
        unit, decimal = _SPANS.get(part[len(number) :]), parse_decimal(number)
        if unit is None or decimal is None:
            raise refuse(name, text, "write a time such as 100ms")
        total += decimal[0] * unit // decimal[1]
    return total


def _ids(text: str, name: str) -> bytes:
    """A list with commas or spaces."""
    return ids_to_mask(parse_id_list(",".join(text.replace(",", " ").split()), name, MAX_ID))


def _pairs(parse: Parse) -> Parse:
    """ "DEVICE VALUE"; nothing forgets those before."""

    def read(text: str, name: str) -> list[tuple[str, Any]]:
        device, _, value = text.partition(" ")
        if text and not value.strip():
            raise refuse(name, text, "write a device and its value, such as /dev/sda 1M")
        return [(device, parse(value.strip(), name))] if text else []

    return read


def _rate(text: str, name: str) -> int:
    return INFINITY if text == "infinity" else parse_size(text, name, base=1_000)


def _policy(text: str, name: str) -> str:
    if text not in ("auto", "closed", "strict"):
        raise refuse(name, text, "write auto, closed or strict")
    return text


def _allow(text: str, name: str) -> list[tuple[str, str]]:
    device, _, access = text.partition(" ")
    if set(access.strip()) - {*"rwm"}:
        raise refuse(name, text, "write a device and a part of rwm, such as /dev/null rw")
    return [(device, access.strip() or "rwm")] if text else []


#: a property as it is written -> its name on D-Bus, and how its text is read
TEXTS: Final[dict[str, tuple[str, Parse]]] = {
    "CPUWeight": ("CPUWeight", _weight),
    "CPUShares": ("CPUShares", _weight),
    "CPUQuota": ("CPUQuotaPerSecUSec", _percent),
    "CPUQuotaPeriodSec": ("CPUQuotaPeriodUSec", parse_span),
    "AllowedCPUs": ("AllowedCPUs", _ids),
    "AllowedMemoryNodes": ("AllowedMemoryNodes", _ids),
    "MemoryMin": ("MemoryMin", _guarantee),
    "MemoryLow": ("MemoryLow", _guarantee),
    "MemoryHigh": ("MemoryHigh", _limit),
    "MemoryMax": ("MemoryMax", _limit),
    "MemoryLimit": ("MemoryLimit", _limit),
    "MemorySwapMax": ("MemorySwapMax", _limit),
    "TasksMax": ("TasksMax", _tasks),
    "IOWeight": ("IOWeight", _weight),
    "IODeviceWeight": ("IODeviceWeight", _pairs(_weight)),
    "IOReadBandwidthMax": ("IOReadBandwidthMax", _pairs(_rate)),
    "IOWriteBandwidthMax": ("IOWriteBandwidthMax", _pairs(_rate)),
    "IOReadIOPSMax": ("IOReadIOPSMax", _pairs(_rate)),
    "IOWriteIOPSMax": ("IOWriteIOPSMax", _pairs(_rate)),
    "IODeviceLatencyTargetSec": ("IODeviceLatencyTargetUSec", _pairs(parse_span)),
    "BlockIOWeight": ("BlockIOWeight", _weight),
    "BlockIODeviceWeight": ("BlockIODeviceWeight", _pairs(_weight)),
    "BlockIOReadBandwidth": ("BlockIOReadBandwidth", _pairs(_rate)),
    "BlockIOWriteBandwidth": ("BlockIOWriteBandwidth", _pairs(_rate)),
    "DevicePolicy": ("DevicePolicy", _policy),
    "DeviceAllow": ("DeviceAllow", _allow),
}


def _plain(name: str, value: Any) -> list[str]:
    return [f"{name}={'infinity' if value == INFINITY else value}"]


def _spell_pairs(name: str, pairs: Iterable[tuple[str, Any]]) -> list[str]:
    rows = [f"{name}={path} {'infinity' if v == INFINITY else v}" for path, v in pairs]
    return rows or [f"{name}="]


def _spell_bytes(name: str, value: int) -> list[str]:
    return [f"{name}={spell_bytes(value)}"] if value != INFINITY else _plain(name, value)


_SIZES: Final = (
    "MemoryMin",
    "MemoryLow",
    "MemoryHigh",
    "MemoryMax",
    "MemoryLimit",
    "MemorySwapMax",
)

_SPELL: Final[dict[str, Spell]] = {
    **dict.fromkeys(_SIZES, _spell_bytes),
    "CPUWeight": lambda name, value: [f"{name}={value or 'idle'}"],
    "CPUQuotaPerSecUSec": lambda _, value: [
        "CPUQuota=" if value == INFINITY else f"CPUQuota={value // 10_000}%"
    ],
    "CPUQuotaPeriodUSec": lambda _, value: [f"CPUQuotaPeriodSec={value}us"],
    "IODeviceLatencyTargetUSec": lambda _, pairs: [
        f"IODeviceLatencyTargetSec={path} {usec}us" for path, usec in pairs
    ],
}

_BY_SIGNATURE: Final[dict[str, Spell]] = {
    "t": _plain,
    "s": _plain,
    "ay": lambda name, mask: [f"{name}={format_id_list(mask_to_ids(mask))}"],
    "a(st)": _spell_pairs,
    "a(ss)": _spell_pairs,
}
