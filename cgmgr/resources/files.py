"""A group's files, read back as Resources.

Law: text in, Resources out; which file holds what is a table for each version of the hierarchy.
Files that hold no setting are passed over, so that a whole directory may be given.  The other way,
Resources into files, is the business of `cgmgr.controllers`, because order depends on the host.

v1's own spelling is kept where it says more: cpu.shares as `Cpu.shares`; memory and swap together
become swap alone.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import MAX, Max, parse_id_list, refuse

from .devices import parse_rule
from .formulas import bfq_to_io_weight, memory_swap_to_swap, shares_to_weight
from .model import (
    Cpu,
    Cpuset,
    HugetlbLimit,
    Io,
    IoDevice,
    Memory,
    MiscLimit,
    NetPrio,
    Pids,
    RdmaLimit,
    Resources,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Final

    Reader = Callable[[str], Resources]

#: v1 prints "no limit" as the largest whole number of pages below this, 16 GB pages included
#: (mm/page_counter.c PAGE_COUNTER_MAX)
V1_UNLIMITED: Final = (1 << 63) - (1 << 35)


def from_files(version: int, files: Mapping[str, str]) -> Resources:
    """What the files of a group say, by file name; `version` is 1 or 2.

    v1 files of several hierarchies may be given together.  Raises `RequestError` for a text that no
    kernel writes.
    """
    table = V1 if version == 1 else V2
    resources = Resources()
    for file, text in files.items():
        reader = table.get(file) or _hugetlb_reader(file, version)
        if reader is not None:
            resources = resources.merge(_read(reader, file, text))
    if version == 1 and {"memory.memsw.limit_in_bytes", "memory.limit_in_bytes"} <= files.keys():
        resources = _swap_alone(resources, files["memory.memsw.limit_in_bytes"])
    return resources


def _read(reader: Reader, file: str, text: str) -> Resources:
    try:
        return reader(text.strip())
    except RequestError:
        raise
    except (ValueError, LookupError, TypeError) as error:  # TypeError: a key without a field
        raise refuse(file, text, "that is not what the kernel writes there") from error


def _limit(text: str) -> int | Max:
    return MAX if text == "max" else int(text)


def _bytes(text: str) -> int | Max:
    """A limit in bytes; the kernel takes a suffix too, as memparse() does, but prints none."""
    power = " kmgtpe".find(text[-1:].lower()) * 10
    return int(text[:-1]) << power if power > 0 and text[:-1].isdigit() else _limit(text)


def _v1_limit(text: str) -> int | Max:
    return MAX if int(text) < 0 or int(text) >= V1_UNLIMITED else int(text)


def _v1_usec(text: str) -> int | Max:
    return MAX if int(text) < 0 else int(text)


def _frozen(text: str) -> Resources:
    return Resources(frozen=text not in ("0", "THAWED"))


def _cpu(field: str, parse: Callable[[str], Any] = int) -> Reader:
    return lambda text: Resources(cpu=Cpu(**{field: parse(text)}))


def _memory(field: str, parse: Callable[[str], Any] = _bytes) -> Reader:
    return lambda text: Resources(memory=Memory(**{field: parse(text)}))


def _flag(text: str) -> bool:
    return text != "0"


def _weight(text: str) -> Resources:
    """cpu.weight, which prints 0 for an idle group."""
    return Resources(cpu=Cpu(weight=int(text))) if text != "0" else Resources()


def _shares(text: str) -> Resources:
    shares = int(text)
    return Resources(cpu=Cpu(shares=shares, weight=shares_to_weight(shares)))


def _cpu_max(text: str) -> Resources:
    quota, *period = text.split()
    cpu = Cpu(quota_us=_limit(quota), period_us=int(period[0]) if period else None)
    return Resources(cpu=cpu)


def _ids(field: str) -> Reader:
    """A cpuset's list; an empty one is inherited, so nothing is said."""

    def read(text: str) -> Resources:
        said: dict[str, Any] = {field: parse_id_list(text) or None}
        return Resources(cpuset=Cpuset(**said))

    return read


def _partition(text: str) -> Resources:
    """ "root invalid (...)" is what was asked, and why it does not hold."""
    return Resources(cpuset=Cpuset(partition=text.split()[0]))


def _oom_control(text: str) -> Resources:
    lines = dict(line.split() for line in text.splitlines())
    return Resources(memory=Memory(oom_kill_disable=_flag(lines["oom_kill_disable"])))


def _keyed(text: str) -> Iterator[tuple[str, dict[str, int | Max]]]:
    """Lines of KEY NAME=NUMBER NAME=NUMBER."""
    for line in text.splitlines():
        key, *pairs = line.split()
        yield key, {name: _limit(value) for name, value in (pair.split("=") for pair in pairs)}


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    """Lines of KEY NUMBER."""
    for line in text.splitlines():
        key, number = line.split()
        yield key, number


def _io(fields: Mapping[str, Mapping[str, int | Max]], weight: int | None = None) -> Resources:
    devices = tuple(IoDevice(device=disk, **said) for disk, said in fields.items() if said)  # type: ignore[arg-type]
    return Resources(io=Io(weight=weight, devices=devices))


def _io_max(text: str) -> Resources:
    return _io(dict(_keyed(text)))


