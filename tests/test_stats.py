"""What the kernel counts, as records: whole, in part, and with files that make no sense."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.controllers import TABLE
from cgmgr.controllers.base import Facts
from cgmgr.errors import GroupGone, KernelError
from cgmgr.record import Record
from cgmgr.stats import (
    CpusetStats,
    CpuStats,
    FreezerStats,
    HugetlbSizeStats,
    HugetlbStats,
    IoDeviceStats,
    IoStats,
    MemoryStats,
    MiscResourceStats,
    MiscStats,
    NetClsStats,
    NetPrioStats,
    PidsStats,
    Pressure,
    PressureLine,
    PressureStats,
    RdmaDeviceStats,
    RdmaStats,
    Reader,
    Stats,
    StatsError,
    pressure,
    some,
)
from cgmgr.units import MAX

from .controllers.saying import nothing
from .fakefs import unpack
from .recording import HOSTS

FACTS = Facts(hugepage_sizes=("2MB",), page_size=4096, clock_ticks=100)

CASES: dict[str, tuple[str, int, dict[str, str], Record]] = {
    "cpu-v2": (
        "cpu",
        2,
        {
            "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\n"
            "nr_throttled 3\nthrottled_usec 99\nnr_bursts 2\nburst_usec 7\ncore_sched.x 1\n",
            "cpu.weight": "100\n",
            "cpu.max": "50000 100000\n",
        },
        CpuStats(
            usage_usec=30,
            user_usec=20,
            system_usec=10,
            nr_periods=4,
            nr_throttled=3,
            throttled_usec=99,
            nr_bursts=2,
            burst_usec=7,
            weight=100,
            quota_us=50_000,
            period_us=100_000,
        ),
    ),
    "cpu-v2-controller-off": (
        "cpu",
        2,
        {"cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"},
        CpuStats(usage_usec=30, user_usec=20, system_usec=10),
    ),
    "cpu-v1": (
        "cpu",
        1,
        {
            "cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 99999\n",
            "cpu.shares": "512\n",
            "cpu.cfs_quota_us": "-1\n",
            "cpu.cfs_period_us": "100000\n",
        },
        CpuStats(
            nr_periods=4,
            nr_throttled=3,
            throttled_usec=99,
            shares=512,
            weight=59,
            quota_us=MAX,
            period_us=100_000,
        ),
    ),
    "cpuacct": (
        "cpuacct",
        1,
        {
            "cpuacct.usage": "5000123\n",
            "cpuacct.stat": "user 3\nsystem 2\n",
            "cpuacct.usage_percpu": "2000999 3000000 \n",
            "cpuacct.usage_all": "cpu user system extra\n0 1000 2000 7\n1 3000 4000 8\n",
        },
        CpuStats(
            usage_usec=5000,
            user_usec=30_000,
            system_usec=20_000,
            percpu_usec=(2000, 3000),
            percpu_user_usec=(1, 3),
            percpu_system_usec=(2, 4),
        ),
    ),
    "cpuset-v2": (
        "cpuset",
        2,
        {
            "cpuset.cpus": "\n",
            "cpuset.mems": "\n",
            "cpuset.cpus.effective": "0-3\n",
            "cpuset.mems.effective": "0\n",
            "cpuset.cpus.partition": "root invalid (Parent is not a partition root)\n",
        },
        CpusetStats(
            cpus=(),
            mems=(),
            effective_cpus=(0, 1, 2, 3),
            effective_mems=(0,),
            partition="root invalid (Parent is not a partition root)",
        ),
    ),
    "cpuset-v1": (
        "cpuset",
        1,
        {
            "cpuset.cpus": "1,3\n",
            "cpuset.mems": "0\n",
            "cpuset.effective_cpus": "1,3\n",
            "cpuset.effective_mems": "0\n",
        },
        CpusetStats(cpus=(1, 3), mems=(0,), effective_cpus=(1, 3), effective_mems=(0,)),
    ),
    "memory-v2": (
        "memory",
        2,
        {
            "memory.current": "1000\n",
            "memory.peak": "2000\n",
            "memory.max": "max\n",
            "memory.high": "max\n",
            "memory.low": "0\n",
            "memory.min": "0\n",
            "memory.swap.current": "5\n",
            "memory.swap.peak": "6\n",
            "memory.swap.max": "0\n",
            "memory.stat": "anon 700\nfile 200\ninactive_file 100\npgfault 9\n",
            "memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n",
            "memory.events.local": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n",
            "memory.swap.events": "high 0\nmax 1\nfail 0\n",
            "memory.numa_stat": "anon N0=700\nfile N0=200\n",
        },
        MemoryStats(
            usage_bytes=1000,
            peak_bytes=2000,
            max_bytes=MAX,
            high_bytes=MAX,
            low_bytes=0,
            min_bytes=0,
            swap_usage_bytes=5,
            swap_peak_bytes=6,
            swap_max_bytes=0,
            stat={"anon": 700, "file": 200, "inactive_file": 100, "pgfault": 9},
            events={"low": 0, "high": 1, "max": 2, "oom": 3, "oom_kill": 4, "oom_group_kill": 5},
            local_events={"low": 0, "high": 0, "max": 0, "oom": 0, "oom_kill": 1},
            swap_events={"high": 0, "max": 1, "fail": 0},
            numa_bytes={"anon": {0: 700}, "file": {0: 200}},
        ),
    ),
    "memory-v1": (
        "memory",
        1,
        {
            "memory.usage_in_bytes": "1000\n",
            "memory.max_usage_in_bytes": "2000\n",
            "memory.limit_in_bytes": "8192\n",
            "memory.memsw.limit_in_bytes": "12288\n",
            "memory.memsw.failcnt": "6\n",
            "memory.soft_limit_in_bytes": "9223372036854771712\n",
            "memory.failcnt": "5\n",
            "memory.kmem.usage_in_bytes": "300\n",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n",
            "memory.stat": "cache 1\nrss 2\nswap 3\nhierarchical_memory_limit 8192\n"
            "total_cache 10\ntotal_rss 20\ntotal_swap 30\ntotal_inactive_file 4\ntotal_pgfault 7\n",
            "memory.numa_stat": "total=3 N0=1 N1=2\nkidled 1 2 3\n",
        },
        MemoryStats(
            usage_bytes=1000,
            peak_bytes=2000,
            max_bytes=8192,
            soft_limit_bytes=MAX,
            swap_usage_bytes=30,
            swap_max_bytes=4096,
            stat={
                "file": 10,
                "anon": 20,
                "swap": 30,
                "inactive_file": 4,
                "pgfault": 7,
                "kernel": 300,
            },
            local_stat={"file": 1, "anon": 2, "swap": 3},
            local_events={"max": 5, "oom_kill": 2},
            swap_events={"max": 6},
            numa_bytes={"total": {0: 4096, 1: 8192}},
            under_oom=True,
            oom_kill_disable=False,
        ),
    ),
    "pids": (
        "pids",
        2,
        {"pids.current": "3\n", "pids.peak": "4\n", "pids.max": "max\n", "pids.events": "max 2\n"},
        PidsStats(current=3, peak=4, max=MAX, events_max=2),
    ),
    "io-v2": (
        "io",
        2,
        {
            "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7 "
            "cost.vrate=1.00\n8:16 \n7:0 rbytes=9 new=1\n"
        },
        IoStats(
            devices=(
                IoDeviceStats(
                    device="8:0",
                    rbytes=1,
                    wbytes=2,
                    rios=3,
                    wios=4,
                    dbytes=5,
                    dios=6,
                    cost={"usage": 7},
                ),
                IoDeviceStats(device="7:0", rbytes=9),
            )
        ),
    ),
    "io-v1-each-disk-by-who-knows-it": (
        "io",
        1,
        {
            "blkio.bfq.io_service_bytes_recursive": "8:16 Read 1\n8:16 Write 2\n8:16 Total 3\n"
            "Total 3\n",
            "blkio.bfq.io_serviced_recursive": "8:16 Read 3\n8:16 Write 4\nTotal 7\n",
            "blkio.throttle.io_service_bytes_recursive": "8:16 Read 100\n8:0 Read 5\n"
            "8:0 Discard 6\nTotal 111\n",
            "blkio.throttle.io_serviced_recursive": "8:0 Read 7\n8:0 Async 8\nTotal 15\n",
        },
        IoStats(
            devices=(
                IoDeviceStats(device="8:16", rbytes=1, wbytes=2, rios=3, wios=4),
                IoDeviceStats(device="8:0", rbytes=5, dbytes=6, rios=7),
            )
        ),
    ),
    "io-v1-throttle-not-recursive": (
        "io",
        1,
        {
            "blkio.throttle.io_service_bytes": "8:0 Read 5\nTotal 5\n",
            "blkio.throttle.io_serviced": "8:0 Read 1\nTotal 1\n",
        },
        IoStats(devices=(IoDeviceStats(device="8:0", rbytes=5, rios=1),)),
    ),
    "io-v1-cfq": (
        "io",
        1,
        {
            "blkio.io_service_bytes_recursive": "8:0 Read 5\nTotal 5\n",
            "blkio.io_serviced_recursive": "8:0 Read 1\nTotal 1\n",
        },
        IoStats(devices=(IoDeviceStats(device="8:0", rbytes=5, rios=1),)),
    ),
    "io-v1-nothing-yet": (
        "io",
        1,
        {"blkio.throttle.io_service_bytes_recursive": "Total 0\n"},
        IoStats(),
    ),
    "hugetlb-v2": (
        "hugetlb",
        2,
        {
            "hugetlb.2MB.current": "2097152\n",
            "hugetlb.2MB.max": "max\n",
            "hugetlb.2MB.events": "max 3\n",
            "hugetlb.2MB.rsvd.current": "0\n",
            "hugetlb.2MB.rsvd.max": "9223372036854771712\n",
        },
        HugetlbStats(
            sizes=(
                HugetlbSizeStats(
                    size="2MB",
                    usage_bytes=2_097_152,
                    max_bytes=MAX,
                    events_max=3,
                    rsvd_usage_bytes=0,
                    rsvd_max_bytes=MAX,
                ),
            )
        ),
    ),
    "hugetlb-v1-without-reservations": (
        "hugetlb",
        1,
        {
            "hugetlb.2MB.usage_in_bytes": "0\n",
            "hugetlb.2MB.max_usage_in_bytes": "4194304\n",
            "hugetlb.2MB.limit_in_bytes": "9223372036852678656\n",
            "hugetlb.2MB.failcnt": "1\n",
        },
        HugetlbStats(
            sizes=(
                HugetlbSizeStats(
                    size="2MB",
                    usage_bytes=0,
                    peak_bytes=4_194_304,
                    max_bytes=MAX,
                    events_max=1,
                ),
            )
        ),
    ),
    "rdma": (
        "rdma",
        2,
        {
            "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000\n"
            "ocrdma1 hca_handle=1 hca_object=0\n",
            "rdma.max": "mlx4_0 hca_handle=2 hca_object=max\n",
        },
        RdmaStats(
            devices=(
                RdmaDeviceStats(
                    device="mlx4_0",
                    hca_handle=2,
                    hca_object=2000,
                    hca_handle_max=2,
                    hca_object_max=MAX,
                ),
                RdmaDeviceStats(device="ocrdma1", hca_handle=1, hca_object=0),
            )
        ),
    ),
    "misc": (
        "misc",
        2,
        {
            "misc.current": "sev 3\n",
            "misc.max": "sev max\n",
            "misc.peak": "sev 5\n",
            "misc.events": "sev.max 1\n",
        },
        MiscStats(
            resources=(MiscResourceStats(key="sev", current=3, peak=5, max=MAX, events_max=1),)
        ),
    ),
    "freezer-v1-frozen-above": (
        "freezer",
        1,
        {
            "freezer.state": "FROZEN\n",
            "freezer.self_freezing": "0\n",
            "freezer.parent_freezing": "1\n",
        },
        FreezerStats(asked=False, frozen=True, by_ancestor=True),
    ),
    "freezer-v2": (
        "freezer",
        2,
        {"cgroup.freeze": "1\n", "cgroup.events": "populated 1\nfrozen 1\n"},
        FreezerStats(asked=True, frozen=True, by_ancestor=False),
    ),
    "freezer-v2-frozen-above": (
        "freezer",
        2,
        {
            "cgroup.freeze": "0\n",
            "cgroup.events": "populated 1\nfrozen 1\n",
            "cgroup.stat.local": "frozen_usec 12\n",
        },
        FreezerStats(asked=False, frozen=True, by_ancestor=True, frozen_usec=12),
    ),
    "net_cls": ("net_cls", 1, {"net_cls.classid": "1048577\n"}, NetClsStats(classid=1_048_577)),
    "net_prio": (
        "net_prio",
        1,
        {"net_prio.prioidx": "3\n", "net_prio.ifpriomap": "lo 0\neth0 7\n"},
        NetPrioStats(prioidx=3, priorities={"lo": 0, "eth0": 7}),
    ),
}


def read(controller: str, version: int, files: Mapping[str, str]) -> tuple[Record | None, Reader]:
    reader = Reader(files.get)
    return TABLE[controller].stats(reader, version, FACTS), reader


@pytest.mark.parametrize(
    ("controller", "version", "files", "record"), CASES.values(), ids=CASES.keys()
)
def test_everything_is_read(
    controller: str, version: int, files: dict[str, str], record: Record
) -> None:
    found, reader = read(controller, version, files)
    assert found == record
    assert reader.errors == []


@pytest.mark.parametrize(
    ("controller", "version", "files", "record"), CASES.values(), ids=CASES.keys()
)
def test_every_missing_file_costs_its_own_values_only(
    controller: str, version: int, files: dict[str, str], record: Record
) -> None:
    for missing in files:
        found, reader = read(controller, version, {f: t for f, t in files.items() if f != missing})
        assert reader.errors == []
        if found is None or isinstance(found, (IoStats, HugetlbStats, RdmaStats, MiscStats)):
            continue
        whole = {field: getattr(record, field) for field in record.__fields__}
        for field, value in found.set_fields().items():
            assert value == whole[field] or isinstance(value, dict)


NOTHING = "8:0 Read 0\n8:0 Write 0\nTotal 0\n"


@pytest.mark.parametrize(
    ("kernel", "files", "found"),
    [
        pytest.param((6, 1), {"throttle": NOTHING}, None, id="not counted"),
        pytest.param((5, 17), {"throttle": "Total 0\n"}, None, id="first of those"),
        pytest.param((6, 1), {"throttle": NOTHING + "8:16 Read 1\n"}, ["8:16"], id="one counted"),
        pytest.param((6, 1), {"throttle": NOTHING, "bfq": NOTHING}, ["8:0"], id="bfq counts"),
        pytest.param((5, 16), {"throttle": NOTHING}, ["8:0"], id="before"),
        pytest.param((6, 4), {"throttle": NOTHING}, ["8:0"], id="after"),
        pytest.param((), {"throttle": NOTHING}, ["8:0"], id="unknown kernel"),
    ],
)
def test_what_v1_does_not_count_is_not_known(
    kernel: tuple[int, ...], files: dict[str, str], found: list[str] | None
) -> None:
    texts = {f"blkio.{who}.io_serviced_recursive": text for who, text in files.items()}
    stats = TABLE["io"].stats(Reader(texts.get), 1, Facts(kernel=kernel))
    assert stats is None or isinstance(stats, IoStats)
    assert (None if stats is None else [one.device for one in stats.devices]) == found


@pytest.mark.parametrize(
    ("controller", "version"), sorted({(case[0], case[1]) for case in CASES.values()})
)
def test_without_any_file_there_is_no_record(controller: str, version: int) -> None:
    found, reader = read(controller, version, {})
    assert found is None
    assert reader.errors == []


@pytest.mark.parametrize(
    ("controller", "version", "files", "_record"), CASES.values(), ids=CASES.keys()
)
@given(nonsense=st.text(alphabet="ab =:\nN0-9.", max_size=20))
def test_nonsense_in_a_file_is_an_error_of_that_file(
    controller: str, version: int, files: dict[str, str], _record: Record, nonsense: str
) -> None:
    for spoilt in files:
        _, reader = read(controller, version, files | {spoilt: nonsense})
        assert {error.file for error in reader.errors} <= {spoilt}


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    def read_text(file: str) -> str | None:
        if file == "pids.max":
            raise KernelError("read pids.max: input/output error", errno=errno.EIO)
        return {"pids.current": "3\n"}.get(file)

    reader = Reader(read_text)
    assert TABLE["pids"].stats(reader, 2, FACTS) == PidsStats(current=3)
    assert reader.errors == [
        StatsError(file="pids.max", message="read pids.max: input/output error")
    ]


def test_a_group_that_is_gone_ends_it() -> None:
    def read_text(file: str) -> str | None:
        raise GroupGone(f"read {file}: the group is gone")

    with pytest.raises(GroupGone):
        TABLE["pids"].stats(Reader(read_text), 2, FACTS)


SOME = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n"
FULL = "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def test_pressure() -> None:
    some_line = PressureLine(avg10=1.5, avg60=0.0, avg300=0.0, total_usec=7)
    full_line = PressureLine(avg10=0.0, avg60=0.0, avg300=0.0, total_usec=0)
    reader = Reader({"cpu.pressure": SOME, "io.pressure": SOME + FULL, "memory.pressure": FULL}.get)
    assert pressure(reader) == Pressure(
        cpu=PressureStats(some=some_line),
        io=PressureStats(some=some_line, full=full_line),
        memory=PressureStats(full=full_line),
    )
    assert reader.errors == []


def test_no_pressure_is_no_record() -> None:
    assert pressure(Reader(nothing)) is None


@pytest.mark.parametrize(
    ("stats", "working_set"),
    [
        pytest.param(MemoryStats(usage_bytes=9, stat={"inactive_file": 4}), 5, id="both"),
        pytest.param(MemoryStats(usage_bytes=3, stat={"inactive_file": 4}), 0, id="never-negative"),
        pytest.param(MemoryStats(usage_bytes=3), None, id="no-stat"),
        pytest.param(MemoryStats(stat={"inactive_file": 4}), None, id="no-usage"),
    ],
)
def test_working_set(stats: MemoryStats, working_set: int | None) -> None:
    assert stats.working_set_bytes == working_set


def test_some_is_none_where_nothing_is_known() -> None:
    assert some(PidsStats, current=None, max=None) is None
    assert some(PidsStats, current=0) == PidsStats(current=0)


@pytest.mark.parametrize("tree", sorted(HOSTS.glob("*.tree")), ids=lambda tree: tree.stem)
def test_recorded_hosts_are_read_without_an_error(tree: Path, tmp_path: Path) -> None:
    host = unpack(tree, tmp_path / "host")
    counted: dict[str, Record] = {}
    for name, controller in TABLE.items():
        hierarchy = host.holder(name)
        if hierarchy is None:
            continue
        reader = Reader(host.probe(name).get)
        record = controller.stats(reader, hierarchy.version, host.facts)
        assert reader.errors == []
        if record is not None:
            counted[name] = record
    stats = Stats(**{name: counted[name] for name in counted if name in Stats.__fields__})  # type: ignore[arg-type]
    assert stats.memory is not None
    assert stats.memory.usage_bytes
    assert stats.memory.stat.keys() >= {"anon", "file", "inactive_file", "pgfault", "kernel"}
    assert stats.memory.local_events.keys() >= {"max", "oom_kill"}
    assert stats.pids is not None
    assert stats.pids.current
    assert stats.io is not None
    assert stats.io.devices[0].rbytes
    times = counted.get("cpuacct", counted["cpu"])
    assert isinstance(times, CpuStats)
    assert times.usage_usec
