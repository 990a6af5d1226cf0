"""What the kernel makes of a value written to one controller's file.

Law: one function a file or family of files, in a table by name; each checks as the kernel does,
raises `OSError` with its errno, and puts what the file says afterwards.  A file that is in no table
takes what looks like what it holds.  The functions of the kernel are named where they are not
obvious.  Not modelled: memory that is really used (the usage files say what a test puts there),
realtime tasks, cpuset partitions, per-device support of an io scheduler.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from cgmgr.units import format_id_list, parse_id_list

from . import fakedevices

if TYPE_CHECKING:
    from collections.abc import Callable

    from .fakekernel import Group

PAGE = 4096
COUNTER_MAX = (2**63 - 1) // PAGE
#: kernel/sched/core.c: limits of a bandwidth period and of any runtime, in usec
PERIOD_MIN, PERIOD_MAX, RUNTIME_MAX = 1_000, 1_000_000, (1 << 44) - 1
#: WEIGHT_IDLEPRIO, what an idle group weighs in shares
IDLE_SHARES = 3


class Facts(NamedTuple):
    """What a rule must know of the machine."""

    compiled: frozenset[str]
    cpus: frozenset[int]
    mems: frozenset[int]
    disks: frozenset[str]
    interfaces: frozenset[str]
    rdma: frozenset[str]
    rt_period: int
    rt_runtime: int


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


# -- numbers


def _number(text: str, pattern: str) -> int:
    match = re.fullmatch(pattern + r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", text)
    if match is None:
        fail(errno.EINVAL)
        return 0
    digits = match[1]
    octal = re.fullmatch(r"0[0-7]+", digits)
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if text.startswith("-") else value


def signed(text: str) -> int:
    """kstrtoll: EINVAL for anything else, ERANGE beyond 64 bits."""
    value = _number(text, "[+-]?")
    if not -(2**63) <= value < 2**63:
        fail(errno.ERANGE)
    return value


def unsigned(text: str) -> int:
    """kstrtoull: EINVAL for anything else, minus signs included."""
    value = _number(text, r"\+?")
    if value >= 2**64:
        fail(errno.ERANGE)
    return value


def memparse(text: str) -> int:
    """memparse: digits with one of KMGTPE behind; nothing at all is 0 (lib/cmdline.c)."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*|)([kKmMgGtTpPeE]?)", text)
    if match is None:
        fail(errno.EINVAL)
        return 0
    digits = match[1] or "0"
    value = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
    return (value << 10 * " KMGTPE".index(match[2].upper() or " ")) % 2**64


