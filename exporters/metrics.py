"""Which metrics there are, under cAdvisor's names, and where in `Stats` each comes from.

Law: one table, pure.  A row that the kernel says nothing for gives no sample, never a zero.  Values
are in base units: seconds, of which `Stats` has microseconds, and bytes.  "No limit" is 0, as
cAdvisor writes it.  Names, types and labels are those of cAdvisor's lib/metrics/prometheus.go, so
that the dashboards made for it work.  What it has and a cgroup does not know (network, file
systems, file descriptors) is not here, nor is what it leaves off by default (by CPU, by NUMA node).
"""

from __future__ import annotations

from cgmgr.record import Record
from cgmgr.resources.formulas import weight_to_shares
from cgmgr.units import Max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Final

    from cgmgr.stats import IoDeviceStats, Stats

    #: the values of the row's own labels, and the number
    Value = tuple[tuple[str, ...], float]
    Get = Callable[[Stats], Iterator[Value]]

COUNTER, GAUGE = "counter", "gauge"
#: A counter without `_total` in its name, which OpenMetrics has no type for.
UNKNOWN: Final = "unknown"
USEC: Final = 1_000_000


class Metric(Record):
    """One family: `get` gives the samples of one group."""

    name: str
    kind: str
    help: str
    get: Get
    labels: tuple[str, ...] = ()


def _number(value: int | Max | None) -> float | None:
    return 0 if isinstance(value, Max) else value


def _plain(value: int | Max | None, per: int = 1) -> Iterator[Value]:
    number = _number(value)
    if number is not None:
        yield (), number / per if per > 1 else number


def _field(section: str, field: str, per: int = 1) -> Get:
    """A field of one of the records in `Stats`."""
    return lambda stats: _plain(getattr(getattr(stats, section), field, None), per)


def _key(mapping: str, key: str) -> Get:
    """A key of one of the tables in `Stats.memory`."""
    return lambda stats: _plain(_of_memory(stats, mapping, key))


def _of_memory(stats: Stats, mapping: str, key: str) -> int | None:
    table: Mapping[str, int] = getattr(stats.memory, mapping, {})
    return table.get(key)


def _cpu_usage(stats: Stats) -> Iterator[Value]:
    for _, seconds in _field("cpu", "usage_usec", USEC)(stats):
        yield ("total",), seconds


def _cpu_quota(stats: Stats) -> Iterator[Value]:
    """Left out without a quota, as by cAdvisor, whose dashboards divide by it."""
    if stats.cpu is not None and isinstance(stats.cpu.quota_us, int):
        yield (), stats.cpu.quota_us


def _cpu_shares(stats: Stats) -> Iterator[Value]:
    if stats.cpu is None:
        return
    shares, weight = stats.cpu.shares, stats.cpu.weight
    if shares is None and weight:
        shares = weight_to_shares(weight)
    yield from _plain(shares)


def _soft_limit(stats: Stats) -> Iterator[Value]:
    """v1's soft limit, v2's low: what the OCI specification calls the reservation."""
    if stats.memory is not None:
        soft = stats.memory.soft_limit_bytes
        yield from _plain(stats.memory.low_bytes if soft is None else soft)


def _oom_kills(stats: Stats) -> Iterator[Value]:
    """v1 counts them in the victim's own group alone."""
    with_below = _of_memory(stats, "events", "oom_kill")
    own = _of_memory(stats, "local_events", "oom_kill")
    yield from _plain(own if with_below is None else with_below)


def _faults(stats: Stats) -> Iterator[Value]:
    """cgroup2 counts the groups below along; cAdvisor has it under both scopes there."""
    for key in ("pgfault", "pgmajfault"):
        for scope, mapping in (("container", "local_stat"), ("hierarchy", "stat")):
            value = _of_memory(stats, mapping, key)
            if value is None:
                value = _of_memory(stats, "stat", key)
            if value is not None:
                yield (key, scope), value


def _pressure(kind: str, line: str) -> Get:
    def get(stats: Stats) -> Iterator[Value]:
        of_kind = getattr(stats.pressure, kind, None)
        return _plain(getattr(getattr(of_kind, line, None), "total_usec", None), USEC)

    return get


