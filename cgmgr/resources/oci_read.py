"""Reading `linux.resources` of the OCI runtime specification (1.2).

Law: every field of the specification is read, or refused by name where no kernel holds it any more;
unknown ones are ignored, as the specification asks.  0 is "not said" where runc takes it so (limit,
reservation, swap, shares, quota, period, realtime, weights), -1 is no limit.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX, MAX_U32, MAX_U64, Max, parse_id_list

from . import formulas
from .document import Node
from .files import from_files
from .model import (
    Cpu,
    Cpuset,
    DeviceRule,
    HugetlbLimit,
    Io,
    IoDevice,
    Memory,
    NetPrio,
    Pids,
    Raw,
    RdmaLimit,
    Resources,
)
from .oci_write import DENY_ALL, RDMA_MAX, THROTTLES, as_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeVar

    from cgmgr.record import Record

    T = TypeVar("T", bound=Record)

_MOST: Final = MAX_U64 >> 1


def from_oci(document: Any, path: str = "linux.resources") -> Resources:
    """Resources from the decoded JSON object `linux.resources`.

    Raises `RequestError` that names the field by its JSON path.
    """
    root = Node(document, path)
    resources = Resources(
        cpu=_at(root.at("cpu"), lambda: _cpu(root.node("cpu"))),
        cpuset=_at(root.at("cpu"), lambda: _cpuset(root.node("cpu"))),
        memory=_at(root.at("memory"), lambda: _memory(root.node("memory"))),
        devices=_devices(root),
        io=_at(root.at("blockIO"), lambda: _io(root.node("blockIO"))),
        pids=_pids(root.node("pids")),
        net_cls_classid=root.node("network").whole("classID", 0, MAX_U32),
        net_prio=tuple(_priority(node) for node in root.node("network").nodes("priorities")),
        hugetlb=tuple(_hugetlb(node) for node in root.nodes("hugepageLimits")),
        rdma=_rdma(root.node("rdma")),
    )
    return _with_unified(resources, root.node("unified"))


def check_before_update(document: Any, path: str = "linux.resources") -> bool:
    """Whether `memory.checkBeforeUpdate` is asked for: no limit below present usage."""
    return bool(Node(document, path).node("memory").boolean("checkBeforeUpdate"))


def _at(path: str, make: Callable[[], T]) -> T:
    """What `make` makes; what the model refuses is told with its place in the document."""
    try:
        return make()
    except RequestError as error:
        if path in error.message:
            raise
        raise RequestError(
            f"{path}: {error}", operation=f"read {path}", value=error.value
        ) from error


def _limit(value: int | None, zero_is_unset: bool = True) -> int | Max | None:
    if value is not None and value < 0:
        return MAX
    return None if value == 0 and zero_is_unset else value


def _unsigned_limit(value: int | None) -> int | Max | None:
    """A uint64, of which everything above the kernel's range is no limit."""
    return MAX if value is not None and value > _MOST else value


def _cpu(node: Node) -> Cpu:
    shares = node.whole("shares", 0, MAX_U64) or None
    known = shares is not None and formulas.SHARES_LEAST <= shares <= formulas.SHARES_MOST
    idle = node.whole("idle", 0, 1)
    return Cpu(
        weight=formulas.shares_to_weight(shares) if shares else None,
        shares=shares if known else None,
        quota_us=_limit(node.whole("quota", -1, _MOST)),
        period_us=node.whole("period", 0, MAX_U64) or None,
        burst_us=node.whole("burst", 0, MAX_U64),
        idle=None if idle is None else bool(idle),
        rt_runtime_us=_limit(node.whole("realtimeRuntime", -1, _MOST)),
        rt_period_us=node.whole("realtimePeriod", 0, MAX_U64) or None,
    )


def _cpuset(node: Node) -> Cpuset:
    cpus, mems = (parse_id_list(node.text(k) or "", node.at(k)) or None for k in ("cpus", "mems"))
    return Cpuset(cpus=cpus, mems=mems)


def _memory(node: Node) -> Memory:
    limit = _limit(node.whole("limit", -1, _MOST))
    together = _limit(node.whole("swap", -1, _MOST))
    for key in ("kernel", "kernelTCP"):
        if (node.whole(key, -1, _MOST) or 0) > 0:
            raise _refused(node, key, "limits on the kernel's own memory ended with Linux 5.16")
    if node.boolean("useHierarchy") is False:
        raise _refused(node, "useHierarchy", "groups are hierarchical since Linux 5.11")
    return Memory(
        max_bytes=limit,
        swap_bytes=formulas.memory_swap_to_swap(limit, together),
        soft_limit_bytes=_limit(node.whole("reservation", -1, _MOST)),
        swappiness=node.whole("swappiness", 0, 200),
        oom_kill_disable=node.boolean("disableOOMKiller"),
    )


def _refused(node: Node, key: str, why: str) -> RequestError:
    return RequestError(f"{node.at(key)} is refused: {why}", operation=f"read {node.at(key)}")


