"""CPU time: weight, quota, burst, idle, realtime.

Sources: cgroup-v2.rst "CPU", scheduler/sched-bwc.rst, scheduler/sched-rt-group.rst;
kernel/sched/core.c (tg_set_cfs_bandwidth, cpu_idle_write_s64).
"""

from __future__ import annotations

import errno

from cgmgr import parse
from cgmgr.record import Record
from cgmgr.resources.formulas import DEFAULT_PERIOD_US, shares_to_weight, weight_to_shares
from cgmgr.stats import CpuStats, some
from cgmgr.units import MAX, Max

from .base import NO_FACTS, Facts, Row, Scene
from .common import ABOVE, because, limit, unfit, unheld, where_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import Cpu, Resources
    from cgmgr.stats import Reader

    from .base import Read

NAME = "cpu"
V1 = "cpu"
ON_V2 = True
IMPLICIT_ON_V2 = False

SHARES = "cpu.shares"
QUOTA = "cpu.cfs_quota_us"
PERIOD = "cpu.cfs_period_us"
BURST = "cpu.cfs_burst_us"
IDLE = "cpu.idle"
RT_PERIOD = "cpu.rt_period_us"
RT_RUNTIME = "cpu.rt_runtime_us"
WEIGHT = "cpu.weight"
MAX_V2 = "cpu.max"
BURST_V2 = "cpu.max.burst"

FILES = {
    1: (SHARES, QUOTA, PERIOD, BURST, IDLE, RT_PERIOD, RT_RUNTIME),
    2: (WEIGHT, MAX_V2, BURST_V2, IDLE),
}
#: the file of the weight, and what a new group has in it
WEIGHTS = {1: (SHARES, "1024"), 2: (WEIGHT, "100")}
BURSTS = {1: BURST, 2: BURST_V2}
RT_WORDS = {RT_PERIOD: "cpu_rt_period", RT_RUNTIME: "cpu_rt_runtime"}
WHY_LACKING = {
    IDLE: "idle groups need Linux 5.15",
    "burst": "burst needs Linux 5.14",
    "quota": "this kernel was built without CONFIG_CFS_BANDWIDTH",
    "realtime": "this kernel was built without CONFIG_RT_GROUP_SCHED",
}


class Bandwidth(Record):
    """The three that depend on each other: burst <= quota, and quota / period no more than the
    parent's and no less than any child's."""

    quota_us: int | Max = MAX
    period_us: int = DEFAULT_PERIOD_US
    burst_us: int = 0


def wants(resources: Resources) -> bool:
    return bool(resources.cpu)


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return FILES[version]


def rows(resources: Resources, scene: Scene) -> list[Row]:
    cpu = resources.cpu
    bandwidth = _bandwidth_v1 if scene.version == 1 else _bandwidth_v2
    return [*_weight(cpu, scene), *bandwidth(cpu, scene), *_realtime(cpu, scene)]


def explain(error: CgmgrError, row: Row, read: Read) -> CgmgrError:
    """EINVAL of a quota is about the groups above and below; of realtime, about those above."""
    if error.errno == errno.EINVAL and row.file in (QUOTA, PERIOD, MAX_V2):
        return because(error, "a group above has a smaller share, or one below a larger one")
    if error.errno == errno.EINVAL and row.file in (RT_PERIOD, RT_RUNTIME):
        return because(
            error,
            "the groups above have not that much realtime left, "
            f"this one has {(read(RT_RUNTIME) or '').strip()} of {(read(RT_PERIOD) or '').strip()}",
            hint=_realtime_hint(row, read),
        )
    return error


def stats(read: Reader, version: int, _facts: Facts) -> CpuStats | None:
    counted = read("cpu.stat", parse.flat_keyed) or {}
    if version == 1:
        shares = read(SHARES, int)
        return some(
            CpuStats,
            nr_periods=counted.get("nr_periods"),
            nr_throttled=counted.get("nr_throttled"),
            throttled_usec=_usec(counted.get("throttled_time")),
            nr_bursts=counted.get("nr_bursts"),
            burst_usec=_usec(counted.get("burst_time")),
            shares=shares,
            weight=shares_to_weight(shares) if shares else None,
            quota_us=read(QUOTA, _quota_v1),
            period_us=read(PERIOD, int),
        )
    quota, period = read(MAX_V2, parse.cpu_max) or (None, None)
    return some(
        CpuStats,
        usage_usec=counted.get("usage_usec"),
        user_usec=counted.get("user_usec"),
        system_usec=counted.get("system_usec"),
        nr_periods=counted.get("nr_periods"),
        nr_throttled=counted.get("nr_throttled"),
        throttled_usec=counted.get("throttled_usec"),
        nr_bursts=counted.get("nr_bursts"),
        burst_usec=counted.get("burst_usec"),
        weight=read(WEIGHT, int),
        quota_us=quota,
        period_us=period,
    )


