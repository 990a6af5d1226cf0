"""What the kernel counts of a group, as records.

Law: data, and the one reader that fills it; which file says what is the controllers' business.
Fields are the kernel's keys in v2 vocabulary with the unit in the name; v1's values are converted
into the same fields.  None, or a key that is not there, is what this kernel does not say.

One file that cannot be read or understood costs its own values and is an entry of `Stats.errors`;
it is never the end of the rest.
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.errors import CgmgrError, GroupGone
from cgmgr.record import Record
from cgmgr.units import Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")


class StatsError(Record):
    """A file that could not be read or understood."""

    file: str
    message: str


class CpuStats(Record):
    """CPU time used, and how often the quota held it up (cgroup-v2.rst "CPU"; cpuacct on v1).

    The counters add up over the groups below.  `percpu_*` are by CPU number, v1 only; v1 samples
    user and system time by CPU in ticks, so their sum need not be `percpu_usec`.  `shares` is v1's
    number, of which `weight` is made.
    """

    usage_usec: int | None = None
    user_usec: int | None = None
    system_usec: int | None = None
    nr_periods: int | None = None
    nr_throttled: int | None = None
    throttled_usec: int | None = None
    nr_bursts: int | None = None
    burst_usec: int | None = None
    percpu_usec: tuple[int, ...] | None = None
    percpu_user_usec: tuple[int, ...] | None = None
    percpu_system_usec: tuple[int, ...] | None = None
    weight: int | None = None
    shares: int | None = None
    quota_us: int | Max | None = None
    period_us: int | None = None


class CpusetStats(Record):
    """Where tasks may run: as set, and as it comes out."""

    cpus: tuple[int, ...] | None = None
    mems: tuple[int, ...] | None = None
    effective_cpus: tuple[int, ...] | None = None
    effective_mems: tuple[int, ...] | None = None
    partition: str | None = None


class MemoryStats(Record):
    """Memory of the group and of those below it.

    `stat` has the keys of v2's memory.stat (`anon`, `file`, `inactive_file`, `pgfault`, ...) in
    bytes and counts; v1's totals are given the same names.  `local_stat` is v1's part that the
    group itself is charged for.  `events` adds up over the groups below, `local_events` does not
    (v1 has only that: `max` is failcnt).  `soft_limit_bytes` is v1's, `swap_*` are swap alone.
    `numa_bytes` is memory.numa_stat: key, node, bytes.
    """

    usage_bytes: int | None = None
    peak_bytes: int | None = None
    max_bytes: int | Max | None = None
    high_bytes: int | Max | None = None
    low_bytes: int | Max | None = None
    min_bytes: int | Max | None = None
    soft_limit_bytes: int | Max | None = None
    swap_usage_bytes: int | None = None
    swap_peak_bytes: int | None = None
    swap_max_bytes: int | Max | None = None
    stat: Mapping[str, int] = {}
    local_stat: Mapping[str, int] = {}
    events: Mapping[str, int] = {}
    local_events: Mapping[str, int] = {}
    swap_events: Mapping[str, int] = {}
    numa_bytes: Mapping[str, Mapping[int, int]] = {}
    under_oom: bool | None = None
    oom_kill_disable: bool | None = None

    @property
    def working_set_bytes(self) -> int | None:
        """What cannot be reclaimed at once: usage without inactive file pages, as docker and
        cAdvisor define it."""
        inactive = self.stat.get("inactive_file")
        if self.usage_bytes is None or inactive is None:
            return None
        return max(self.usage_bytes - inactive, 0)


class PidsStats(Record):
    """Tasks: processes and threads.  `events_max` counts forks that the limit refused."""

    current: int | None = None
    peak: int | None = None
    max: int | Max | None = None
    events_max: int | None = None


class IoDeviceStats(Record):
    """What went to and from one disk.  `cost` has io.cost's keys (`usage`, `wait`, ...) in
    microseconds."""

    device: str
    rbytes: int | None = None
    wbytes: int | None = None
    rios: int | None = None
    wios: int | None = None
    dbytes: int | None = None
    dios: int | None = None
    cost: Mapping[str, int] = {}


class IoStats(Record):
    """Block IO by disk, of the group and of those below it."""

    devices: tuple[IoDeviceStats, ...] = ()


class HugetlbSizeStats(Record):
    """Huge pages of one size ("2MB"): touched, and reserved (`rsvd_*`)."""

    size: str
    usage_bytes: int | None = None
    peak_bytes: int | None = None
    max_bytes: int | Max | None = None
    events_max: int | None = None
    rsvd_usage_bytes: int | None = None
    rsvd_peak_bytes: int | None = None
    rsvd_max_bytes: int | Max | None = None


class HugetlbStats(Record):
    """Huge pages by size."""

    sizes: tuple[HugetlbSizeStats, ...] = ()


class RdmaDeviceStats(Record):
    """Handles and objects of one rdma device, used and allowed."""

    device: str
    hca_handle: int | None = None
    hca_object: int | None = None
    hca_handle_max: int | Max | None = None
    hca_object_max: int | Max | None = None


class RdmaStats(Record):
    """RDMA by device."""

    devices: tuple[RdmaDeviceStats, ...] = ()


class MiscResourceStats(Record):
    """One resource of the misc controller.  `events_max` counts refusals."""

    key: str
    current: int | None = None
    peak: int | None = None
    max: int | Max | None = None
    events_max: int | None = None


class MiscStats(Record):
    """The misc controller by resource."""

    resources: tuple[MiscResourceStats, ...] = ()


class FreezerStats(Record):
    """`asked`: this group is told to stand still; `frozen`: all its tasks do; `by_ancestor`: a
    group above is frozen (v1 says so; on v2 it is frozen without having been asked)."""

    asked: bool | None = None
    frozen: bool | None = None
    by_ancestor: bool | None = None
    frozen_usec: int | None = None


class NetClsStats(Record):
    """The class of the group's packets; v1 only."""

    classid: int | None = None