def pages(text: str, word: str) -> int:
    """page_counter_memparse: whole pages, COUNTER_MAX for `word` and for what is more."""
    return COUNTER_MAX if text == word else min(memparse(text) // PAGE, COUNTER_MAX)


# -- cpu


def _write_shares(group: Group, file: str, value: str) -> None:
    shares = unsigned(value)
    if group.path == "/" or group.get("cpu.idle") == "1":
        fail(errno.EINVAL)
    group.put(file, str(min(max(shares, 2), 262144)))


def _write_weight(group: Group, file: str, value: str) -> None:
    weight = unsigned(value)
    if not 1 <= weight <= 10000:
        fail(errno.ERANGE)
    if group.get("cpu.idle") == "1":
        fail(errno.EINVAL)
    group.put(file, str(weight))


def _write_idle(group: Group, file: str, value: str) -> None:
    """sched_group_set_idle: the weight goes with it."""
    idle = signed(value)
    if group.path == "/" or idle not in (0, 1):
        fail(errno.EINVAL)
    if group.get(file) == str(idle):
        return
    group.put(file, str(idle))
    group.put("cpu.shares", str(IDLE_SHARES if idle else 1024))
    group.put("cpu.weight", "0" if idle else "100")


def _bandwidth(group: Group) -> tuple[int, int, int]:
    """Quota (-1: none), period and burst of a group, in usec."""
    if group.has("cpu.max"):
        quota, period = group.get("cpu.max").split()
        burst = int(group.get("cpu.max.burst", "0"))
        return -1 if quota == "max" else int(quota), int(period), burst
    quota, period = group.get("cpu.cfs_quota_us", "-1"), group.get("cpu.cfs_period_us", "100000")
    return int(quota), int(period), int(group.get("cpu.cfs_burst_us", "0"))


def _check_bandwidth(group: Group, quota: int, period: int, burst: int) -> None:
    """tg_set_cfs_bandwidth and __cfs_schedulable."""
    if group.path == "/" or period < PERIOD_MIN or period > PERIOD_MAX:
        fail(errno.EINVAL)
    if quota >= 0:
        if quota < PERIOD_MIN or quota > RUNTIME_MAX:
            fail(errno.EINVAL)
        if burst > quota or burst + quota > RUNTIME_MAX:
            fail(errno.EINVAL)
    if group.kernel.version == 1:
        _check_quotas(group.kernel.root, -1, {group.path: (quota, period)})


def _check_quotas(group: Group, above: int, pending: dict[str, tuple[int, int]]) -> None:
    """On v1 no group may have a larger share than its parent (tg_cfs_schedulable_down)."""
    quota, period = pending.get(group.path) or _bandwidth(group)[:2]
    ratio = above
    if group.path != "/" and quota >= 0:
        ratio = (quota * 1000 << 20) // (period * 1000)
        if above >= 0 and ratio > above:
            fail(errno.EINVAL)
    for child in group.children:
        _check_quotas(child, ratio, pending)


def _write_quota(group: Group, file: str, value: str) -> None:
    quota = max(signed(value), -1)
    _check_bandwidth(group, quota, *_bandwidth(group)[1:])
    group.put(file, str(quota))


def _write_period(group: Group, file: str, value: str) -> None:
    period = unsigned(value)
    quota, _period, burst = _bandwidth(group)
    _check_bandwidth(group, quota, period, burst)
    group.put(file, str(period))


def _write_burst(group: Group, file: str, value: str) -> None:
    burst = unsigned(value)
    quota, period, _burst = _bandwidth(group)
    _check_bandwidth(group, quota, period, burst)
    group.put(file, str(burst))


def _write_cpu_max(group: Group, file: str, value: str) -> None:
    """cpu_period_quota_parse: a period that is not given stays."""
    words = value.split()
    if not words or not re.match(r"\d", words[0]) and words[0] != "max":
        fail(errno.EINVAL)
    leading = [re.match(r"\d*", word) for word in words[:2]]
    digits = [match[0] for match in leading if match]
    _quota, period, burst = _bandwidth(group)
    quota = int(digits[0]) if digits[0] else -1
    period = int(digits[1]) if len(digits) > 1 and digits[1] else period
    _check_bandwidth(group, quota, period, burst)
    group.put(file, f"{'max' if quota < 0 else quota} {period}")


def _realtime(group: Group) -> tuple[int, int]:
    return int(group.get("cpu.rt_runtime_us", "0")), int(group.get("cpu.rt_period_us", "1000000"))


def _ratio(runtime: int, period: int) -> int:
    return (1 << 20) if runtime < 0 else (runtime * 1000 << 20) // (period * 1000)


def _check_realtime(group: Group, runtime: int, period: int) -> None:
    """tg_set_rt_bandwidth and tg_rt_schedulable: the children fit in the parent."""
    if not period or (group.path == "/" and runtime == 0) or runtime > RUNTIME_MAX:
        fail(errno.EINVAL)
    if runtime > period:
        fail(errno.EINVAL)
    pending = {group.path: (runtime, period)}
    for one in (group.kernel.root, *group.above(), group):
        mine = pending.get(one.path) or _realtime(one)
        if _ratio(*mine) > _ratio(group.kernel.facts.rt_runtime, group.kernel.facts.rt_period):
            fail(errno.EINVAL)
        if sum(_ratio(*pending.get(c.path, _realtime(c))) for c in one.children) > _ratio(*mine):
            fail(errno.EINVAL)


def _write_rt_runtime(group: Group, file: str, value: str) -> None:
    runtime = max(signed(value), -1)
    _check_realtime(group, runtime, _realtime(group)[1])
    group.put(file, str(runtime))


def _write_rt_period(group: Group, file: str, value: str) -> None:
    period = unsigned(value)
    _check_realtime(group, _realtime(group)[0], period)
    group.put(file, str(period))


def _write_uclamp(group: Group, file: str, value: str) -> None:
    """capacity_from_percent: "max", or a percentage with two decimals."""
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,2}))?", value)
    if value != "max" and match is None:
        fail(errno.EINVAL)
    hundredths = (
        10000 if match is None else int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0"))
    )
    if hundredths > 10000:
        fail(errno.ERANGE)
    whole = hundredths == 10000
    group.put(file, "max" if whole else f"{hundredths // 100}.{hundredths % 100:02}")


