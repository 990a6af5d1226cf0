"""docker's flags: its grammar and its limits, ours beside them, and the way back."""

from typing import Any

import pytest
from hypothesis import given

from cgmgr.errors import RequestError
from cgmgr.resources import (
    Cpuset,
    HugetlbLimit,
    Io,
    IoDevice,
    MiscLimit,
    NetPrio,
    Pids,
    Raw,
    RdmaLimit,
    Resources,
)
from cgmgr.resources.devices import DEFAULT_RULES, parse_rule
from cgmgr.resources.docker import (
    FLAGS,
    LISTS,
    from_docker,
    to_arguments,
    to_docker,
    unexpressed,
)
from cgmgr.resources.merge import settings
from cgmgr.units import GIB, MAX, MIB

from .requests import cpu, disks, memory, resources
from .test_devices import resolve

M64 = 64 * MIB


#: flags, what they mean for a new container
MEANING: list[tuple[dict[str, Any], Resources]] = [
    ({"memory": "64m"}, memory(max_bytes=M64, swap_bytes=M64)),
    ({"memory": "64MiB", "memory_swap": "64m"}, memory(max_bytes=M64, swap_bytes=0)),
    ({"memory": "64m", "memory_swap": "1 gb"}, memory(max_bytes=M64, swap_bytes=GIB - M64)),
    ({"memory": "64m", "memory_swap": "-1"}, memory(max_bytes=M64, swap_bytes=MAX)),
    ({"memory": "64m", "memory_swap": "0"}, memory(max_bytes=M64, swap_bytes=M64)),
    ({"memory": "64m", "swap": "0"}, memory(max_bytes=M64, swap_bytes=0)),
    ({"memory": "64m", "swap": "16m"}, memory(max_bytes=M64, swap_bytes=16 * MIB)),
    ({"memory": "64m", "swap": "max"}, memory(max_bytes=M64, swap_bytes=MAX)),
    ({"swap": "0"}, memory(swap_bytes=0)),
    ({"memory_swap": "-1"}, memory(swap_bytes=MAX)),
    ({"memory": "6m"}, memory(max_bytes=6 * MIB, swap_bytes=6 * MIB)),
    (
        {"memory": "64m", "memory_reservation": "32m"},
        memory(max_bytes=M64, swap_bytes=M64, soft_limit_bytes=32 * MIB),
    ),
    ({"memory_reservation": "1g"}, memory(soft_limit_bytes=GIB)),
    ({"memory_swappiness": 0}, memory(swappiness=0)),
    ({"memory_swappiness": "100"}, memory(swappiness=100)),
    ({"oom_kill_disable": True}, memory(oom_kill_disable=True)),
    ({"kernel_memory": "0"}, Resources()),
    ({"cpus": "1.5"}, cpu(quota_us=150_000, period_us=100_000)),
    ({"cpus": "3/2"}, cpu(quota_us=150_000, period_us=100_000)),
    ({"cpus": 0.5}, cpu(quota_us=50_000, period_us=100_000)),
    ({"cpus": "0.01"}, cpu(quota_us=1_000, period_us=100_000)),
    ({"cpus": "0", "cpu_quota": 5_000}, cpu(quota_us=5_000)),
    ({"cpus": "1", "cpu_quota": 0, "cpu_period": "0"}, cpu(quota_us=100_000, period_us=100_000)),
    ({"cpu_shares": 1_024}, cpu(weight=100)),
    ({"cpu_shares": "512"}, cpu(weight=59, shares=512)),
    ({"cpu_quota": -1}, cpu(quota_us=MAX)),
    ({"cpu_quota": "50000", "cpu_period": 20_000}, cpu(quota_us=50_000, period_us=20_000)),
    (
        {"cpu_rt_runtime": 950_000, "cpu_rt_period": 10**6},
        cpu(rt_runtime_us=950_000, rt_period_us=10**6),
    ),
    ({"cpuset_cpus": "0-3,7"}, Resources(cpuset=Cpuset(cpus=(0, 1, 2, 3, 7)))),
    ({"cpuset_mems": "0"}, Resources(cpuset=Cpuset(mems=(0,)))),
    ({"pids_limit": 100}, Resources(pids=Pids(max=100))),
    ({"pids_limit": "-1"}, Resources(pids=Pids(max=MAX))),
    ({"blkio_weight": 500}, Resources(io=Io(weight=4_500))),
    ({"blkio_weight_device": ["/dev/sda:200"]}, disks(IoDevice(device="8:0", weight=1_200))),
    ({"blkio_weight_device": "/dev/sda:0"}, Resources()),
    ({"device_read_bps": ["/dev/sda:1mb"]}, disks(IoDevice(device="8:0", rbps=MIB))),
    (
        {"device_write_bps": ["/dev/sda:1mb"], "device_read_iops": ["/dev/sda:1000"]},
        disks(IoDevice(device="8:0", wbps=MIB, riops=1_000)),
    ),
    ({"device_write_iops": "/dev/disk/by-path/pci-0:1:5"}, disks(IoDevice(device="8:1", wiops=5))),
    ({"device_read_bps": ["/dev/block/259:3:1k"]}, disks(IoDevice(device="259:3", rbps=1_024))),
    ({"device_read_bps": ["/dev/sda:0"]}, Resources()),
    (
        {"device_cgroup_rule": ["c 1:3 mr", "b 8:* rwm"]},
        Resources(devices=(*DEFAULT_RULES, parse_rule("c 1:3 rm"), parse_rule("b 8:* rwm"))),
    ),
    (
        {"cgroup_conf": ["memory.high=1073741824", "io.max=8:0 rbps=1 wbps=2"]},
        Resources(
            unified=(
                Raw(file="memory.high", value="1073741824"),
                Raw(file="io.max", value="8:0 rbps=1 wbps=2"),
            )
        ),
    ),
    ({"net_classid": "10:1"}, Resources(net_cls_classid=0x100001)),
    (
        {"net_prio": ["eth0=5", "lo=0"]},
        Resources(
            net_prio=(NetPrio(interface="eth0", priority=5), NetPrio(interface="lo", priority=0))
        ),
    ),
    (
        {"hugetlb": ["2MB=64M"]},
        Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=M64, rsvd_max_bytes=M64),)),
    ),
    (
        {"rdma": ["mlx4_0=hca_handle:2,hca_object:2000"]},
        Resources(rdma=(RdmaLimit(device="mlx4_0", hca_handle=2, hca_object=2_000),)),
    ),
    ({"misc": ["sev=3"]}, Resources(misc=(MiscLimit(key="sev", max=3),))),
]


