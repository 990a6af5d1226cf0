"""cpu and cpuacct (kernel/sched/core.c, kernel/sched/rt.c).

Law: one function a file; what realtime tasks change is not modelled, nor is cpu.weight.nice.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from .numbers import fail, signed, unsigned

if TYPE_CHECKING:
    from .group import Group

#: limits of a bandwidth period and of any runtime, in usec
PERIOD_MIN, PERIOD_MAX, RUNTIME_MAX = 1_000, 1_000_000, (1 << 44) - 1
#: WEIGHT_IDLEPRIO, what an idle group weighs in shares
IDLE_SHARES = 3


def write_shares(group: Group, file: str, value: str) -> None:
    shares = unsigned(value)
    if group.path == "/" or group.get("cpu.idle") == "1":
        fail(errno.EINVAL)
    group.put(file, str(min(max(shares, 2), 262144)))


def write_weight(group: Group, file: str, value: str) -> None:
    weight = unsigned(value)
    if not 1 <= weight <= 10000:
        fail(errno.ERANGE)
    if group.get("cpu.idle") == "1":
        fail(errno.EINVAL)
    group.put(file, str(weight))


def write_idle(group: Group, file: str, value: str) -> None:
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


def write_quota(group: Group, file: str, value: str) -> None:
    quota = max(signed(value), -1)
    _check_bandwidth(group, quota, *_bandwidth(group)[1:])
    group.put(file, str(quota))


def write_period(group: Group, file: str, value: str) -> None:
    period = unsigned(value)
    quota, _period, burst = _bandwidth(group)
    _check_bandwidth(group, quota, period, burst)
    group.put(file, str(period))


def write_burst(group: Group, file: str, value: str) -> None:
    burst = unsigned(value)
    quota, period, _burst = _bandwidth(group)
    _check_bandwidth(group, quota, period, burst)
    group.put(file, str(burst))


def write_cpu_max(group: Group, file: str, value: str) -> None:
    """cpu_period_quota_parse: a period that is not given stays."""
    words = value.split()
    if not words or not re.match(r"\d|max$", words[0]):
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


def write_rt_runtime(group: Group, file: str, value: str) -> None:
    runtime = max(signed(value), -1)
    _check_realtime(group, runtime, _realtime(group)[1])
    group.put(file, str(runtime))


def write_rt_period(group: Group, file: str, value: str) -> None:
    period = unsigned(value)
    _check_realtime(group, _realtime(group)[0], period)
    group.put(file, str(period))


def write_uclamp(group: Group, file: str, value: str) -> None:
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


def write_zero(group: Group, file: str, value: str) -> None:
    """cpuusage_write: only 0, to count anew."""
    if unsigned(value):
        fail(errno.EINVAL)
    group.put(file, "0")