# -- cpuset


def _ids(value: str, possible: frozenset[int]) -> frozenset[int]:
    try:
        ids = frozenset(parse_id_list(value)) if value else frozenset[int]()
    except ValueError:
        fail(errno.EINVAL)
        return possible
    if ids and max(ids) > max(possible):
        fail(errno.ERANGE)
    return ids


def _write_cpuset(group: Group, file: str, value: str) -> None:
    """update_cpumask, validate_change.  On v1 a set lies in its parent's and holds its children's."""
    facts = group.kernel.facts
    possible = facts.cpus if file.endswith("cpus") else facts.mems
    if group.path == "/":
        fail(errno.EACCES)
    ids = _ids(value, possible)
    if not ids <= possible:
        fail(errno.EINVAL)
    if group.kernel.version == 1:
        _check_legacy_cpuset(group, file, ids)
    group.put(file, format_id_list(ids) + "\n")


def _check_legacy_cpuset(group: Group, file: str, ids: frozenset[int]) -> None:
    sets = [
        frozenset(parse_id_list(child.get(file))) for child in group.children if child.get(file)
    ]
    if any(not one <= ids for one in sets):
        fail(errno.EBUSY)
    parent = group.parent
    text = parent.get(file) if parent else ""
    if not ids <= (frozenset(parse_id_list(text)) if text else frozenset()):
        fail(errno.EACCES)
    if not ids and group.pids:
        fail(errno.ENOSPC)


def _settle_cpuset(group: Group) -> None:
    """The effective sets; on v2 an empty one, or one outside the parent's, is the parent's."""
    v1 = group.kernel.version == 1
    for kind in ("cpus", "mems"):
        effective = f"cpuset.effective_{kind}" if v1 else f"cpuset.{kind}.effective"
        if not group.has(effective):
            continue
        parent = group.parent
        text = parent.get(effective) if parent else ""
        above = frozenset(parse_id_list(text)) if text else frozenset[int]()
        asked = group.get(f"cpuset.{kind}")
        ids = above & frozenset(parse_id_list(asked)) if asked else frozenset[int]()
        group.put(effective, format_id_list(ids if ids or v1 else above) + "\n")


# -- memory


def _write_v1_limit(group: Group, file: str, value: str) -> None:
    """mem_cgroup_resize_max: memory <= memory+swap at every moment, EBUSY below what is used."""
    limit = pages(value, "-1")
    if group.path == "/":
        fail(errno.EINVAL)
    swap = file.startswith("memory.memsw.")
    other = "memory.limit_in_bytes" if swap else "memory.memsw.limit_in_bytes"
    if group.has(other):
        bound = int(group.get(other)) // PAGE
        if (limit < bound) if swap else (limit > bound):
            fail(errno.EINVAL)
    usage = group.get(file.replace("limit", "usage"), "0")
    if limit * PAGE < int(usage):
        fail(errno.EBUSY)
    group.put(file, str(limit * PAGE))


