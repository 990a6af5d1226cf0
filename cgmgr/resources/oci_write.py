"""Writing `linux.resources` of the OCI runtime specification (1.2).

Law: each setting goes into the field that the specification has for it.  What it has none for goes
into its `unified` map as the v2 file, spelled in one way only, by which `oci_read` knows it again.
"""

from __future__ import annotations

from cgmgr.units import MAX_U64, Max, format_id_list

from . import formulas
from .model import DeviceRule, HugetlbLimit, Io, Memory, RdmaLimit, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

#: array of blockIO -> field of `IoDevice`
THROTTLES: Final = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}
#: files of a line a key
_LINES: Final = ("io.weight", "io.latency", "misc.max")
#: what other runtimes need to see first, and what is the default here
DENY_ALL: Final = DeviceRule(kind="a", allow=False)
#: kernel/cgroup/rdma.c prints this as "max"
RDMA_MAX: Final = (1 << 31) - 1


def to_oci(resources: Resources) -> dict[str, Any]:
    """The JSON object `linux.resources` that says this; see `unexpressed` for what it cannot."""
    document = {
        "cpu": _said(_cpu_fields(resources)),
        "memory": _said(_memory_fields(resources.memory)),
        "pids": _said({"limit": _signed(resources.pids.max)}),
        "blockIO": _said(_io_fields(resources.io)),
        "network": _said(_network_fields(resources)),
        "hugepageLimits": [
            {"pageSize": limit.size, "limit": _unsigned(limit.max_bytes)}
            for limit in resources.hugetlb
            if _one_limit(limit)
        ],
        "rdma": {limit.device: _rdma_fields(limit) for limit in resources.rdma},
        "unified": _unified(resources),
    }
    said: dict[str, Any] = {key: value for key, value in document.items() if value}
    if resources.devices is not None:
        said["devices"] = [_rule_fields(rule) for rule in (DENY_ALL, *resources.devices)]
    return said


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None and value != []}


def _signed(value: int | Max | None) -> int | None:
    return -1 if isinstance(value, Max) else value


def _unsigned(value: int | Max | None) -> int | None:
    return MAX_U64 if isinstance(value, Max) else value


def _cpu_fields(resources: Resources) -> dict[str, Any]:
    cpu, cpuset = resources.cpu, resources.cpuset
    shares = cpu.shares or (formulas.weight_to_shares(cpu.weight) if cpu.weight else None)
    return {
        "shares": shares,
        "quota": _signed(cpu.quota_us),
        "period": cpu.period_us,
        "burst": cpu.burst_us,
        "idle": None if cpu.idle is None else int(cpu.idle),
        "realtimeRuntime": _signed(cpu.rt_runtime_us or None),
        "realtimePeriod": cpu.rt_period_us,
        "cpus": format_id_list(cpuset.cpus) if cpuset.cpus else None,
        "mems": format_id_list(cpuset.mems) if cpuset.mems else None,
    }


def _memory_fields(memory: Memory) -> dict[str, Any]:
    return {
        "limit": _signed(memory.max_bytes),
        "swap": _signed(_together(memory)),
        "reservation": _signed(memory.soft_limit_bytes or None),
        "swappiness": memory.swappiness,
        "disableOOMKiller": memory.oom_kill_disable,
    }


def _together(memory: Memory) -> int | Max | None:
    """Memory and swap as one number, where the specification's `swap` can say it."""
    limit, swap = memory.max_bytes, memory.swap_bytes
    if isinstance(limit, Max) and isinstance(swap, int):
        return swap or None
    return formulas.swap_to_memory_swap(limit, swap)


def _io_fields(io: Io) -> dict[str, Any]:
    fields: dict[str, Any] = {"weight": _bfq(io.weight), "weightDevice": []}
    for key, field in THROTTLES.items():
        fields[key] = [
            _disk(disk.device) | {"rate": _unsigned(rate)}
            for disk in io.devices
            if (rate := getattr(disk, field)) is not None
        ]
    for disk in io.devices:
        weight = _bfq(disk.weight)
        if weight:
            fields["weightDevice"].append(_disk(disk.device) | {"weight": weight})
    return fields


def _disk(device: str) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor)}


def _bfq(weight: int | None) -> int | None:
    """The specification's weight, 10 to 1000, where it has one for exactly this."""
    bfq = formulas.io_weight_to_bfq(weight) if weight else 0
    return bfq if bfq >= 10 and formulas.bfq_to_io_weight(bfq) == weight else None


def _network_fields(resources: Resources) -> dict[str, Any]:
    priorities = [
        {"name": entry.interface, "priority": entry.priority} for entry in resources.net_prio
    ]
    return {"classID": resources.net_cls_classid, "priorities": priorities}


def _one_limit(limit: HugetlbLimit) -> bool:
    """The specification has one limit for both ways to count."""
    return limit.max_bytes is not None and limit.max_bytes == limit.rsvd_max_bytes


def _rdma_fields(limit: RdmaLimit) -> dict[str, Any]:
    pairs = {"hcaHandles": limit.hca_handle, "hcaObjects": limit.hca_object}
    return {
        key: RDMA_MAX if isinstance(value, Max) else value
        for key, value in pairs.items()
        if value is not None
    }


def _rule_fields(rule: DeviceRule) -> dict[str, Any]:
    kind = rule.kind if rule.kind != "a" else None
    fields = {"allow": rule.allow, "type": kind, "major": rule.major, "minor": rule.minor}
    return _said(fields | {"access": rule.access})


def _unified(resources: Resources) -> dict[str, str]:
    """Settings without a field, and raw files, which come last: as a later line where a file has
    one a key, else instead."""
    files = as_files(resources)
    for raw in resources.unified:
        before = files.pop(raw.file, "") if raw.file in _LINES else ""
        files[raw.file] = f"{before}\n{raw.value}" if before else raw.value
    return files


def as_files(resources: Resources) -> dict[str, str]:
    """The v2 files of the settings for which the specification has no field."""
    return {file: text for file, text in _files(resources) if text}


def _files(resources: Resources) -> Iterator[tuple[str, str]]:
    memory, io = resources.memory, resources.io
    yield "cpuset.cpus.partition", resources.cpuset.partition or ""
    yield "memory.high", _text(memory.high_bytes)
    yield "memory.low", _text(memory.low_bytes)
    yield "memory.min", _text(memory.min_bytes)
    yield "memory.oom.group", _text(None if memory.oom_group is None else int(memory.oom_group))
    if _together(memory) is None:
        yield "memory.swap.max", _text(memory.swap_bytes)
    weights = [("default", io.weight), *((disk.device, disk.weight) for disk in io.devices)]
    yield "io.weight", _lines((k, w) for k, w in weights if w is not None and _bfq(w) is None)
    targets = ((disk.device, disk.latency_us) for disk in io.devices)
    yield "io.latency", _lines((k, f"target={t}") for k, t in targets if t is not None)
    yield "misc.max", _lines((limit.key, limit.max) for limit in resources.misc)
    for limit in resources.hugetlb:
        if not _one_limit(limit):
            yield f"hugetlb.{limit.size}.max", _text(limit.max_bytes)
            yield f"hugetlb.{limit.size}.rsvd.max", _text(limit.rsvd_max_bytes)


def _text(value: int | Max | None) -> str:
    return "" if value is None else str(value)


def _lines(pairs: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"{key} {value}" for key, value in pairs)
