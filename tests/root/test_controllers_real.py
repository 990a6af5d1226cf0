"""What the controllers say, held by the kernel that runs here; each change is also taken back."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgmgr import parse
from cgmgr.controllers.base import BlockDevice
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    GroupBusy,
    HostError,
    LimitBelowUsage,
    RequestError,
)
from cgmgr.host import Host
from cgmgr.resources import (
    Cpu,
    Cpuset,
    HugetlbLimit,
    Io,
    IoDevice,
    Memory,
    NetPrio,
    Pids,
    Resources,
)
from cgmgr.units import MAX, Max, format_id_list

from .real import RealGroup, enabled, mounted, real_group, refused, somebody_in

MIB = 1 << 20
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def group(host: Host, run_token: str, request: pytest.FixtureRequest) -> Iterator[RealGroup]:
    """A group for the controller that the test names."""
    controller = request.param
    if host.holder(controller) is None or host.need(controller).version != 1:
        pytest.skip(f"{controller} has no v1 hierarchy here")
    with real_group(host, controller, f"{run_token}-{controller}") as made:
        yield made


def of(controller: str, fixture: str = "group") -> pytest.MarkDecorator:
    return pytest.mark.parametrize(fixture, [controller], indirect=True)


def back_and_forth(group: RealGroup, resources: Resources) -> dict[str, str | None]:
    """Hold the request, take it back, and hold it again; returns what the files say then."""
    before = group.texts()
    group.fresh = False
    undo = group.hold(resources)
    held = group.texts()
    undo()
    assert group.texts() == before
    group.hold(resources)
    assert group.texts() == held
    return held


# -- cpu


@of("cpu")
@pytest.mark.parametrize(
    ("cpu", "held"),
    [
        pytest.param(Cpu(weight=100), {"cpu.shares": "1024"}, id="weight"),
        pytest.param(Cpu(weight=1), {"cpu.shares": "2"}, id="least"),
        pytest.param(Cpu(weight=10000), {"cpu.shares": "262144"}, id="most"),
        pytest.param(Cpu(weight=59, shares=512), {"cpu.shares": "512"}, id="shares"),
        pytest.param(Cpu(quota_us=50_000), {"cpu.cfs_quota_us": "50000"}, id="quota"),
        pytest.param(Cpu(quota_us=MAX), {"cpu.cfs_quota_us": "-1"}, id="lifted"),
        pytest.param(
            Cpu(quota_us=5000, period_us=10_000, burst_us=5000),
            {
                "cpu.cfs_quota_us": "5000",
                "cpu.cfs_period_us": "10000",
                "cpu.cfs_burst_us": "5000",
            },
            id="all-three",
        ),
        pytest.param(Cpu(idle=True), {"cpu.idle": "1"}, id="idle"),
        pytest.param(
            Cpu(rt_runtime_us=1000, rt_period_us=500_000),
            {"cpu.rt_runtime_us": "1000", "cpu.rt_period_us": "500000"},
            id="realtime",
        ),
    ],
)
def test_cpu(group: RealGroup, cpu: Cpu, held: dict[str, str]) -> None:
    texts = back_and_forth(group, Resources(cpu=cpu))
    assert {file: texts[file] for file in held} == held


@of("cpu")
def test_idle_and_back_brings_the_weight_back(group: RealGroup) -> None:
    group.hold(Resources(cpu=Cpu(weight=500)))
    shares = group.read("cpu.shares")
    undo = group.hold(Resources(cpu=Cpu(idle=True)))
    assert group.read("cpu.shares") != shares
    undo()
    assert (group.read("cpu.idle"), group.read("cpu.shares")) == ("0", shares)


@of("cpu")
def test_a_weight_ends_idle(group: RealGroup) -> None:
    group.hold(Resources(cpu=Cpu(idle=True)))
    before = group.texts()
    undo = group.hold(Resources(cpu=Cpu(weight=100)))
    assert (group.read("cpu.idle"), group.read("cpu.shares")) == ("0", "1024")
    undo()
    assert group.texts() == before


def quotas() -> st.SearchStrategy[tuple[int, int, int]]:
    """Quota, period and burst with a share between a quarter and two CPUs."""
    return st.tuples(
        st.sampled_from([5000, 10_000, 20_000, 40_000, 100_000, 400_000]),
        st.sampled_from([Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2)]),
        st.sampled_from([0, 500, 1250]),
    ).map(lambda three: (int(three[0] * three[1]), three[0], three[2]))


@of("cpu")
@FEW
@given(steps=st.lists(quotas(), min_size=2, max_size=4))
def test_between_a_tight_parent_and_a_tight_child_every_change_goes_through(
    group: RealGroup, steps: list[tuple[int, int, int]]
) -> None:
    group.write("cpu.cfs_quota_us", "200000")
    middle = group.child("middle")
    try:
        middle.write("cpu.cfs_quota_us", "100000")
        child = middle.child("child")
        child.write("cpu.cfs_quota_us", "25000")
        middle.fresh = False
        for quota, period, burst in steps:
            before = middle.texts()
            request = Resources(cpu=Cpu(quota_us=quota, period_us=period, burst_us=burst))
            undo = middle.hold(request)
            undo()
            assert middle.texts() == before
            middle.hold(request)
        assert middle.read("cpu.cfs_period_us") == str(steps[-1][1])
    finally:
        middle.remove()
        group.write("cpu.cfs_quota_us", "-1")


@of("cpu")
def test_more_than_the_parent_says_so(group: RealGroup) -> None:
    group.write("cpu.cfs_quota_us", "50000")
    child = group.child("child")
    error = refused(lambda: child.hold(Resources(cpu=Cpu(quota_us=60_000))))
    assert error is not None
    assert error.errno == errno.EINVAL
    assert "a group above has a smaller share" in str(error)
    assert child.read("cpu.cfs_quota_us") == "-1"


@of("cpu")
def test_realtime_that_the_parent_has_not(group: RealGroup) -> None:
    child = group.child("child")
    error = refused(lambda: child.hold(Resources(cpu=Cpu(rt_runtime_us=5000))))
    assert error is not None
    name = str(group.directory).removeprefix(group.hierarchy.mountpoint + group.hierarchy.base)
    words = f"/{name.lstrip('/')} cpu_rt_runtime=5000us"
    assert error.hint == f"cgmgr group set {words} || cgmgr group create {words}"


@of("cpu")
def test_cpu_stats(group: RealGroup) -> None:
    group.hold(Resources(cpu=Cpu(quota_us=50_000, weight=200)))
    stats, errors = group.stats()
    assert errors == []
    assert stats is not None
    known = stats.set_fields()
    assert (known["quota_us"], known["period_us"], known["weight"]) == (50_000, 100_000, 200)
    assert known["nr_throttled"] == known["throttled_usec"] == 0


@of("cpuacct")
def test_cpuacct_counts_what_runs(group: RealGroup) -> None:
    with somebody_in(group.directory, 1):
        stats, errors = group.stats()
    assert errors == []
    assert stats is not None
    known = stats.set_fields()
    assert known["usage_usec"] > 0
    assert known["percpu_usec"]
    assert len(known["percpu_usec"]) == len(known["percpu_user_usec"])


# -- cpuset


@of("cpuset")
def test_a_new_cpuset_takes_what_the_parent_has_and_then_a_task(group: RealGroup) -> None:
    group.hold(Resources())
    above = Path(group.directory.parent)
    assert group.read("cpuset.cpus") == (above / "cpuset.cpus").read_text().strip()
    with somebody_in(group.directory) as pid:
        assert group.read("cgroup.procs") == str(pid)


@of("cpuset")
def test_an_empty_cpuset_is_filled_and_emptied_again(group: RealGroup) -> None:
    group.fresh = False
    undo = group.hold(Resources())
    assert group.read("cpuset.cpus")
    undo()
    assert (group.read("cpuset.cpus"), group.read("cpuset.mems")) == ("", "")


@of("cpuset")
def test_one_cpu_is_asked_and_the_nodes_are_filled(group: RealGroup, host: Host) -> None:
    cpu = host.facts.cpus[-1]
    group.hold(Resources(cpuset=Cpuset(cpus=(cpu,))))
    assert group.read("cpuset.cpus") == str(cpu)
    assert group.read("cpuset.mems") == format_id_list(host.facts.nodes)
    stats, errors = group.stats()
    assert errors == []
    assert stats is not None
    assert stats.set_fields()["effective_cpus"] == (cpu,)


@of("cpuset")
def test_more_than_the_parent_names_the_parent(group: RealGroup, host: Host) -> None:
    first, *rest = host.facts.cpus
    if not rest:
        pytest.skip("needs two CPUs")
    group.hold(Resources(cpuset=Cpuset(cpus=(first,))))
    child = group.child("child")
    error = refused(lambda: child.hold(Resources(cpuset=Cpuset(cpus=(rest[0],)))))
    assert isinstance(error, RequestError)
    assert f"{group.directory} has only CPUs {first}" in str(error)
    assert child.read("cpuset.cpus") == ""


@of("cpuset")
def test_less_than_a_child_has_is_busy(group: RealGroup, host: Host) -> None:
    if len(host.facts.cpus) < 2:
        pytest.skip("needs two CPUs")
    first, second = host.facts.cpus[:2]
    group.hold(Resources())
    child = group.child("child")
    child.hold(Resources(cpuset=Cpuset(cpus=(second,))))
    error = refused(lambda: group.hold(Resources(cpuset=Cpuset(cpus=(first,)))))
    assert isinstance(error, GroupBusy)
    shown = subprocess.run(["sh", "-c", error.hint or "false"], capture_output=True, text=True)
    assert f"/child/cpuset.cpus:{second}\n" in shown.stdout


# -- memory

limits = st.one_of(st.none(), st.just(MAX), st.integers(1, 64).map(lambda n: n * MIB))


@of("memory")
@FEW
@given(steps=st.lists(st.tuples(limits, limits), min_size=1, max_size=6))
def test_every_change_of_memory_and_swap_goes_through(
    group: RealGroup, steps: list[tuple[int | Max | None, int | Max | None]]
) -> None:
    group.fresh = False
    for most, swap in steps:
        before = group.texts()
        request = Resources(memory=Memory(max_bytes=most, swap_bytes=swap))
        try:
            undo = group.hold(request)
        except RequestError as error:
            assert "memory has no limit" in str(error)
            assert group.texts() == before
            continue
        held = group.texts()
        undo()
        assert group.texts() == before
        group.hold(request)
        assert group.texts() == held
        limit, memsw = (int(held[f] or 0) for f in ("memory.limit_in_bytes", MEMSW))
        assert most in (None, MAX, limit)
        assert not isinstance(swap, int) or memsw == limit + swap


MEMSW = "memory.memsw.limit_in_bytes"


@of("memory")
def test_swap_stays_as_much_as_it_was_when_only_memory_changes(group: RealGroup) -> None:
    group.hold(Resources(memory=Memory(max_bytes=64 * MIB, swap_bytes=16 * MIB)))
    group.hold(Resources(memory=Memory(max_bytes=200 * MIB)))
    assert group.read(MEMSW) == str(216 * MIB)
    group.hold(Resources(memory=Memory(max_bytes=32 * MIB)))
    assert group.read(MEMSW) == str(48 * MIB)


@of("memory")
@pytest.mark.parametrize(
    ("memory", "file", "held"),
    [
        pytest.param(
            Memory(soft_limit_bytes=MIB), "memory.soft_limit_in_bytes", str(MIB), id="soft"
        ),
        pytest.param(Memory(swappiness=10), "memory.swappiness", "10", id="swappiness"),
        pytest.param(
            Memory(oom_kill_disable=True),
            "memory.oom_control",
            "oom_kill_disable 1\nunder_oom 0\noom_kill 0",
            id="oom-off",
        ),
        pytest.param(Memory(max_bytes=4097), "memory.limit_in_bytes", "4096", id="rounded"),
    ],
)
def test_memory(group: RealGroup, memory: Memory, file: str, held: str) -> None:
    assert back_and_forth(group, Resources(memory=memory))[file] == held


@of("memory")
def test_a_limit_below_usage_says_how_much_is_used(group: RealGroup) -> None:
    with somebody_in(group.directory, 40):
        before = group.texts()
        group.fresh = False
        error = refused(lambda: group.hold(Resources(memory=Memory(max_bytes=8 * MIB))))
        assert isinstance(error, LimitBelowUsage)
        assert error.used > 40 * MIB
        assert group.texts() == before


@of("memory")
def test_memory_stats(group: RealGroup) -> None:
    group.hold(Resources(memory=Memory(max_bytes=64 * MIB, swap_bytes=0)))
    with somebody_in(group.directory, 20):
        stats, errors = group.stats()
    assert errors == []
    assert stats is not None
    known = stats.set_fields()
    assert (known["max_bytes"], known["swap_max_bytes"]) == (64 * MIB, 0)
    assert known["usage_bytes"] >= known["stat"]["anon"] >= 19 * MIB
    assert known["peak_bytes"] >= known["usage_bytes"]
    assert known["local_events"] == {"max": 0, "oom_kill": 0}
    assert sum(known["numa_bytes"]["anon"].values()) >= 19 * MIB  # counted in batches by CPU


# -- pids


@of("pids")
def test_pids(group: RealGroup) -> None:
    assert back_and_forth(group, Resources(pids=Pids(max=7))) == {"pids.max": "7"}
    assert back_and_forth(group, Resources(pids=Pids(max=MAX))) == {"pids.max": "max"}
    with somebody_in(group.directory):
        stats, errors = group.stats()
    assert errors == []
    assert stats is not None
    assert stats.set_fields() == {"current": 1, "peak": 1, "max": MAX, "events_max": 0}


# -- io


@pytest.fixture
def disk(host: Host) -> BlockDevice:
    for device in host.facts.block_devices:
        if device.part_of is None and device.scheduler and not device.name.startswith("loop"):
            return device
    pytest.skip("needs a disk")


@of("io")
def test_rates_of_the_real_disk(group: RealGroup, disk: BlockDevice) -> None:
    number = disk.number
    rates = IoDevice(device=number, rbps=MIB, wbps=2 * MIB, riops=100, wiops=(1 << 32) - 2)
    held = back_and_forth(group, Resources(io=Io(devices=(rates,))))
    assert {held[f"blkio.throttle.{way}_device"] for way in ("read_bps", "write_bps")} == {
        f"{number} {MIB}",
        f"{number} {2 * MIB}",
    }
    lifted = IoDevice(device=number, rbps=MAX, wbps=MAX, riops=MAX, wiops=MAX)
    held = back_and_forth(group, Resources(io=Io(devices=(lifted,))))
    assert {text for file, text in held.items() if "throttle" in file} == {""}


@of("io")
def test_one_more_disk_leaves_the_others_alone(group: RealGroup, host: Host) -> None:
    one, two = [d.number for d in host.facts.block_devices if d.part_of is None][:2]
    group.hold(Resources(io=Io(devices=(IoDevice(device=one, rbps=MIB),))))
    before = group.read("blkio.throttle.read_bps_device")
    undo = group.hold(Resources(io=Io(devices=(IoDevice(device=two, rbps=2 * MIB),))))
    lines = group.read("blkio.throttle.read_bps_device").splitlines()
    assert sorted(lines) == sorted([f"{one} {MIB}", f"{two} {2 * MIB}"])
    undo()
    assert group.read("blkio.throttle.read_bps_device") == before


@of("io")
@pytest.mark.parametrize("fresh", [True, False], ids=["new", "seen"])
def test_weight_in_whatever_file_there_is(group: RealGroup, fresh: bool) -> None:
    group.fresh = fresh
    before = group.texts()
    undo = group.hold(Resources(io=Io(weight=4950)))
    bfq, other = (group.try_read(f"blkio.{kind}weight") for kind in ("bfq.", ""))
    assert {bfq, other} <= {"540", None}
    undo()
    if not fresh:
        assert group.texts() == before


@of("io")
def test_a_weight_for_a_disk_without_bfq_says_what_to_do(
    group: RealGroup, disk: BlockDevice
) -> None:
    if disk.scheduler == "bfq":
        pytest.skip("the disk's scheduler is bfq")
    request = Resources(io=Io(devices=(IoDevice(device=disk.number, weight=200),)))
    error = refused(lambda: group.hold(request))
    assert isinstance(error, CgmgrError)
    assert f"the scheduler of disk {disk.number} has no weights" in str(error)
    assert "echo bfq >" in (error.hint or "")


@of("io")
def test_a_part_is_no_disk(group: RealGroup) -> None:
    request = Resources(io=Io(devices=(IoDevice(device="4095:1", rbps=MIB),)))
    error = refused(lambda: group.hold(request))
    assert isinstance(error, RequestError)
    assert "the disks here are" in str(error)


@of("io")
def test_io_stats(group: RealGroup) -> None:
    with somebody_in(group.directory):
        stats, errors = group.stats()
    assert errors == []
    assert stats is not None


# -- freezer


@of("freezer")
def test_freezer(group: RealGroup) -> None:
    for frozen, state in ((True, "FROZEN"), (False, "THAWED")):
        (row,) = group.rows(Resources(frozen=frozen))
        group.write(row.file, row.value)
        group.fresh = False
        assert group.read("freezer.state") == state == row.value
        stats, errors = group.stats()
        assert errors == []
        assert stats is not None
        assert (stats.set_fields()["asked"], stats.set_fields()["frozen"]) == (frozen, frozen)


# -- hugetlb, on the cgroup2 side of this host


@pytest.fixture
def hugetlb(host: Host, run_token: str) -> Iterator[RealGroup]:
    hierarchy = host.holder("hugetlb")
    if hierarchy is None or hierarchy.version == 1 or not host.facts.hugepage_sizes:
        pytest.skip("hugetlb is not on cgroup2 here")
    with enabled(host, "hugetlb"), real_group(host, "hugetlb", f"{run_token}-hugetlb") as made:
        yield made


def test_hugetlb(hugetlb: RealGroup) -> None:
    limit = HugetlbLimit(size="2MB", max_bytes=5 * MIB, rsvd_max_bytes=MAX)
    hugetlb.fresh = False
    undo = hugetlb.hold(Resources(hugetlb=(limit,)))
    undo()  # a new group prints a number for no limit, and "max" after it was written
    assert parse.limit(hugetlb.read("hugetlb.2MB.max")) is MAX
    held = back_and_forth(hugetlb, Resources(hugetlb=(limit,)))
    assert held["hugetlb.2MB.max"] == str(4 * MIB)
    assert held["hugetlb.2MB.rsvd.max"] == "max"
    stats, errors = hugetlb.stats()
    assert errors == []
    assert stats is not None
    sizes = {size.size: size for size in stats.set_fields()["sizes"]}
    assert sizes["2MB"].max_bytes == 4 * MIB
    assert sizes["2MB"].usage_bytes == sizes["2MB"].events_max == 0


def test_a_huge_page_size_that_this_machine_has_not(hugetlb: RealGroup) -> None:
    error = refused(
        lambda: hugetlb.hold(Resources(hugetlb=(HugetlbLimit(size="7MB", max_bytes=0),)))
    )
    assert isinstance(error, RequestError)
    assert "the sizes here are 2MB, 1GB" in str(error)


# -- v1 hierarchies that only this test mounts


@pytest.fixture
def with_mounted(host: Host, run_token: str, request: pytest.FixtureRequest) -> Iterator[RealGroup]:
    controller = request.param
    if controller not in host.compiled:
        pytest.skip(f"this kernel has no {controller}")
    held = host.holder(controller)
    if held is not None and held.version == 1:
        pytest.skip(f"{controller} is mounted already")
    with mounted(controller, run_token) as own, real_group(own, controller, run_token) as made:
        yield made


@of("net_cls", "with_mounted")
def test_net_cls(with_mounted: RealGroup) -> None:
    held = back_and_forth(with_mounted, Resources(net_cls_classid=0x10_0001))
    assert held == {"net_cls.classid": str(0x10_0001)}
    stats, _ = with_mounted.stats()
    assert stats is not None
    assert stats.set_fields() == {"classid": 0x10_0001}


@of("net_prio", "with_mounted")
def test_net_prio(with_mounted: RealGroup) -> None:
    held = back_and_forth(with_mounted, Resources(net_prio=(NetPrio(interface="lo", priority=7),)))
    assert "lo 7" in (held["net_prio.ifpriomap"] or "").splitlines()
    stats, _ = with_mounted.stats()
    assert stats is not None
    assert stats.set_fields()["priorities"]["lo"] == 7


@of("net_prio", "with_mounted")
def test_an_interface_that_is_not_there(with_mounted: RealGroup) -> None:
    request = Resources(net_prio=(NetPrio(interface="nowhere0", priority=7),))
    error = refused(lambda: with_mounted.hold(request))
    assert isinstance(error, RequestError)
    assert "the interfaces here are" in str(error)


@of("perf_event", "with_mounted")
def test_perf_event_is_membership(with_mounted: RealGroup) -> None:
    with_mounted.hold(Resources(perf_event=True))
    with somebody_in(with_mounted.directory) as pid:
        assert with_mounted.read("cgroup.procs") == str(pid)


def test_where_a_controller_is_missing_the_error_has_the_fix(host: Host) -> None:
    for controller in ("net_cls", "rdma", "misc"):
        if host.holder(controller) is None:
            with pytest.raises((ControllerUnavailable, HostError)) as caught:
                host.need(controller)
            assert controller in str(caught.value)