def _write_soft_limit(group: Group, file: str, value: str) -> None:
    group.put(file, str(pages(value, "-1") * PAGE))


def _write_v2_limit(group: Group, file: str, value: str) -> None:
    limit = pages(value, "max")
    group.put(file, "max" if limit == COUNTER_MAX else str(limit * PAGE))


def _write_swappiness(group: Group, file: str, value: str) -> None:
    if unsigned(value) > 200:
        fail(errno.EINVAL)
    group.put(file, str(unsigned(value)))


def _write_oom_control(group: Group, file: str, value: str) -> None:
    disable = unsigned(value)
    if group.path == "/" or disable not in (0, 1):
        fail(errno.EINVAL)
    group.set_key(file, "oom_kill_disable", disable)


def _write_use_hierarchy(_group: Group, _file: str, value: str) -> None:
    if unsigned(value) != 1:
        fail(errno.EINVAL)


def _write_switch(group: Group, file: str, value: str) -> None:
    """A kstrtoint that is 0 or 1."""
    if signed(value) not in (0, 1):
        fail(errno.EINVAL)
    group.put(file, str(signed(value)))


def _write_reset(group: Group, file: str, _value: str) -> None:
    """mem_cgroup_reset: whatever is written, a high-water mark falls to the use, a count to 0."""
    group.put(file, group.get(file.replace("max_usage", "usage"), "0") if "max_" in file else "0")


def _write_reclaim(group: Group, _file: str, value: str) -> None:
    """memory_reclaim: EAGAIN when less could be reclaimed than was asked for."""
    wanted = pages(value, "max") * PAGE
    used = int(group.get("memory.current", "0"))
    group.put("memory.current", str(used - min(used, wanted)))
    if wanted > used:
        fail(errno.EAGAIN)


# -- the others


def _write_pids_max(group: Group, file: str, value: str) -> None:
    """pids_max_write; more than PID_MAX_LIMIT is refused, not taken for max."""
    if value != "max" and not 0 <= signed(value) <= 4194304:
        fail(errno.EINVAL)
    group.put(file, value if value == "max" else str(signed(value)))


def _settle_pids(group: Group) -> None:
    if group.made and group.has("pids.current"):
        count = sum(len(one.pids) for one in group.below())
        group.put("pids.current", str(count))
        if group.has("pids.peak"):
            group.put("pids.peak", str(max(count, int(group.get("pids.peak")))))


def _write_hugetlb(group: Group, file: str, value: str) -> None:
    """hugetlb_cgroup_write: whole huge pages."""
    v1 = group.kernel.version == 1
    if group.path == "/":
        fail(errno.EINVAL)
    size = memparse(file.split(".")[1].removesuffix("B"))
    limit = pages(value, "-1" if v1 else "max") * PAGE // size * size
    unlimited = limit == COUNTER_MAX * PAGE // size * size
    group.put(file, "max" if unlimited and not v1 else str(limit))


def _write_rdma(group: Group, file: str, value: str) -> None:
    """rdmacg_resource_set_max: one device, any of its resources."""
    device, *pairs = value.split() or [""]
    matches = [re.fullmatch(r"(hca_handle|hca_object)=(max|\d+)", pair) for pair in pairs]
    if not pairs or not all(matches):
        fail(errno.EINVAL)
    if device not in group.kernel.facts.rdma:
        fail(errno.ENODEV)
    lines: list[str] = []
    for line in group.get(file).splitlines():
        fields = dict(pair.split("=") for pair in line.split()[1:])
        if line.split()[0] == device:
            fields |= {match[1]: match[2] for match in matches if match}
        lines.append(" ".join([line.split()[0], *(f"{k}={v}" for k, v in fields.items())]) + " ")
    group.put(file, "\n".join(lines))