def _disks(field: str) -> Get:
    def get(stats: Stats) -> Iterator[Value]:
        for device in stats.io.devices if stats.io is not None else ():
            for _, value in _plain(getattr(device, field)):
                yield (device.device,), value

    return get


def _cost(key: str) -> Get:
    def get(stats: Stats) -> Iterator[Value]:
        devices: tuple[IoDeviceStats, ...] = stats.io.devices if stats.io is not None else ()
        for device in devices:
            for _, value in _plain(device.cost.get(key), USEC):
                yield (device.device,), value

    return get


def _huge_pages(field: str) -> Get:
    def get(stats: Stats) -> Iterator[Value]:
        for size in stats.hugetlb.sizes if stats.hugetlb is not None else ():
            for _, value in _plain(getattr(size, field)):
                yield (size.size,), value

    return get


def _rows(kind: str, labels: tuple[str, ...], *rows: tuple[str, str, Get]) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=f"container_{name}", kind=kind, labels=labels, help=words, get=get)
        for name, words, get in rows
    )


_CPU: Final = (
    *_rows(
        COUNTER,
        ("cpu",),
        ("cpu_usage_seconds_total", "CPU time used, of all CPUs together.", _cpu_usage),
    ),
    *_rows(
        COUNTER,
        (),
        (
            "cpu_user_seconds_total",
            "CPU time used by programs themselves.",
            _field("cpu", "user_usec", USEC),
        ),
        (
            "cpu_system_seconds_total",
            "CPU time used by the kernel on their behalf.",
            _field("cpu", "system_usec", USEC),
        ),
        (
            "cpu_cfs_periods_total",
            "Periods in which something ran under the CPU quota.",
            _field("cpu", "nr_periods"),
        ),
        (
            "cpu_cfs_throttled_periods_total",
            "Periods in which the CPU quota was used up.",
            _field("cpu", "nr_throttled"),
        ),
        (
            "cpu_cfs_throttled_seconds_total",
            "Time for which the CPU quota held tasks up.",
            _field("cpu", "throttled_usec", USEC),
        ),
        (
            "cpu_cfs_burst_periods_total",
            "Periods in which saved up quota was used.",
            _field("cpu", "nr_bursts"),
        ),
        (
            "cpu_cfs_burst_seconds_total",
            "CPU time beyond the quota, out of what was saved up.",
            _field("cpu", "burst_usec", USEC),
        ),
    ),
    *_rows(
        GAUGE,
        (),
        (
            "spec_cpu_period",
            "The CPU quota's period in microseconds.",
            _field("cpu", "period_us"),
        ),
        ("spec_cpu_quota", "The CPU quota in microseconds a period.", _cpu_quota),
        ("spec_cpu_shares", "The CPU weight, as shares (2 to 262144).", _cpu_shares),
    ),
)

