"""systemd's properties, with their D-Bus values, as Resources.

Law: pure; a table says which property is which field.  Properties that are no setting are passed
over, so that all properties of a unit may be given.
"""

from __future__ import annotations

from cgmgr.units import MAX, MAX_U32, parse_int

from . import formulas
from .devices import block_number, path_rule
from .model import Cpu, Cpuset, DeviceRule, Io, IoDevice, Memory, Pids, Resources
from .systemd_write import ALLOW_ALL, DISKS, INFINITY, V1_RATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from .devices import Resolve

    Reader = Callable[["_Reading", Any], None]


def from_properties(rows: Iterable[tuple[str, Any]], resolve: Resolve | None = None) -> Resources:
    """Resources from properties and their D-Bus values, in the order in which they were set.

    `rows` may be all properties of a unit: those that are no setting are passed over, and a weight
    that is not set says nothing.  `resolve` finds devices that are named by path.
    """
    reading = _Reading(resolve)
    for name, value in rows:
        if name in READERS:
            READERS[name](reading, value)
    return reading.resources()


class _Reading:
    """Fields by section, as properties come in."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve
        self.cpu: dict[str, Any] = {}
        self.cpuset: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.io: dict[str, Any] = {}
        self.pids: dict[str, Any] = {}
        self.disks: dict[str, dict[str, Any]] = {}
        self.per_sec: int | None = None
        self.policy: str | None = None
        self.rules: list[DeviceRule] | None = None

    def resources(self) -> Resources:
        disks = tuple(IoDevice(device=name, **said) for name, said in self.disks.items() if said)
        bandwidth = self._bandwidth()
        return Resources(
            cpu=Cpu(**{**self.cpu, **bandwidth}),
            cpuset=Cpuset(**self.cpuset),
            memory=Memory(**self.memory),
            io=Io(**self.io, devices=disks),
            pids=Pids(**self.pids),
            devices=self._filter(),
        )

    def _bandwidth(self) -> dict[str, Any]:
        """Quota and period; systemd makes a period longer, up to 1 s, that has no 1 ms of quota."""
        period: int | None = self.cpu.get("period_us")
        if self.per_sec is None or self.per_sec >= INFINITY:
            return {"period_us": period, "quota_us": None if self.per_sec is None else MAX}
        usual = period or formulas.DEFAULT_PERIOD_US
        longer = min(max(usual, 1_000_000_000 // max(self.per_sec, 1)), 1_000_000)
        quota = formulas.per_sec_usec_to_quota(self.per_sec, longer)
        return {"period_us": longer if period or longer != usual else None, "quota_us": quota}

    def _filter(self) -> tuple[DeviceRule, ...] | None:
        if self.policy is None and self.rules is None:
            return None
        rules = tuple(self.rules or ())
        if self.policy == "strict":
            return rules
        return ALLOW_ALL if self.policy != "closed" and not rules else PSEUDO_DEVICES + rules


#: what DevicePolicy=closed, and auto beside a list, allow (src/core/cgroup.c)
PSEUDO_DEVICES: Final = (
    *(DeviceRule(kind="c", major=1, minor=minor) for minor in (3, 5, 7, 8, 9)),
    *(DeviceRule(kind="c", major=5, minor=minor) for minor in (0, 2)),
    DeviceRule(kind="c", major=136, access="rw"),
)


def _limit_of(section: str, field: str) -> Reader:
    def read(reading: _Reading, value: int) -> None:
        getattr(reading, section)[field] = MAX if value >= INFINITY else value

    return read


def _weight_of(section: str) -> Reader:
    """2^64 - 1 is a weight that is not set; 0 is idle, of CPUs alone."""

    def read(reading: _Reading, value: int) -> None:
        if value == 0 and section == "cpu":
            reading.cpu["idle"] = True
        elif 0 < value < INFINITY:
            getattr(reading, section)["weight"] = int(value)

    return read


def _shares(reading: _Reading, value: int) -> None:
    if value < INFINITY:
        reading.cpu |= {"shares": value, "weight": formulas.shares_to_weight(value)}


def _disks_of(field: str) -> Reader:
    """Pairs of path and number; an empty list forgets those before."""

    def read(reading: _Reading, pairs: Iterable[tuple[str, int]]) -> None:
        rows = list(pairs)
        for path, value in rows:
            disk = reading.disks.setdefault(block_number(path, "disk", reading.resolve), {})
            disk[field] = MAX if value >= INFINITY and field != "latency_us" else int(value)
        if not rows:
            for disk in reading.disks.values():
                disk.pop(field, None)

    return read


def _period(reading: _Reading, value: int) -> None:
    if value < INFINITY:
        reading.cpu["period_us"] = min(max(value, 1_000), 1_000_000)


def _per_sec(reading: _Reading, value: int) -> None:
    reading.per_sec = value


def _ids_of(field: str) -> Reader:
    """A little-endian mask; an empty one is not set."""

    def read(reading: _Reading, mask: Iterable[int]) -> None:
        reading.cpuset[field] = formulas.mask_to_ids(bytes(mask)) or None

    return read


def _policy(reading: _Reading, value: str) -> None:
    reading.policy = value


def _allow(reading: _Reading, pairs: Iterable[tuple[str, str]]) -> None:
    """Pairs of device and access; an empty list forgets those before."""
    rules = [_rule(node, access, reading.resolve) for node, access in pairs]
    reading.rules = [*(reading.rules or []), *rules] if rules else []


def _rule(node: str, access: str, resolve: Resolve | None) -> DeviceRule:
    """A rule from /dev/null, /dev/char/1:3, char-136 or block-*."""
    ordered = "".join(letter for letter in "rwm" if letter in access) or "rwm"
    for folder, kind in (("char-", "c"), ("block-", "b")):
        major = node.removeprefix(folder)
        if major == node:
            continue
        if major == "*":
            return DeviceRule(kind=kind, access=ordered)
        number = parse_int(major, "device group", 0, MAX_U32)
        return DeviceRule(kind=kind, major=number, access=ordered)
    return path_rule(node, ordered, "device", resolve)


READERS: Final[dict[str, Reader]] = {
    "CPUWeight": _weight_of("cpu"),
    "CPUShares": _shares,
    "CPUQuotaPeriodUSec": _period,
    "CPUQuotaPerSecUSec": _per_sec,
    "AllowedCPUs": _ids_of("cpus"),
    "AllowedMemoryNodes": _ids_of("mems"),
    "MemoryMin": _limit_of("memory", "min_bytes"),
    "MemoryLow": _limit_of("memory", "low_bytes"),
    "MemoryHigh": _limit_of("memory", "high_bytes"),
    "MemoryMax": _limit_of("memory", "max_bytes"),
    "MemoryLimit": _limit_of("memory", "max_bytes"),
    "MemorySwapMax": _limit_of("memory", "swap_bytes"),
    "TasksMax": _limit_of("pids", "max"),
    "IOWeight": _weight_of("io"),
    "BlockIOWeight": _weight_of("io"),
    "BlockIODeviceWeight": _disks_of("weight"),
    "DevicePolicy": _policy,
    "DeviceAllow": _allow,
    **{name: _disks_of(field) for name, field in (DISKS | V1_RATES).items()},
}