def _devices(root: Node) -> tuple[DeviceRule, ...] | None:
    """The filter, without the denial of everything that comes first: here that is the default."""
    if not root.has("devices"):
        return None
    rules = tuple(_rule(node) for node in root.nodes("devices"))
    return rules[1:] if rules[:1] == (DENY_ALL,) else rules


def _rule(node: Node) -> DeviceRule:
    node.required("allow")
    kind, access = node.text("type") or "a", node.text("access")
    if access is None and kind != "a":
        # runc refuses it too: "nothing" and "everything" are both plausible readings
        raise _refused(node, "access", "say which of rwm")
    numbers = (node.whole("major", -1, MAX_U32), node.whole("minor", -1, MAX_U32))
    major, minor = (None if number == -1 else number for number in numbers)
    ordered = "".join(letter for letter in "rwm" if letter in (access or "rwm"))
    if set(access or "") - {*"rwm"}:
        raise Node.complaint(node.at("access"), access, "made of r, w and m")
    allow = node.boolean("allow") is True
    return _at(
        node.path,
        lambda: DeviceRule(kind=kind, major=major, minor=minor, access=ordered, allow=allow),
    )


def _io(node: Node) -> Io:
    disks: dict[str, dict[str, Any]] = {}
    _refuse_leaf_weight(node)
    for entry in node.nodes("weightDevice"):
        _refuse_leaf_weight(entry)
        weight = entry.whole("weight", 0, 1_000)
        if weight:
            disks.setdefault(_disk(entry), {})["weight"] = formulas.bfq_to_io_weight(weight)
    for key, field in THROTTLES.items():
        for entry in node.nodes(key):
            entry.required("rate")
            rate = _unsigned_limit(entry.whole("rate", 0, MAX_U64))
            # blkio.throttle.*: 0 takes the limit away
            disks.setdefault(_disk(entry), {})[field] = MAX if rate == 0 else rate
    weight = node.whole("weight", 0, 1_000)
    return Io(
        weight=formulas.bfq_to_io_weight(weight) if weight else None,
        devices=tuple(IoDevice(device=name, **fields) for name, fields in disks.items()),
    )


def _refuse_leaf_weight(node: Node) -> None:
    if node.whole("leafWeight", 0, 1_000):
        raise _refused(node, "leafWeight", "its scheduler, CFQ, ended with Linux 5.0")


def _disk(node: Node) -> str:
    node.required("major", "minor")
    return f"{node.whole('major', 0, MAX_U32)}:{node.whole('minor', 0, MAX_U32)}"


def _pids(node: Node) -> Pids:
    """-1 lifts the limit; 0 is one task, the least that a group with a process in it can have."""
    limit = _limit(node.whole("limit", -1, _MOST), zero_is_unset=False)
    return _at(node.path, lambda: Pids(max=1 if limit == 0 else limit))


def _priority(node: Node) -> NetPrio:
    node.required("name", "priority")
    name, priority = node.text("name") or "", node.whole("priority", 0, MAX_U32) or 0
    return _at(node.path, lambda: NetPrio(interface=name, priority=priority))


def _hugetlb(node: Node) -> HugetlbLimit:
    """One limit for both ways to count, reservations and touched pages (config-linux.md)."""
    node.required("pageSize", "limit")
    size, limit = node.text("pageSize") or "", _unsigned_limit(node.whole("limit", 0, MAX_U64))
    return _at(node.path, lambda: HugetlbLimit(size=size, max_bytes=limit, rsvd_max_bytes=limit))


def _rdma(node: Node) -> tuple[RdmaLimit, ...]:
    return tuple(_rdma_device(node.node(name), name) for name in node.keys())  # noqa: SIM118


def _rdma_device(node: Node, name: str) -> RdmaLimit:
    limits = (node.whole(key, 0, MAX_U32) for key in ("hcaHandles", "hcaObjects"))
    handle, objects = (MAX if n is not None and n >= RDMA_MAX else n for n in limits)
    return _at(node.path, lambda: RdmaLimit(device=name, hca_handle=handle, hca_object=objects))


def _with_unified(resources: Resources, node: Node) -> Resources:
    """Raw files on top, those that `to_oci` writes as the settings that they are."""
    raw: list[Raw] = []
    for file in node.keys():  # noqa: SIM118
        text = node.text(file)
        if text is None:
            continue
        setting = _setting(file, text)
        if setting is not None:
            resources = resources.merge(setting)
        else:
            raw.append(_raw(node.at(file), file, text))
    return resources.replace(unified=tuple(raw))


def _raw(path: str, file: str, text: str) -> Raw:
    return _at(path, lambda: Raw(file=file, value=text))


def _setting(file: str, text: str) -> Resources | None:
    """A raw file as a setting, if that setting is written as exactly this file and text."""
    try:
        setting = from_files(2, {file: text})
    except RequestError:
        return None
    return setting if as_files(setting) == {file: text} else None