def _weight(cpu: Cpu, scene: Scene) -> list[Row]:
    """Weight and idle, which exclude each other: the kernel takes no weight of an idle group, and
    leaving idle puts the default weight there."""
    file, default = WEIGHTS[scene.version]
    held, idle_now = scene.files.get(file), scene.files.get(IDLE) == "1"
    planned: list[Row] = []
    if cpu.idle:
        if held not in (None, default) and not idle_now:
            # changes nothing; undone after idle is, it brings the weight back
            planned.append(Row(controller=NAME, file=file, value=str(held)))
        planned += where_there(
            "cpu_idle",
            Row(controller=NAME, file=IDLE, value="1"),
            scene,
            WHY_LACKING[IDLE],
            neutral=False,
        )
    elif cpu.idle is not None or (cpu.weight is not None and idle_now):
        planned += where_there(
            "cpu_idle",
            Row(controller=NAME, file=IDLE, value="0"),
            scene,
            WHY_LACKING[IDLE],
            neutral=True,
        )
    if cpu.weight is not None:
        shares = cpu.shares or weight_to_shares(cpu.weight)
        value = str(shares if scene.version == 1 else cpu.weight)
        undo = default if idle_now else None
        planned.append(Row(controller=NAME, file=file, value=value, undo=undo))
    return planned


def _bandwidth_v1(cpu: Cpu, scene: Scene) -> list[Row]:
    was = Bandwidth(
        quota_us=_quota_v1(scene.files.get(QUOTA) or "-1"),
        period_us=int(scene.files.get(PERIOD) or DEFAULT_PERIOD_US),
        burst_us=int(scene.files.get(BURST) or 0),
    )
    will = _asked(cpu, was, scene)
    planned: list[Row] = []
    if cpu.period_us is not None:
        planned.append(Row(controller=NAME, file=PERIOD, value=str(cpu.period_us)))
    if cpu.quota_us is not None:
        row = Row(controller=NAME, file=QUOTA, value=limit(cpu.quota_us, 1))
        planned += where_there(
            "cpu_quota", row, scene, WHY_LACKING["quota"], neutral=cpu.quota_us is MAX
        )
    if len(planned) == 2 and _quota_first(was, will):
        planned.reverse()
    if len(planned) == 2 and scene.children and _dips(was, will):
        planned = _lifted(planned)
    return _with_burst(planned, cpu, was, scene)


def _quota_first(was: Bandwidth, will: Bandwidth) -> bool:
    """Without a quota any period goes; else the share in between must not be above both the old
    and the new one, which the group above may not have."""
    if isinstance(was.quota_us, Max) or isinstance(will.quota_us, Max):
        return isinstance(will.quota_us, Max)
    return will.period_us < was.period_us


def _dips(was: Bandwidth, will: Bandwidth) -> bool:
    """Whether the share in between is below both the old and the new one, where a group below
    might have more."""
    if isinstance(was.quota_us, Max) or isinstance(will.quota_us, Max):
        return False
    both_grow = will.period_us > was.period_us and will.quota_us > was.quota_us
    both_shrink = will.period_us < was.period_us and will.quota_us < was.quota_us
    return both_grow or both_shrink


def _lifted(planned: list[Row]) -> list[Row]:
    """The same with the quota lifted while the period changes; undone the same way."""
    quota = next(row for row in planned if row.file == QUOTA)
    period = next(row for row in planned if row.file == PERIOD)
    return [Row(controller=NAME, file=QUOTA, value="-1"), period, quota.replace(undo="-1")]


def _bandwidth_v2(cpu: Cpu, scene: Scene) -> list[Row]:
    quota, period = parse.cpu_max(scene.files.get(MAX_V2) or f"max {DEFAULT_PERIOD_US}")
    was = Bandwidth(quota_us=quota, period_us=period, burst_us=int(scene.files.get(BURST_V2) or 0))
    will = _asked(cpu, was, scene)
    planned: list[Row] = []
    if cpu.quota_us is not None or cpu.period_us is not None:
        # a quota alone leaves the period as it is
        value = limit(will.quota_us, 2)
        if cpu.period_us is not None:
            value += f" {cpu.period_us}"
        row = Row(controller=NAME, file=MAX_V2, value=value, compare="first")
        planned += where_there(
            "cpu_quota", row, scene, WHY_LACKING["quota"], neutral=value == "max"
        )
    return _with_burst(planned, cpu, was, scene)