class NetPrioStats(Record):
    """The priority of the group's packets by interface; v1 only."""

    prioidx: int | None = None
    priorities: Mapping[str, int] = {}


class PressureLine(Record):
    """Shares of time in percent over the last 10, 60 and 300 s, and the time since the group was
    made."""

    avg10: float
    avg60: float
    avg300: float
    total_usec: int


class PressureStats(Record):
    """Pressure of one kind: `some` tasks were waiting, or all (`full`)."""

    some: PressureLine | None = None
    full: PressureLine | None = None


class Pressure(Record):
    """Pressure stall information by what was waited for (Documentation/accounting/psi.rst)."""

    cpu: PressureStats | None = None
    memory: PressureStats | None = None
    io: PressureStats | None = None


class Stats(Record):
    """Everything that the kernel counts of a group; None is a controller that says nothing."""

    cpu: CpuStats | None = None
    cpuset: CpusetStats | None = None
    memory: MemoryStats | None = None
    io: IoStats | None = None
    pids: PidsStats | None = None
    hugetlb: HugetlbStats | None = None
    rdma: RdmaStats | None = None
    misc: MiscStats | None = None
    net_cls: NetClsStats | None = None
    net_prio: NetPrioStats | None = None
    freezer: FreezerStats | None = None
    pressure: Pressure | None = None
    errors: tuple[StatsError, ...] = ()


class Reader:
    """Reads and parses one file after another, and keeps what went wrong.

    `read_text` gives a file's text, or None where the file is absent.
    """

    __slots__ = ("errors", "read_text")

    def __init__(self, read_text: Callable[[str], str | None]) -> None:
        self.read_text = read_text
        self.errors: list[StatsError] = []

    def __call__(self, file: str, parser: Callable[[str], T]) -> T | None:
        """The parsed file; None where it is absent, unreadable or not understood.

        Only `GroupGone` is raised: without the group there is nothing more to read.
        """
        try:
            text = self.read_text(file)
            return None if text is None else parser(text)
        except GroupGone:
            raise
        except (CgmgrError, ValueError, LookupError) as error:
            self.errors.append(StatsError(file=file, message=str(error)))
        return None


def some(kind: Callable[..., T], **values: Any) -> T | None:
    """A record of what is known, or None where nothing is."""
    known = {field: value for field, value in values.items() if value is not None}
    return kind(**known) if known else None


def pressure(read: Reader) -> Pressure | None:
    """The pressure of a cgroup2 group, whoever holds its controllers; None where none is told."""
    found: dict[str, PressureStats] = {}
    for kind in Pressure.__fields__:
        lines = read(f"{kind}.pressure", parse.pressure)
        if lines:
            found[kind] = PressureStats(some=_line(lines, "some"), full=_line(lines, "full"))
    return Pressure(**found) if found else None


def _line(lines: Mapping[str, tuple[float, float, float, int]], kind: str) -> PressureLine | None:
    if kind not in lines:
        return None
    avg10, avg60, avg300, total = lines[kind]
    return PressureLine(avg10=avg10, avg60=avg60, avg300=avg300, total_usec=total)