_MEMORY: Final = (
    *_rows(
        GAUGE,
        (),
        (
            "memory_usage_bytes",
            "Memory in use, page cache included.",
            _field("memory", "usage_bytes"),
        ),
        (
            "memory_working_set_bytes",
            "Memory in use without inactive page cache.",
            _field("memory", "working_set_bytes"),
        ),
        ("memory_rss", "Anonymous memory in bytes, swap not included.", _key("stat", "anon")),
        ("memory_cache", "Page cache in bytes, tmpfs included.", _key("stat", "file")),
        ("memory_swap", "Swap in use in bytes.", _field("memory", "swap_usage_bytes")),
        (
            "memory_mapped_file",
            "Page cache that is mapped, in bytes.",
            _key("stat", "file_mapped"),
        ),
        (
            "memory_kernel_usage",
            "Memory of the kernel for the group, in bytes.",
            _key("stat", "kernel"),
        ),
        (
            "memory_max_usage_bytes",
            "The most memory that was in use.",
            _field("memory", "peak_bytes"),
        ),
        (
            "memory_total_active_file_bytes",
            "Page cache that was used lately.",
            _key("stat", "active_file"),
        ),
        (
            "memory_total_inactive_file_bytes",
            "Page cache that was not used lately.",
            _key("stat", "inactive_file"),
        ),
        (
            "memory_file_dirty_bytes",
            "Page cache that waits to be written.",
            _key("stat", "file_dirty"),
        ),
        (
            "memory_file_writeback_bytes",
            "Page cache that is being written.",
            _key("stat", "file_writeback"),
        ),
        (
            "spec_memory_limit_bytes",
            "The memory limit, 0 for none.",
            _field("memory", "max_bytes"),
        ),
        (
            "spec_memory_swap_limit_bytes",
            "The limit of swap alone, 0 for none.",
            _field("memory", "swap_max_bytes"),
        ),
        (
            "spec_memory_reservation_limit_bytes",
            "The memory that is spared by reclaim, 0 for none.",
            _soft_limit,
        ),
    ),
    *_rows(
        UNKNOWN,
        (),
        (
            "memory_failcnt",
            "How often the group's own memory limit was hit.",
            _key("local_events", "max"),
        ),
    ),
    *_rows(
        COUNTER,
        ("failure_type", "scope"),
        ("memory_failures_total", "Page faults, minor (pgfault) and major.", _faults),
    ),
    *_rows(
        COUNTER,
        (),
        *(
            (f"memory_{key}_total", words, _key("stat", key))
            for key, words in (
                ("pgscan", "Pages that reclaim looked at."),
                ("pgsteal", "Pages that were reclaimed."),
                ("workingset_refault_anon", "Swapped out pages that were needed again."),
                ("workingset_refault_file", "Dropped cache pages that were needed again."),
            )
        ),
        *(
            (f"memory_events_{key}_total", words, _key("events", key))
            for key, words in (
                ("low", "Reclaims although the use was below memory.low."),
                ("high", "Times that tasks were held up above memory.high."),
                ("max", "Times that a memory limit was about to be exceeded."),
                ("oom", "Times that a memory limit was reached and nothing could be freed."),
                ("oom_kill", "Processes that the OOM killer killed."),
                ("oom_group_kill", "Groups that the OOM killer killed as a whole."),
            )
        ),
        ("oom_events_total", "Processes that the OOM killer killed.", _oom_kills),
    ),
)

_DISK: Final = (
    *_rows(
        COUNTER,
        ("device",),
        ("fs_reads_bytes_total", "Bytes read from the disk.", _disks("rbytes")),
        ("fs_writes_bytes_total", "Bytes written to the disk.", _disks("wbytes")),
        ("fs_reads_total", "Reads from the disk.", _disks("rios")),
        ("fs_writes_total", "Writes to the disk.", _disks("wios")),
        *(
            (f"fs_io_cost_{key}_seconds_total", words, _cost(key))
            for key, words in (
                ("usage", "Time of the disk, as io.cost reckons it."),
                ("wait", "Time that requests waited for io.cost."),
                ("indebt", "Time with debt to io.cost."),
                ("indelay", "Time that tasks were held up by io.cost."),
            )
        ),
    ),
)

_PRESSURE: Final = _rows(
    COUNTER,
    (),
    *(
        (
            f"pressure_{kind}_{word}_seconds_total",
            f"Time in which {who} waited for {what}.",
            _pressure(kind, line),
        )
        for kind, what in (("cpu", "a CPU"), ("memory", "memory"), ("io", "a disk"))
        for word, line, who in (
            ("waiting", "some", "some task"),
            ("stalled", "full", "every task"),
        )
    ),
)

_TASKS: Final = _rows(
    GAUGE,
    (),
    ("threads", "Tasks: processes and their threads.", _field("pids", "current")),
    ("threads_max", "The limit of tasks, 0 for none.", _field("pids", "max")),
)

_HUGE_PAGES: Final = (
    *_rows(
        GAUGE,
        ("pagesize",),
        ("hugetlb_usage_bytes", "Huge pages in use.", _huge_pages("usage_bytes")),
        ("hugetlb_max_usage_bytes", "The most that was in use.", _huge_pages("peak_bytes")),
    ),
    *_rows(
        UNKNOWN,
        ("pagesize",),
        ("hugetlb_failcnt", "How often the limit was hit.", _huge_pages("events_max")),
    ),
)

TABLE: Final[tuple[Metric, ...]] = (*_CPU, *_MEMORY, *_DISK, *_PRESSURE, *_TASKS, *_HUGE_PAGES)

#: Whoever is scraped was seen now; dashboards count containers by it.
LAST_SEEN: Final = "container_last_seen"