@pytest.mark.parametrize(("flags", "meaning"), MEANING, ids=[str(flags) for flags, _ in MEANING])
def test_flags(flags: dict[str, Any], meaning: Resources) -> None:
    assert from_docker(resolve=resolve, **flags) == meaning


def test_every_flag_is_tried() -> None:
    assert {flag for flags, _ in MEANING for flag in flags} == set(FLAGS)


@pytest.mark.parametrize("flag", sorted(set(FLAGS) - {"swap", "net_classid", "memory_swappiness"}))
@pytest.mark.parametrize("value", [None, "", False], ids=["none", "empty", "false"])
def test_what_is_not_given_says_nothing(flag: str, value: Any) -> None:
    assert from_docker(**{flag: value}) == Resources()


#: for these 0 is a number like others, or none at all
ZERO_COUNTS = {
    *("swap", "net_classid", "memory_swappiness", "oom_kill_disable", "cpuset_cpus", "cpuset_mems"),
    *LISTS,
}


@pytest.mark.parametrize("flag", sorted(set(FLAGS) - ZERO_COUNTS))
@pytest.mark.parametrize("value", [0, "0", "00"])
def test_0_is_not_given_either(flag: str, value: Any) -> None:
    assert from_docker(**{flag: value}) == Resources()


@pytest.mark.parametrize("flag", LISTS)
@pytest.mark.parametrize("empty", [[], ()], ids=["list", "tuple"])
def test_empty_lists_say_nothing(flag: str, empty: Any) -> None:
    assert from_docker(**{flag: empty}) == Resources()


def test_swappiness_of_minus_1_is_docker_s_not_given() -> None:
    assert from_docker(memory_swappiness=-1) == Resources()
    assert from_docker(memory_swappiness="-1") == Resources()