def _asked(cpu: Cpu, was: Bandwidth, scene: Scene) -> Bandwidth:
    """What the group will have; `RequestError` for a burst above the quota."""
    asked = {"quota_us": cpu.quota_us, "period_us": cpu.period_us, "burst_us": cpu.burst_us}
    will = was.replace(**{name: value for name, value in asked.items() if value is not None})
    if isinstance(will.quota_us, int) and will.burst_us > will.quota_us:
        if cpu.burst_us is None:
            why = f"the burst is {will.burst_us}, and no more than the quota is possible"
            hint = f"cpu_burst={will.quota_us}"
            raise unfit("cpu_quota", will.quota_us, scene, why, hint=hint)
        raise unfit("cpu_burst", will.burst_us, scene, f"the quota is {will.quota_us}")
    _check_cpus(will, was, scene)
    return will


def _check_cpus(will: Bandwidth, was: Bandwidth, scene: Scene) -> None:
    """More CPUs than there are is a mistake that the kernel would take.  What is there already is
    none of this request."""
    there = len(scene.facts.cpus)
    held = (will.quota_us, will.period_us) == (was.quota_us, was.period_us)
    if held or not there or isinstance(will.quota_us, Max):
        return
    if will.quota_us > will.period_us * there:
        cpus = f"{will.quota_us / will.period_us:g} CPUs"
        raise unfit("cpus", cpus, scene, f"this machine has {there}", hint=f"cpus={there}")


def _with_burst(planned: list[Row], cpu: Cpu, was: Bandwidth, scene: Scene) -> list[Row]:
    """The burst before the quota where the old quota allows it, else behind."""
    if cpu.burst_us is None:
        return planned
    burst = where_there(
        "cpu_burst",
        Row(controller=NAME, file=BURSTS[scene.version], value=str(cpu.burst_us)),
        scene,
        WHY_LACKING["burst"],
        neutral=cpu.burst_us == 0,
    )
    first = isinstance(was.quota_us, Max) or cpu.burst_us <= was.quota_us
    return burst + planned if first else planned + burst


def _realtime(cpu: Cpu, scene: Scene) -> list[Row]:
    """Realtime: runtime <= period, and runtime / period no more than the parent's."""
    runtime, period = cpu.rt_runtime_us, cpu.rt_period_us
    if runtime is None and period is None:
        return []
    if scene.version == 2:
        word = "cpu_rt_period" if runtime is None else "cpu_rt_runtime"
        asked = period if runtime is None else runtime
        raise unheld(NAME, word, asked, scene, "cgroup v2 has no realtime groups")
    period_then = int(scene.files.get(RT_PERIOD) or 1_000_000)
    runtime_then = int(scene.files.get(RT_RUNTIME) or 0)
    least = runtime if runtime is not None else runtime_then
    planned: list[Row] = []
    for file, value in ((RT_PERIOD, period), (RT_RUNTIME, runtime)):
        if value is not None:
            row = Row(controller=NAME, file=file, value=limit(value, 1))
            why = WHY_LACKING["realtime"]
            planned += where_there(RT_WORDS[file], row, scene, why, neutral=False)
    if isinstance(least, int) and least > (period or period_then):
        raise unfit("cpu_rt_runtime", least, scene, f"the period is {period or period_then}")
    if period is not None and period < period_then:
        planned.reverse()
    return planned


def _quota_v1(text: str) -> int | Max:
    return MAX if int(text) < 0 else int(text)


def _usec(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // 1000


def _realtime_hint(row: Row, read: Read) -> str:
    """Give the group above as much; one that was made for this group only is gone again by then."""
    held = {file: (read(file) or "").strip() for file in RT_WORDS}
    asked = held | {row.file: row.value}
    period = asked[RT_PERIOD]
    words = f"cpu_rt_runtime={asked[RT_RUNTIME]}us"
    words += f" cpu_rt_period={period}us" if period not in ("", "1000000") else ""
    return f"cgmgr group set {ABOVE} {words} || cgmgr group create {ABOVE} {words}"