def _io_latency(text: str) -> Resources:
    return _io({disk: {"latency_us": said["target"]} for disk, said in _keyed(text)})


def _io_weight(scale: Callable[[int], int]) -> Reader:
    """ "default N" and a line a disk, or, in old kernels, N alone.

    bfq's v1 file of the disks has a line for the default too (block/bfq-cgroup.c).
    """

    def read(text: str) -> Resources:
        lines = {"default": text} if len(text.split()) == 1 else dict(_numbers(text))
        weight = lines.pop("default", None)
        disks = {disk: {"weight": scale(int(number))} for disk, number in lines.items()}
        return _io(disks, scale(int(weight)) if weight else None)

    return read


def _v1_disks(field: str, parse: Callable[[str], Any]) -> Reader:
    return lambda text: _io({disk: {field: parse(number)} for disk, number in _numbers(text)})


def _pids(text: str) -> Resources:
    return Resources(pids=Pids(max=_limit(text)))


def _devices(text: str) -> Resources:
    return Resources(devices=tuple(parse_rule(line, "devices.list") for line in text.splitlines()))


def _classid(text: str) -> Resources:
    """0 is what a group has that was never given one."""
    return Resources(net_cls_classid=int(text) or None)


def _priorities(text: str) -> Resources:
    """Interfaces at 0 were never given a priority."""
    said = ((name, int(number)) for name, number in _numbers(text))
    return Resources(
        net_prio=tuple(NetPrio(interface=name, priority=number) for name, number in said if number)
    )


def _rdma(text: str) -> Resources:
    limits = tuple(RdmaLimit(device=device, **said) for device, said in _keyed(text))
    return Resources(rdma=limits)


def _misc(text: str) -> Resources:
    return Resources(misc=tuple(MiscLimit(key=k, max=_limit(n)) for k, n in _numbers(text)))


def _hugetlb_reader(file: str, version: int) -> Reader | None:
    """hugetlb.SIZE.max and hugetlb.SIZE.rsvd.max, in v1 with limit_in_bytes."""
    controller, _, rest = file.partition(".")
    size, _, name = rest.partition(".")
    last, parse = ("limit_in_bytes", _v1_limit) if version == 1 else ("max", _limit)
    field = {last: "max_bytes", f"rsvd.{last}": "rsvd_max_bytes"}.get(name)
    if controller != "hugetlb" or field is None:
        return None
    return lambda text: Resources(hugetlb=(HugetlbLimit(size=size, **{field: parse(text)}),))


def _swap_alone(resources: Resources, memsw: str) -> Resources:
    swap = memory_swap_to_swap(resources.memory.max_bytes, _v1_limit(memsw.strip()))
    return resources.merge(Resources(memory=Memory(swap_bytes=swap)))


#: what both versions call the same
_BOTH: Final[dict[str, Reader]] = {
    "cpu.idle": _cpu("idle", _flag),
    "cpuset.cpus": _ids("cpus"),
    "cpuset.mems": _ids("mems"),
    "pids.max": _pids,
    "rdma.max": _rdma,
    "misc.max": _misc,
}

V2: Final[dict[str, Reader]] = _BOTH | {
    "cpu.weight": _weight,
    "cpu.max": _cpu_max,
    "cpu.max.burst": _cpu("burst_us"),
    "cpuset.cpus.partition": _partition,
    "memory.max": _memory("max_bytes"),
    "memory.high": _memory("high_bytes"),
    "memory.low": _memory("low_bytes"),
    "memory.min": _memory("min_bytes"),
    "memory.swap.max": _memory("swap_bytes"),
    "memory.oom.group": _memory("oom_group", _flag),
    "io.weight": _io_weight(int),
    "io.bfq.weight": _io_weight(bfq_to_io_weight),
    "io.max": _io_max,
    "io.latency": _io_latency,
    "cgroup.freeze": _frozen,
}

V1: Final[dict[str, Reader]] = _BOTH | {
    "cpu.shares": _shares,
    "cpu.cfs_quota_us": _cpu("quota_us", _v1_usec),
    "cpu.cfs_period_us": _cpu("period_us"),
    "cpu.cfs_burst_us": _cpu("burst_us"),
    "cpu.rt_runtime_us": _cpu("rt_runtime_us", _v1_usec),
    "cpu.rt_period_us": _cpu("rt_period_us"),
    "memory.limit_in_bytes": _memory("max_bytes", _v1_limit),
    "memory.soft_limit_in_bytes": _memory("soft_limit_bytes", _v1_limit),
    "memory.swappiness": _memory("swappiness", int),
    "memory.oom_control": _oom_control,
    "blkio.weight": _io_weight(bfq_to_io_weight),
    "blkio.bfq.weight": _io_weight(bfq_to_io_weight),
    "blkio.weight_device": _io_weight(bfq_to_io_weight),
    "blkio.bfq.weight_device": _io_weight(bfq_to_io_weight),
    "blkio.throttle.read_bps_device": _v1_disks("rbps", int),
    "blkio.throttle.write_bps_device": _v1_disks("wbps", int),
    "blkio.throttle.read_iops_device": _v1_disks("riops", int),
    "blkio.throttle.write_iops_device": _v1_disks("wiops", int),
    "devices.list": _devices,
    "freezer.state": _frozen,
    "net_cls.classid": _classid,
    "net_prio.ifpriomap": _priorities,
}