def _disk(group: Group, value: str) -> tuple[str, str]:
    """blkg_conf_prep: "MAJOR:MINOR REST"; ENODEV for what is no whole disk."""
    match = re.fullmatch(r"(\d+):(\d+)\s+(.*)", value, re.DOTALL)
    if match is None:
        fail(errno.EINVAL)
        return "", ""
    if f"{match[1]}:{match[2]}" not in group.kernel.facts.disks:
        fail(errno.ENODEV)
    return f"{match[1]}:{match[2]}", match[3]


def _set_line(group: Group, file: str, key: str, rest: str | None) -> None:
    """Change the line that begins with `key`; None takes it away."""
    lines = [line for line in group.get(file).splitlines() if line.split(maxsplit=1)[0] != key]
    group.put(file, "\n".join(lines + ([f"{key} {rest}"] if rest is not None else [])))


def _write_throttle(group: Group, file: str, value: str) -> None:
    """tg_set_conf: 0 takes the limit away; operations are kept in 32 bits."""
    disk, rest = _disk(group, value)
    match = re.match(r"\d+", rest)
    if match is None:
        fail(errno.EINVAL)
        return
    rate = int(match[0]) % (2**64 if "bps" in file else 2**32)
    _set_line(group, file, disk, str(rate) if rate else None)


def _write_io_max(group: Group, file: str, value: str) -> None:
    """tg_set_limit: the keys that are given; a device without a limit has no line."""
    disk, rest = _disk(group, value)
    limits = dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max")
    for line in group.get(file).splitlines():
        if line.split()[0] == disk:
            limits |= dict(pair.split("=") for pair in line.split()[1:])
    for pair in rest.split():
        key, _, text = pair.partition("=")
        if text != "max" and not re.match(r"\d", text):
            fail(errno.EINVAL)
        if text != "max" and int(text) == 0:
            fail(errno.ERANGE)
        if key not in limits:
            fail(errno.EINVAL)
        limits[key] = str(min(int(text), 2**32 - 1)) if "iops" in key and text != "max" else text
    limited = any(text != "max" for text in limits.values())
    _set_line(
        group, file, disk, " ".join(f"{k}={v}" for k, v in limits.items()) if limited else None
    )


def _write_io_weight(group: Group, file: str, value: str) -> None:
    """ioc_weight_write: 1..10000 by default or for a device, for which `default` clears it."""
    key, text = ("default", value.removeprefix("default").strip())
    if ":" in value:
        key, text = _disk(group, value)
    if key != "default" and text.startswith("default"):
        _set_line(group, file, key, None)
        return
    if not re.match(r"\d", text) or not 1 <= int(text) <= 10000:
        fail(errno.EINVAL)
    if key != "default":
        _set_line(group, file, key, text)
    else:
        group.set_key(file, "default", int(text))


def _write_bfq_weight(group: Group, file: str, value: str) -> None:
    """bfq_io_set_weight: 1..1000, ERANGE beyond; the same number for both files of v1."""
    if ":" in value:
        disk, text = _disk(group, value)
        if text != "default" and not 1 <= unsigned(text) <= 1000:
            fail(errno.ERANGE)
        _set_line(group, file, disk, None if text == "default" else text)
        return
    weight = unsigned(value.removeprefix("default").strip())
    if not 1 <= weight <= 1000:
        fail(errno.ERANGE)
    for name in ("blkio.bfq.weight", "blkio.bfq.weight_device", "io.bfq.weight"):
        if group.get(name).startswith("default"):
            group.set_key(name, "default", weight)
        else:
            group.put(name, str(weight))


def _write_classid(group: Group, file: str, value: str) -> None:
    group.put(file, str(unsigned(value) % 2**32))


def _write_ifpriomap(group: Group, file: str, value: str) -> None:
    words = value.split()
    if len(words) < 2 or not words[1].isdigit() or words[0] not in group.kernel.facts.interfaces:
        fail(errno.EINVAL)
    group.set_key(file, words[0], int(words[1]))


def _write_devices(group: Group, file: str, value: str) -> None:
    fakedevices.write(group, file.removeprefix("devices."), value)


