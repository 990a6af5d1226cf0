"""A group's files, read back as Resources; texts as kernels 4.19 to 6.18 print them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import RequestError
from cgmgr.resources import (
    Cpu,
    Cpuset,
    DeviceRule,
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
from cgmgr.resources.files import V1, V2, from_files
from cgmgr.units import GIB, MAX

V1_NO_LIMIT = "9223372036854771712\n"
V1_NO_LIMIT_64K_PAGES = "9223372036854710272\n"
V1_NO_LIMIT_1GB_PAGES = "9223372035781033984\n"

#: version, file, text, meaning
TEXTS: list[tuple[int, str, str, Resources]] = [
    (2, "cpu.weight", "100\n", Resources(cpu=Cpu(weight=100))),
    (2, "cpu.weight", "0\n", Resources()),
    (2, "cpu.idle", "1\n", Resources(cpu=Cpu(idle=True))),
    (2, "cpu.max", "max 100000\n", Resources(cpu=Cpu(quota_us=MAX, period_us=100_000))),
    (2, "cpu.max", "50000 20000\n", Resources(cpu=Cpu(quota_us=50_000, period_us=20_000))),
    (2, "cpu.max", "50000", Resources(cpu=Cpu(quota_us=50_000))),
    (2, "cpu.max.burst", "0\n", Resources(cpu=Cpu(burst_us=0))),
    (2, "cpuset.cpus", "0-1,3\n", Resources(cpuset=Cpuset(cpus=(0, 1, 3)))),
    (2, "cpuset.cpus", "\n", Resources()),
    (2, "cpuset.mems", "0\n", Resources(cpuset=Cpuset(mems=(0,)))),
    (2, "cpuset.cpus.partition", "member\n", Resources(cpuset=Cpuset(partition="member"))),
    (
        2,
        "cpuset.cpus.partition",
        "root invalid (Cpu list in cpuset.cpus not exclusive)\n",
        Resources(cpuset=Cpuset(partition="root")),
    ),
    (2, "memory.max", "max\n", Resources(memory=Memory(max_bytes=MAX))),
    (2, "memory.high", "1073741824\n", Resources(memory=Memory(high_bytes=GIB))),
    (2, "memory.high", "1G", Resources(memory=Memory(high_bytes=GIB))),
    (2, "memory.low", "0\n", Resources(memory=Memory(low_bytes=0))),
    (2, "memory.min", "4096\n", Resources(memory=Memory(min_bytes=4_096))),
    (2, "memory.swap.max", "0\n", Resources(memory=Memory(swap_bytes=0))),
    (2, "memory.oom.group", "1\n", Resources(memory=Memory(oom_group=True))),
    (2, "pids.max", "max\n", Resources(pids=Pids(max=MAX))),
    (2, "io.weight", "default 100\n", Resources(io=Io(weight=100))),
    (
        2,
        "io.weight",
        "default 100\n8:0 200\n",
        Resources(io=Io(weight=100, devices=(IoDevice(device="8:0", weight=200),))),
    ),
    (2, "io.bfq.weight", "200\n", Resources(io=Io(weight=1_200))),
    (2, "io.bfq.weight", "default 200\n", Resources(io=Io(weight=1_200))),
    (
        2,
        "io.max",
        "8:16 rbps=2097152 wbps=max riops=max wiops=120\n",
        Resources(
            io=Io(
                devices=(IoDevice(device="8:16", rbps=2_097_152, wbps=MAX, riops=MAX, wiops=120),)
            )
        ),
    ),
    (2, "io.max", "", Resources()),
    (2, "io.max", "8:0\n", Resources()),
    (
        2,
        "io.latency",
        "8:0 target=10000\n",
        Resources(io=Io(devices=(IoDevice(device="8:0", latency_us=10_000),))),
    ),
    (
        2,
        "hugetlb.2MB.max",
        "max\n",
        Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=MAX),)),
    ),
    (
        2,
        "hugetlb.1GB.rsvd.max",
        "1073741824\n",
        Resources(hugetlb=(HugetlbLimit(size="1GB", rsvd_max_bytes=GIB),)),
    ),
    (
        2,
        "rdma.max",
        "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n",
        Resources(
            rdma=(
                RdmaLimit(device="mlx4_0", hca_handle=2, hca_object=2_000),
                RdmaLimit(device="ocrdma1", hca_handle=3, hca_object=MAX),
            )
        ),
    ),
    (
        2,
        "misc.max",
        "res_a max\nres_b 4\n",
        Resources(misc=(MiscLimit(key="res_a", max=MAX), MiscLimit(key="res_b", max=4))),
    ),
    (2, "cgroup.freeze", "1\n", Resources(frozen=True)),
    (2, "cgroup.freeze", "0\n", Resources(frozen=False)),
    (1, "cpu.shares", "1024\n", Resources(cpu=Cpu(weight=100))),
    (1, "cpu.shares", "512\n", Resources(cpu=Cpu(weight=59, shares=512))),
    (1, "cpu.cfs_quota_us", "-1\n", Resources(cpu=Cpu(quota_us=MAX))),
    (1, "cpu.cfs_quota_us", "50000\n", Resources(cpu=Cpu(quota_us=50_000))),
    (1, "cpu.cfs_period_us", "100000\n", Resources(cpu=Cpu(period_us=100_000))),
    (1, "cpu.cfs_burst_us", "0\n", Resources(cpu=Cpu(burst_us=0))),
    (1, "cpu.rt_runtime_us", "950000\n", Resources(cpu=Cpu(rt_runtime_us=950_000))),
    (1, "cpu.rt_runtime_us", "-1\n", Resources(cpu=Cpu(rt_runtime_us=MAX))),
    (1, "cpu.rt_period_us", "1000000\n", Resources(cpu=Cpu(rt_period_us=1_000_000))),
    (1, "memory.limit_in_bytes", "67108864\n", Resources(memory=Memory(max_bytes=64 << 20))),
    (1, "memory.limit_in_bytes", V1_NO_LIMIT, Resources(memory=Memory(max_bytes=MAX))),
    (1, "memory.limit_in_bytes", V1_NO_LIMIT_64K_PAGES, Resources(memory=Memory(max_bytes=MAX))),
    (
        1,
        "memory.soft_limit_in_bytes",
        V1_NO_LIMIT,
        Resources(memory=Memory(soft_limit_bytes=MAX)),
    ),
    (1, "memory.swappiness", "60\n", Resources(memory=Memory(swappiness=60))),
    (
        1,
        "memory.oom_control",
        "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n",
        Resources(memory=Memory(oom_kill_disable=True)),
    ),
    (1, "blkio.weight", "500\n", Resources(io=Io(weight=4_500))),
    (1, "blkio.bfq.weight", "100\n", Resources(io=Io(weight=100))),
    (
        1,
        "blkio.weight_device",
        "8:0\t200\n",
        Resources(io=Io(devices=(IoDevice(device="8:0", weight=1_200),))),
    ),
    (
        1,
        "blkio.bfq.weight_device",
        "default 118\n8:0 200\n",
        Resources(io=Io(weight=298, devices=(IoDevice(device="8:0", weight=1_200),))),
    ),
    (1, "blkio.bfq.weight_device", "default 100\n", Resources(io=Io(weight=100))),
    (
        1,
        "blkio.throttle.read_bps_device",
        "8:0 1048576\n8:16 2\n",
        Resources(
            io=Io(devices=(IoDevice(device="8:0", rbps=1 << 20), IoDevice(device="8:16", rbps=2)))
        ),
    ),
    (
        1,
        "blkio.throttle.write_bps_device",
        "8:0 5\n",
        Resources(io=Io(devices=(IoDevice(device="8:0", wbps=5),))),
    ),
    (
        1,
        "blkio.throttle.read_iops_device",
        "8:0 5\n",
        Resources(io=Io(devices=(IoDevice(device="8:0", riops=5),))),
    ),
    (
        1,
        "blkio.throttle.write_iops_device",
        "8:0 5\n",
        Resources(io=Io(devices=(IoDevice(device="8:0", wiops=5),))),
    ),
    (1, "pids.max", "100\n", Resources(pids=Pids(max=100))),
    (1, "devices.list", "a *:* rwm\n", Resources(devices=(DeviceRule(kind="a"),))),
    (
        1,
        "devices.list",
        "c 1:3 rwm\nb 8:* r\n",
        Resources(
            devices=(
                DeviceRule(kind="c", major=1, minor=3),
                DeviceRule(kind="b", major=8, access="r"),
            )
        ),
    ),
    (1, "devices.list", "", Resources(devices=())),
    (1, "freezer.state", "THAWED\n", Resources(frozen=False)),
    (1, "freezer.state", "FROZEN\n", Resources(frozen=True)),
    (1, "freezer.state", "FREEZING\n", Resources(frozen=True)),
    (1, "net_cls.classid", "1048577\n", Resources(net_cls_classid=0x100001)),
    (1, "net_cls.classid", "0\n", Resources()),
    (
        1,
        "net_prio.ifpriomap",
        "lo 0\neth0 5\n",
        Resources(net_prio=(NetPrio(interface="eth0", priority=5),)),
    ),
    (
        1,
        "hugetlb.1GB.limit_in_bytes",
        V1_NO_LIMIT_1GB_PAGES,
        Resources(hugetlb=(HugetlbLimit(size="1GB", max_bytes=MAX),)),
    ),
    (
        1,
        "hugetlb.2MB.rsvd.limit_in_bytes",
        "2097152\n",
        Resources(hugetlb=(HugetlbLimit(size="2MB", rsvd_max_bytes=2 << 20),)),
    ),
]


@pytest.mark.parametrize(
    ("version", "file", "text", "meaning"), TEXTS, ids=[f"{v}-{f}={t!r}" for v, f, t, _ in TEXTS]
)
def test_texts(version: int, file: str, text: str, meaning: Resources) -> None:
    assert from_files(version, {file: text}) == meaning


def test_every_file_is_tried() -> None:
    tried = {(version, file) for version, file, *_ in TEXTS}
    both = {"cpu.idle", "cpuset.cpus", "cpuset.mems", "pids.max", "rdma.max", "misc.max"}
    bfq = {"blkio.bfq.weight_device"}  # one function with blkio.weight_device

    assert set(V2) - {file for _, file in tried} == set()
    assert set(V1) - {file for _, file in tried} - both - bfq == set()


#: limit, memory and swap together, swap alone
SWAPS = [
    (V1_NO_LIMIT, V1_NO_LIMIT, MAX),
    ("100", V1_NO_LIMIT, MAX),
    ("100", "100", 0),
    ("100", "300", 200),
    (V1_NO_LIMIT, "300", 300),
]


@pytest.mark.parametrize(("limit", "together", "swap"), SWAPS)
@pytest.mark.parametrize("turned", [False, True], ids=["limit-first", "memsw-first"])
def test_memory_and_swap_together_become_swap(
    limit: str, together: str, swap: object, turned: bool
) -> None:
    files = {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": together}
    if turned:
        files = dict(reversed(files.items()))

    assert from_files(1, files).memory.swap_bytes == swap


def test_memory_and_swap_together_alone_says_nothing() -> None:
    assert from_files(1, {"memory.memsw.limit_in_bytes": "5"}) == Resources()


@pytest.mark.parametrize(
    "file", ["memory.current", "cgroup.procs", "hugetlb.2MB.current", "hugetlb.x", "tasks", "", "."]
)
@pytest.mark.parametrize("version", [1, 2])
def test_files_that_hold_no_setting_are_passed_over(version: int, file: str) -> None:
    assert from_files(version, {file: "whatever"}) == Resources()


def test_each_version_knows_its_own_files_only() -> None:
    assert from_files(1, {"memory.max": "5"}) == Resources()
    assert from_files(2, {"memory.limit_in_bytes": "5"}) == Resources()


@pytest.mark.parametrize(
    ("version", "file", "text"),
    [
        (2, "cpu.max", ""),
        (2, "cpu.max", "a b"),
        (2, "cpu.weight", "many"),
        (2, "cpuset.cpus.partition", ""),
        (2, "memory.max", "lots"),
        (2, "io.max", "8:0 rbps"),
        (2, "io.max", "8:0 shine=5"),
        (2, "io.latency", "8:0 goal=5"),
        (2, "io.weight", "default"),
        (2, "misc.max", "sev"),
        (1, "memory.oom_control", "under_oom 0"),
        (1, "devices.list", "nonsense"),
        (1, "net_prio.ifpriomap", "lo"),
        (1, "cpu.shares", "1"),
        (2, "pids.max", "9" * 5_000),
    ],
)
def test_texts_that_no_kernel_writes(version: int, file: str, text: str) -> None:
    with pytest.raises(RequestError):
        from_files(version, {file: text})


@given(st.sampled_from(sorted(V2)), st.text())
def test_no_v2_text_raises_anything_else(file: str, text: str) -> None:
    try:
        from_files(2, {file: text})
    except RequestError as error:
        assert str(error)


@given(st.sampled_from(sorted(V1)), st.text())
def test_no_v1_text_raises_anything_else(file: str, text: str) -> None:
    try:
        from_files(1, {file: text})
    except RequestError as error:
        assert str(error)
