"""Resources as systemd's properties, with their D-Bus values.

Law: pure.  Every value that systemd can hold is said, "infinity" and 0 included, because systemd
writes over what it was not told.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX_U64, Max

from . import formulas
from .files import from_files
from .model import DeviceRule, Raw, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

    #: name, D-Bus signature, value: int for t, bytes for ay, str for s, lists of pairs for a(..)
    Property = tuple[str, str, Any]

INFINITY: Final = MAX_U64

#: property -> the version of systemd that brought it
SINCE: Final = {
    "CPUQuotaPeriodUSec": 242,
    "AllowedCPUs": 244,
    "AllowedMemoryNodes": 244,
    "MemoryMin": 240,
    "IODeviceLatencyTargetUSec": 240,
}
#: CPUWeight=0, which is idle
IDLE_SINCE: Final = 252
#: DeviceAllow=char-MAJOR by number
MAJOR_SINCE: Final = 240
NEWEST: Final = 1_000


def properties(resources: Resources, *, version: int = 2, systemd: int = NEWEST) -> list[Property]:
    """The properties that say this, in the order to send them.

    `version` is that of the hierarchy, `systemd` systemd's.  A property that this systemd does not
    know is left out, and `unexpressed` names it.
    """
    said = without_raw(resources) if version == 2 else resources
    rows = [*(_v1(said) if version == 1 else _v2(said, systemd)), *_both(said, systemd)]
    return [row for row in rows if SINCE.get(row[0], 0) <= systemd]


def without_raw(resources: Resources) -> Resources:
    """Raw files as the settings that they are; those that are none stay."""
    rest: list[Raw] = []
    for raw in resources.unified:
        try:
            setting = from_files(2, {raw.file: raw.value})
        except RequestError:
            setting = Resources()
        if setting:
            resources = resources.merge(setting)
        else:
            rest.append(raw)
    return resources.replace(unified=tuple(rest))


def _both(resources: Resources, systemd: int) -> Iterator[Property]:
    """What both versions of the hierarchy have."""
    cpu = resources.cpu
    if cpu.period_us is not None:
        yield "CPUQuotaPeriodUSec", "t", cpu.period_us
    if isinstance(cpu.quota_us, int):
        period = cpu.period_us or formulas.DEFAULT_PERIOD_US
        yield "CPUQuotaPerSecUSec", "t", formulas.quota_to_per_sec_usec(cpu.quota_us, period)
    elif cpu.quota_us is not None:
        yield "CPUQuotaPerSecUSec", "t", INFINITY
    yield from _limits(("TasksMax", resources.pids.max))
    if resources.devices is not None:
        yield from _devices(resources.devices, systemd)


def _v2(resources: Resources, systemd: int) -> Iterator[Property]:
    cpu, cpuset, memory, io = resources.cpu, resources.cpuset, resources.memory, resources.io
    if cpu.idle and systemd >= IDLE_SINCE:
        yield "CPUWeight", "t", 0
    yield from _limits(("CPUWeight", cpu.weight))
    for name, ids in (("AllowedCPUs", cpuset.cpus), ("AllowedMemoryNodes", cpuset.mems)):
        if ids is not None:
            yield name, "ay", formulas.ids_to_mask(ids)
    low = memory.low_bytes if memory.low_bytes is not None else memory.soft_limit_bytes
    yield from _limits(
        ("MemoryMin", memory.min_bytes),
        ("MemoryLow", low),
        ("MemoryHigh", memory.high_bytes),
        ("MemoryMax", memory.max_bytes),
        ("MemorySwapMax", memory.swap_bytes),
        ("IOWeight", io.weight),
    )
    for name, field in DISKS.items():
        yield from _disks(name, ((disk.device, getattr(disk, field)) for disk in io.devices))


def _v1(resources: Resources) -> Iterator[Property]:
    cpu, io = resources.cpu, resources.io
    if cpu.weight is not None:
        yield "CPUShares", "t", cpu.shares or formulas.weight_to_shares(cpu.weight)
    yield from _limits(("MemoryLimit", resources.memory.max_bytes))
    if io.weight is not None and V1_WEIGHTS[0] <= io.weight <= V1_WEIGHTS[1]:
        yield "BlockIOWeight", "t", io.weight
    for name, field in V1_RATES.items():
        yield from _disks(name, ((disk.device, getattr(disk, field)) for disk in io.devices))


#: property -> field of `IoDevice`, by version
DISKS: Final = {
    "IODeviceWeight": "weight",
    "IOReadBandwidthMax": "rbps",
    "IOWriteBandwidthMax": "wbps",
    "IOReadIOPSMax": "riops",
    "IOWriteIOPSMax": "wiops",
    "IODeviceLatencyTargetUSec": "latency_us",
}
#: what BlockIOWeight takes.  systemd writes it to blkio.bfq.weight on the scale of io.weight, so
#: 200 becomes 109 there (systemd 252, `set_blkio_weight`); BlockIODeviceWeight it writes to
#: blkio.weight_device, which went with cfq (Linux 5.0).
V1_WEIGHTS: Final = (10, 1_000)
V1_RATES: Final = {"BlockIOReadBandwidth": "rbps", "BlockIOWriteBandwidth": "wbps"}


def _limits(*pairs: tuple[str, int | Max | None]) -> Iterator[Property]:
    for name, value in pairs:
        if value is not None:
            yield name, "t", INFINITY if isinstance(value, Max) else value


def _disks(name: str, pairs: Iterable[tuple[str, int | Max | None]]) -> Iterator[Property]:
    rows = [
        (f"/dev/block/{device}", INFINITY if isinstance(value, Max) else value)
        for device, value in pairs
        if value is not None
    ]
    if rows:
        yield name, "a(st)", rows


def _effective(rules: tuple[DeviceRule, ...]) -> tuple[bool, tuple[DeviceRule, ...]]:
    """What holds by default, and the rules that count: those behind the last one for everything."""
    everything = [index for index, rule in enumerate(rules) if rule.kind == "a"]
    if not everything:
        return False, rules
    return rules[everything[-1]].allow, rules[everything[-1] + 1 :]


def plain_rules(rules: tuple[DeviceRule, ...] | None) -> tuple[DeviceRule, ...] | None:
    if rules is None:
        return None
    allowed, rest = _effective(rules)
    return (*ALLOW_ALL, *rest) if allowed else rest


ALLOW_ALL: Final = (DeviceRule(kind="a"),)
_FOLDERS: Final = {"c": "char", "b": "block"}


def _devices(rules: tuple[DeviceRule, ...], systemd: int) -> Iterator[Property]:
    """The filter, or the narrowest wider one: ours below systemd's only narrows it.

    The empty list first: a policy that is set before leaves NeedDaemonReload=yes on every unit
    (runc#4568).
    """
    allowed, rest = _effective(rules)
    yield "DeviceAllow", "a(ss)", []
    yield "DevicePolicy", "s", "auto" if allowed else "strict"
    entries = [(_node(rule, systemd), rule.access) for rule in rest if rule.allow]
    if entries and not allowed:
        yield "DeviceAllow", "a(ss)", entries


def _node(rule: DeviceRule, systemd: int) -> str:
    folder = _FOLDERS[rule.kind]
    if rule.major is not None and rule.minor is not None:
        return f"/dev/{folder}/{rule.major}:{rule.minor}"
    if rule.major is not None and systemd >= MAJOR_SINCE:
        return f"{folder}-{rule.major}"
    return f"{folder}-*"