def test_an_update_leaves_swap_alone() -> None:
    assert from_docker(fresh=False, memory="64m") == memory(max_bytes=M64)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"memory": "12Q"}, "invalid --memory '12Q': write a size such as 512m"),
    ({"memory": "100"}, "invalid --memory '100': the least is 6M"),
    ({"memory": "6291455"}, "the least is 6M"),
    ({"memory": "-1"}, "invalid --memory '-1'"),
    ({"memory": "max"}, "invalid --memory 'max'"),
    ({"memory_swap": "1g"}, "--memory-swap '1g': it is memory and swap together, so give --memory"),
    ({"memory": "64m", "memory_swap": "32m"}, "and less than --memory"),
    ({"memory": "64m", "memory_swap": "-2"}, "invalid --memory-swap '-2'"),
    ({"memory": "64m", "swap": "0", "memory_swap": "-1"}, "--swap and --memory-swap exclude"),
    ({"swap": "-1"}, "invalid --swap '-1'"),
    ({"memory_reservation": "5m"}, "invalid --memory-reservation '5m': the least is 6M"),
    ({"memory": "64m", "memory_reservation": "65m"}, "--memory-reservation '65m': over --memory"),
    ({"memory_swappiness": 101}, "invalid --memory-swappiness '101'"),
    ({"memory_swappiness": "-2"}, "invalid --memory-swappiness '-2'"),
    ({"kernel_memory": "64m"}, "--kernel-memory is refused"),
    ({"cpus": "-1"}, "invalid --cpus '-1': write a number of CPUs"),
    ({"cpus": "0.009"}, "invalid --cpus '0.009': the least is 0.01"),
    ({"cpus": "1/3"}, "too precise"),
    ({"cpus": "1", "cpu_quota": 5_000}, "--cpus and --cpu-quota exclude each other"),
    ({"cpus": "1", "cpu_quota": -1}, "--cpus and --cpu-quota exclude each other"),
    ({"cpus": "1", "cpu_period": "5000"}, "--cpus and --cpu-period exclude each other"),
    ({"cpu_quota": 999}, "invalid --cpu-quota '999'"),
    ({"cpu_quota": -2}, "invalid --cpu-quota '-2'"),
    ({"cpu_period": 999}, "invalid --cpu-period '999'"),
    ({"cpu_period": 1_000_001}, "invalid --cpu-period '1000001'"),
    ({"cpu_shares": 1}, "invalid --cpu-shares '1'"),
    ({"cpu_shares": -1}, "invalid --cpu-shares '-1'"),
    ({"cpu_shares": 262_145}, "invalid --cpu-shares '262145'"),
    (
        {"cpu_rt_runtime": 2, "cpu_rt_period": 1},
        "--cpu-rt-runtime is 2, and must be no more than --cpu-rt-period, 1",
    ),
    ({"cpuset_cpus": "3-1"}, "invalid --cpuset-cpus '3-1'"),
    ({"cpuset_cpus": "0-99999"}, "invalid --cpuset-cpus '0-99999'"),
    ({"cpuset_mems": "x"}, "invalid --cpuset-mems 'x'"),
    ({"pids_limit": "-2"}, "invalid --pids-limit '-2'"),
    (
        {"pids_limit": 1 << 23},
        "invalid --pids-limit '8388608': write a whole number from 1 to 4194304",
    ),
    ({"pids_limit": "many"}, "invalid --pids-limit 'many'"),
    ({"blkio_weight": 9}, "invalid --blkio-weight '9'"),
    ({"blkio_weight": 1_001}, "invalid --blkio-weight '1001'"),
    ({"blkio_weight_device": ["/dev/sda:5"]}, "invalid --blkio-weight-device '5'"),
    ({"blkio_weight_device": ["/dev/sda"]}, "--blkio-weight-device '/dev/sda': write /dev/NAME:"),
    ({"device_read_bps": ["sda:1mb"]}, "write /dev/NAME:NUMBER"),
    ({"device_read_bps": ["8:0:1mb"]}, "write /dev/NAME:NUMBER"),
    ({"device_read_bps": ["/dev/sda:-1"]}, "invalid --device-read-bps '-1'"),
    ({"device_read_bps": ["/dev/sda:"]}, "invalid --device-read-bps ''"),
    ({"device_read_bps": ["/dev/nope:1"]}, "no device /dev/nope"),
    ({"device_read_bps": ["/dev/null:1"]}, "that is a character device, and a disk is needed"),
    ({"device_read_bps": ["/dev/sda:1", "/dev/sda:2"]}, "that disk is named twice"),
    ({"device_read_iops": ["/dev/sda:1k"]}, "invalid --device-read-iops '1k'"),
    ({"device_cgroup_rule": ["c 1:3"]}, "invalid --device-cgroup-rule 'c 1:3'"),
    ({"cgroup_conf": ["memory.high"]}, "invalid --cgroup-conf 'memory.high'"),
    ({"cgroup_conf": ["../x=1"]}, "--cgroup-conf: cgroup file is '../x'"),
    ({"net_classid": "x"}, "invalid --net-classid 'x'"),
    ({"net_prio": ["eth0"]}, "invalid --net-prio 'eth0': write KEY=VALUE"),
    ({"hugetlb": ["../=1"]}, "invalid --hugetlb '../'"),
    ({"rdma": ["mlx4_0=1"]}, "invalid --rdma of mlx4_0 '1'"),
    ({"misc": ["sev=x"]}, "invalid --misc of sev 'x'"),
    ({"memmory": "64m"}, "unknown flag --memmory"),
]