def _write_nothing(_group: Group, _file: str, _value: str) -> None:
    """The file takes it, and nothing that could be read changes."""


def _write_zero(group: Group, file: str, value: str) -> None:
    """cpuusage_write: only 0, to count anew."""
    if unsigned(value):
        fail(errno.EINVAL)
    group.put(file, "0")


def _write_misc(_group: Group, _file: str, _value: str) -> None:
    """misc_cg_max_write: this kernel has none of the resources (misc.capacity is empty)."""
    fail(errno.EINVAL)


_RULES: dict[str, Callable[[Group, str, str], None]] = {
    "cpu.shares": _write_shares,
    "cpu.weight": _write_weight,
    "cpu.idle": _write_idle,
    "cpu.cfs_quota_us": _write_quota,
    "cpu.cfs_period_us": _write_period,
    "cpu.cfs_burst_us": _write_burst,
    "cpu.max": _write_cpu_max,
    "cpu.max.burst": _write_burst,
    "cpu.rt_runtime_us": _write_rt_runtime,
    "cpu.rt_period_us": _write_rt_period,
    "cpu.uclamp.min": _write_uclamp,
    "cpu.uclamp.max": _write_uclamp,
    "cpuacct.usage": _write_zero,
    "cpuset.cpus": _write_cpuset,
    "cpuset.mems": _write_cpuset,
    "memory.limit_in_bytes": _write_v1_limit,
    "memory.memsw.limit_in_bytes": _write_v1_limit,
    "memory.soft_limit_in_bytes": _write_soft_limit,
    "memory.swappiness": _write_swappiness,
    "memory.oom_control": _write_oom_control,
    "memory.use_hierarchy": _write_use_hierarchy,
    "memory.force_empty": _write_nothing,
    "memory.oom.group": _write_switch,
    "memory.reclaim": _write_reclaim,
    "pids.max": _write_pids_max,
    "rdma.max": _write_rdma,
    "misc.max": _write_misc,
    "io.max": _write_io_max,
    "io.weight": _write_io_weight,
    "io.bfq.weight": _write_bfq_weight,
    "blkio.bfq.weight": _write_bfq_weight,
    "blkio.bfq.weight_device": _write_bfq_weight,
    "blkio.reset_stats": _write_nothing,
    "net_cls.classid": _write_classid,
    "net_prio.ifpriomap": _write_ifpriomap,
    "devices.allow": _write_devices,
    "devices.deny": _write_devices,
    "cgroup.event_control": _write_nothing,
}
_FAMILIES: dict[str, Callable[[Group, str, str], None]] = {
    r"memory\.(min|low|high|max|swap\.max|swap\.high|zswap\.max)": _write_v2_limit,
    r"memory\.((memsw|kmem|kmem\.tcp)\.)?(failcnt|max_usage_in_bytes)": _write_reset,
    r"hugetlb\.\w+(\.rsvd)?\.(max|limit_in_bytes)": _write_hugetlb,
    r"hugetlb\.\w+(\.rsvd)?\.(failcnt|max_usage_in_bytes)": _write_reset,
    r"blkio\.throttle\.\w+_device": _write_throttle,
}


def write(group: Group, file: str, value: str) -> None:
    """Write a value to a controller's file."""
    rule = _RULES.get(file)
    if rule is None:
        rule = next((r for p, r in _FAMILIES.items() if re.fullmatch(p, file)), _write_as_it_is)
    rule(group, file, value)


def _write_as_it_is(group: Group, file: str, value: str) -> None:
    """A file that no rule knows: a number stays a number, all else is taken as it is."""
    if re.fullmatch(r"-?\d+", group.get(file)):
        group.put(file, str(signed(value)))
    else:
        group.put(file, value)


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
        fakedevices.inherit(group, parent)


def settle(group: Group) -> None:
    """Files that follow from other files."""
    if group.made:
        _settle_cpuset(group)
        _settle_pids(group)
