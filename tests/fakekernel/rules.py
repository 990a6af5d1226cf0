"""What the kernel makes of a value written to a controller's file: the table.

Law: names and functions, which live beside this, one module a family of controllers.  A file
that is in no table takes what looks like what it holds.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from . import cpu, cpuset, devices, memory, others
from .numbers import fail, signed, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable

    from .group import Group


def _write_nothing(_group: Group, _file: str, _value: str) -> None:
    """The file takes it, and nothing that could be read changes."""


def _write_flag(group: Group, file: str, value: str) -> None:
    """A bit of the group: any number but 0 sets it."""
    group.put(file, str(int(unsigned(value) != 0)))


def _write_devices(group: Group, file: str, value: str) -> None:
    devices.write(group, file.removeprefix("devices."), value)


def _write_as_it_is(group: Group, file: str, value: str) -> None:
    """A file that no rule knows: a number stays a number, all else is taken as it is."""
    if re.fullmatch(r"-?\d+", group.get(file)):
        group.put(file, str(signed(value)))
    else:
        group.put(file, value)


_RULES: dict[str, Callable[[Group, str, str], None]] = {
    "cpu.shares": cpu.write_shares,
    "cpu.weight": cpu.write_weight,
    "cpu.idle": cpu.write_idle,
    "cpu.cfs_quota_us": cpu.write_quota,
    "cpu.cfs_period_us": cpu.write_period,
    "cpu.cfs_burst_us": cpu.write_burst,
    "cpu.max": cpu.write_cpu_max,
    "cpu.max.burst": cpu.write_burst,
    "cpu.rt_runtime_us": cpu.write_rt_runtime,
    "cpu.rt_period_us": cpu.write_rt_period,
    "cpu.uclamp.min": cpu.write_uclamp,
    "cpu.uclamp.max": cpu.write_uclamp,
    "cpuacct.usage": cpu.write_zero,
    "cpuset.cpus": cpuset.write_cpuset,
    "cpuset.mems": cpuset.write_cpuset,
    "memory.limit_in_bytes": memory.write_v1_limit,
    "memory.memsw.limit_in_bytes": memory.write_v1_limit,
    "memory.soft_limit_in_bytes": memory.write_soft_limit,
    "memory.swappiness": memory.write_swappiness,
    "memory.oom_control": memory.write_oom_control,
    "memory.use_hierarchy": memory.write_use_hierarchy,
    "memory.force_empty": _write_nothing,
    "memory.oom.group": memory.write_switch,
    "memory.reclaim": memory.write_reclaim,
    "pids.max": others.write_pids_max,
    "rdma.max": others.write_rdma,
    "misc.max": others.write_misc,
    "io.max": others.write_io_max,
    "io.weight": others.write_io_weight,
    "io.bfq.weight": others.write_bfq_weight,
    "blkio.bfq.weight": others.write_bfq_weight,
    "blkio.bfq.weight_device": others.write_bfq_weight,
    "blkio.reset_stats": _write_nothing,
    "net_cls.classid": others.write_classid,
    "net_prio.ifpriomap": others.write_ifpriomap,
    "devices.allow": _write_devices,
    "devices.deny": _write_devices,
    "cgroup.event_control": _write_nothing,
    "cgroup.clone_children": _write_flag,
    "notify_on_release": _write_flag,
}
_FAMILIES: dict[str, Callable[[Group, str, str], None]] = {
    r"memory\.(min|low|high|max|swap\.max|swap\.high|zswap\.max)": memory.write_v2_limit,
    r"memory\.((memsw|kmem|kmem\.tcp)\.)?(failcnt|max_usage_in_bytes)": memory.write_reset,
    r"hugetlb\.\w+(\.rsvd)?\.(max|limit_in_bytes)": memory.write_hugetlb,
    r"hugetlb\.\w+(\.rsvd)?\.(failcnt|max_usage_in_bytes)": memory.write_reset,
    r"blkio\.throttle\.\w+_device": others.write_throttle,
}


def write(group: Group, file: str, value: str) -> None:
    """Write a value to a controller's file."""
    rule = _RULES.get(file)
    if rule is None:
        rule = next((r for p, r in _FAMILIES.items() if re.fullmatch(p, file)), _write_as_it_is)
    rule(group, file, value)


def attach(group: Group) -> None:
    """What can refuse a process on v1: a cpuset without cpus or nodes (cpuset_can_attach)."""
    if any(group.has(name) and not group.get(name) for name in ("cpuset.cpus", "cpuset.mems")):
        fail(errno.ENOSPC)


def inherit(group: Group, parent: Group) -> None:
    """What a new v1 group takes over from its parent (the css_online functions)."""
    names = ["net_cls.classid", "net_prio.ifpriomap", "cgroup.clone_children", "memory.swappiness"]
    if parent.get("cgroup.clone_children") == "1":
        names += ["cpuset.cpus", "cpuset.mems"]
    for name in names:
        if parent.has(name) and group.has(name):
            group.put(name, parent.get(name))
    if parent.has("memory.oom_control"):
        disabled = parent.key("memory.oom_control", "oom_kill_disable")
        group.set_key("memory.oom_control", "oom_kill_disable", disabled)
    if group.has("devices.list"):
        devices.inherit(group, parent)


def settle(group: Group) -> None:
    """Files that follow from other files."""
    if group.made:
        cpuset.settle_cpuset(group)
        others.settle_pids(group)