@pytest.mark.parametrize(("flags", "complaint"), REFUSED, ids=[str(flags) for flags, _ in REFUSED])
def test_refused(flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError) as caught:
        from_docker(resolve=resolve, **flags)

    assert complaint in str(caught.value)


# -- back


@given(resources)
def test_what_has_a_flag_comes_back(request: Resources) -> None:
    flags: dict[str, Any] = dict(to_docker(request))
    back = from_docker(fresh=False, **flags)
    asked = settings(request)

    assert settings(back) == {
        name: value for name, value in asked.items() if name not in unexpressed(request)
    }


#: what docker has no word for, whatever the value
NO_FLAG = {
    "cpu.burst_us",
    "cpu.idle",
    "cpuset.partition",
    "memory.high_bytes",
    "memory.low_bytes",
    "memory.min_bytes",
    "memory.oom_group",
    "frozen",
    "perf_event",
    "devices",
    "latency_us",
}


@given(resources)
def test_what_has_none_is_known(request: Resources) -> None:
    """MAX has a flag for swap, quota and tasks alone, and docker has limits of its own."""
    values = settings(request)
    for name in unexpressed(request):
        field, value = name.rpartition(".")[2], values[name]
        assert (
            name in NO_FLAG
            or field in NO_FLAG
            or value is MAX
            or value in (0, False, "")
            or (name in ("memory.max_bytes", "memory.soft_limit_bytes"))
            or (name == "memory.swappiness" and value > 100)
            or (field == "weight" and name.startswith("io."))
            or name.startswith("hugetlb.")
        ), (name, value)


def test_arguments() -> None:
    request = from_docker(
        resolve=resolve,
        memory="64m",
        memory_swap="-1",
        cpus="0.5",
        device_read_bps=["/dev/sda:1mb"],
        net_prio=["eth0=5", "lo=1"],
    )

    assert to_arguments(request) == [
        "--cpu-quota=50000",
        "--cpu-period=100000",
        "--memory=64M",
        "--memory-swap=-1",
        "--device-read-bps=/dev/block/8:0:1048576",
        "--net-prio=eth0=5",
        "--net-prio=lo=1",
    ]


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (memory(max_bytes=MAX), ("memory.max_bytes",)),
        (memory(max_bytes=MIB), ("memory.max_bytes",)),
        (memory(high_bytes=GIB, max_bytes=GIB), ("memory.high_bytes",)),
        (cpu(idle=True), ("cpu.idle",)),
        (Resources(io=Io(weight=105)), ("io.weight",)),
        (Resources(io=Io(weight=5)), ("io.weight",)),
        (Resources(devices=DEFAULT_RULES), ("devices",)),
        (Resources(devices=()), ("devices",)),
        (cpu(weight=59), ()),
        (memory(swap_bytes=0), ()),
    ],
)
def test_unexpressed(request_: Resources, names: tuple[str, ...]) -> None:
    assert unexpressed(request_) == names
