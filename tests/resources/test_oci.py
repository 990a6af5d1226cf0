"""`linux.resources`: every field, its path in every complaint, and the way back."""

from typing import Any

import pytest
from hypothesis import given

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
    Raw,
    RdmaLimit,
    Resources,
)
from cgmgr.resources.devices import parse_rule
from cgmgr.resources.merge import settings
from cgmgr.resources.oci import check_before_update, from_oci, to_oci, unexpressed
from cgmgr.units import MAX, MAX_U64, MIB

from .requests import resources

#: the examples of config-linux.md in one document, with what they mean
SPECIFICATION: dict[str, Any] = {
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"},
    ],
    "memory": {
        "limit": 536870912,
        "reservation": 536870912,
        "swap": 536870912,
        "kernel": -1,
        "kernelTCP": -1,
        "swappiness": 0,
        "disableOOMKiller": False,
    },
    "cpu": {
        "shares": 1024,
        "quota": 1000000,
        "burst": 1000000,
        "period": 500000,
        "realtimeRuntime": 950000,
        "realtimePeriod": 1000000,
        "cpus": "2-3",
        "mems": "0-7",
        "idle": 0,
    },
    "blockIO": {
        "weight": 10,
        "weightDevice": [
            {"major": 8, "minor": 0, "weight": 500},
            {"major": 8, "minor": 16, "weight": 500},
        ],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}],
    },
    "hugepageLimits": [
        {"pageSize": "2MB", "limit": 209715200},
        {"pageSize": "64KB", "limit": 1000000},
    ],
    "network": {
        "classID": 1048577,
        "priorities": [{"name": "eth0", "priority": 500}, {"name": "eth1", "priority": 1000}],
    },
    "pids": {"limit": 32771},
    "rdma": {
        "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000},
        "mlx4_0": {"hcaObjects": 1000},
    },
    "unified": {
        "io.max": "259:0 rbps=2097152 wiops=120\n253:0 rbps=2097152 wiops=120",
        "hugetlb.1GB.max": "1073741824",
    },
}


def test_the_examples_of_the_specification() -> None:
    request = from_oci(SPECIFICATION)

    assert request.devices == (parse_rule("c 10:229 rw"), parse_rule("b 8:0 r"))
    assert request.memory == Memory(
        max_bytes=512 * MIB,
        swap_bytes=0,
        soft_limit_bytes=512 * MIB,
        swappiness=0,
        oom_kill_disable=False,
    )
    assert request.cpu == Cpu(
        weight=100,
        quota_us=1_000_000,
        burst_us=1_000_000,
        period_us=500_000,
        rt_runtime_us=950_000,
        rt_period_us=1_000_000,
        idle=False,
    )
    assert request.cpuset == Cpuset(cpus=(2, 3), mems=tuple(range(8)))
    assert request.io == Io(
        weight=10,
        devices=(
            IoDevice(device="8:0", weight=4_500, rbps=600),
            IoDevice(device="8:16", weight=4_500, wiops=300),
        ),
    )
    assert request.hugetlb == (
        HugetlbLimit(size="1GB", max_bytes=1 << 30),
        HugetlbLimit(size="2MB", max_bytes=209_715_200, rsvd_max_bytes=209_715_200),
        HugetlbLimit(size="64KB", max_bytes=1_000_000, rsvd_max_bytes=1_000_000),
    )
    assert request.net_cls_classid == 1_048_577
    assert request.net_prio == (
        NetPrio(interface="eth0", priority=500),
        NetPrio(interface="eth1", priority=1_000),
    )
    assert request.pids == Pids(max=32_771)
    assert request.rdma == (
        RdmaLimit(device="mlx4_0", hca_object=1_000),
        RdmaLimit(device="mlx5_1", hca_handle=3, hca_object=10_000),
    )
    assert [raw.file for raw in request.unified] == ["io.max"]


def test_the_example_comes_back_but_for_what_says_nothing() -> None:
    back = to_oci(from_oci(SPECIFICATION))
    asked = {**SPECIFICATION, "memory": {**SPECIFICATION["memory"]}}
    del asked["memory"]["kernel"], asked["memory"]["kernelTCP"]

    assert back == asked


def memory(**fields: Any) -> Resources:
    return Resources(memory=Memory(**fields))


def cpu(**fields: Any) -> Resources:
    return Resources(cpu=Cpu(**fields))


DENY_ALL = {"allow": False, "access": "rwm"}

MEANING: dict[str, tuple[dict[str, Any], Resources]] = {
    "nothing": ({}, Resources()),
    "nulls": ({"memory": None, "pids": None, "devices": None, "unified": None}, Resources()),
    "null-fields": (
        {"memory": {"limit": None}, "cpu": {"cpus": None}, "unified": {"memory.max": None}},
        Resources(),
    ),
    "unknown": ({"dmem": {"x": 1}, "memory": {"shiny": []}, "cpu": {"x": "y"}}, Resources()),
    "zeros": (
        {
            "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "kernelTCP": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}
            | {"realtimeRuntime": 0, "realtimePeriod": 0},
            "blockIO": {"weight": 0, "leafWeight": 0}
            | {"weightDevice": [{"major": 8, "minor": 0, "weight": 0}]},
        },
        Resources(),
    ),
    "memory-lifted": ({"memory": {"limit": -1}}, memory(max_bytes=MAX, swap_bytes=MAX)),
    "memory-alone": ({"memory": {"limit": 100}}, memory(max_bytes=100)),
    "swap-lifted": ({"memory": {"limit": 100, "swap": -1}}, memory(max_bytes=100, swap_bytes=MAX)),
    "swap-is-the-rest": (
        {"memory": {"limit": 100, "swap": 300}},
        memory(max_bytes=100, swap_bytes=200),
    ),
    "no-swap": ({"memory": {"limit": 100, "swap": 100}}, memory(max_bytes=100, swap_bytes=0)),
    "hierarchy": ({"memory": {"useHierarchy": True, "checkBeforeUpdate": True}}, Resources()),
    "shares": ({"cpu": {"shares": 512}}, cpu(weight=59, shares=512)),
    "shares-below": ({"cpu": {"shares": 1}}, cpu(weight=1)),
    "shares-above": ({"cpu": {"shares": 1 << 40}}, cpu(weight=10_000)),
    "quota-lifted": ({"cpu": {"quota": -1}}, cpu(quota_us=MAX)),
    "idle": ({"cpu": {"idle": 1}}, cpu(idle=True)),
    "no-burst": ({"cpu": {"burst": 0}}, cpu(burst_us=0)),
    "rt-lifted": ({"cpu": {"realtimeRuntime": -1}}, cpu(rt_runtime_us=MAX)),
    "pids-lifted": ({"pids": {"limit": -1}}, Resources(pids=Pids(max=MAX))),
    "pids-0-is-1": ({"pids": {"limit": 0}}, Resources(pids=Pids(max=1))),
    "rate-0-lifts": (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        Resources(io=Io(devices=(IoDevice(device="8:0", rbps=MAX),))),
    ),
    "rate-huge-lifts": (
        {"blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": MAX_U64}]}},
        Resources(io=Io(devices=(IoDevice(device="8:0", wbps=MAX),))),
    ),
    "hugepages-0": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
        Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=0, rsvd_max_bytes=0),)),
    ),
    "hugepages-huge": (
        {"hugepageLimits": [{"pageSize": "1GB", "limit": 1 << 63}]},
        Resources(hugetlb=(HugetlbLimit(size="1GB", max_bytes=MAX, rsvd_max_bytes=MAX),)),
    ),
    "rdma-max": (
        {"rdma": {"mlx4_0": {"hcaHandles": (1 << 32) - 1, "hcaObjects": (1 << 31) - 1}}},
        Resources(rdma=(RdmaLimit(device="mlx4_0", hca_handle=MAX, hca_object=MAX),)),
    ),
    "classid-0": ({"network": {"classID": 0}}, Resources(net_cls_classid=0)),
    "devices-empty": ({"devices": []}, Resources(devices=())),
    "devices-denied": ({"devices": [DENY_ALL]}, Resources(devices=())),
    "devices-type-a": ({"devices": [{"allow": False, "type": "a"}]}, Resources(devices=())),
    "devices-all": (
        {"devices": [DENY_ALL, {"allow": True}]},
        Resources(devices=(DeviceRule(kind="a"),)),
    ),
    "devices-wildcards": (
        {"devices": [{"allow": True, "type": "c", "major": -1, "access": "mr"}]},
        Resources(devices=(parse_rule("c *:* rm"),)),
    ),
    "devices-deny": (
        {"devices": [{"allow": True}, {"allow": False, "type": "c", "major": 1, "access": "w"}]},
        Resources(
            devices=(DeviceRule(kind="a"), DeviceRule(kind="c", major=1, access="w", allow=False))
        ),
    ),
    "unified-raw": (
        {"unified": {"memory.zswap.max": "0", "memory.max": "1G"}},
        Resources(
            unified=(Raw(file="memory.zswap.max", value="0"), Raw(file="memory.max", value="1G"))
        ),
    ),
    "unified-settings": (
        {
            "unified": {
                "memory.high": "1048576",
                "memory.low": "max",
                "memory.min": "0",
                "memory.oom.group": "1",
                "cpuset.cpus.partition": "isolated",
                "io.weight": "default 105\n8:0 5",
                "io.latency": "8:0 target=10",
                "misc.max": "sev 5\nsev_es max",
                "hugetlb.2MB.rsvd.max": "0",
            }
        },
        Resources(
            memory=Memory(high_bytes=MIB, low_bytes=MAX, min_bytes=0, oom_group=True),
            cpuset=Cpuset(partition="isolated"),
            io=Io(weight=105, devices=(IoDevice(device="8:0", weight=5, latency_us=10),)),
            misc=(MiscLimit(key="sev", max=5), MiscLimit(key="sev_es", max=MAX)),
            hugetlb=(HugetlbLimit(size="2MB", rsvd_max_bytes=0),),
        ),
    ),
    "unified-swap-over-swap": (
        {"memory": {"limit": 100, "swap": 300}, "unified": {"memory.swap.max": "0"}},
        memory(max_bytes=100, swap_bytes=0),
    ),
    "unified-in-another-spelling-stays-raw": (
        {"unified": {"memory.high": "1M", "misc.max": "b 1\na 1", "memory.low": "01"}},
        Resources(
            unified=(
                Raw(file="memory.high", value="1M"),
                Raw(file="misc.max", value="b 1\na 1"),
                Raw(file="memory.low", value="01"),
            )
        ),
    ),
}


@pytest.mark.parametrize(("document", "meaning"), MEANING.values(), ids=MEANING)
def test_meaning(document: dict[str, Any], meaning: Resources) -> None:
    assert from_oci(document) == meaning


#: document, part of the complaint
REFUSED: list[tuple[Any, str]] = [
    (None, "linux.resources is None, and must be an object"),
    ([], "linux.resources is [], and must be an object"),
    ({"memory": []}, "linux.resources.memory is [], and must be an object"),
    ({"memory": {"limit": "64m"}}, "linux.resources.memory.limit is '64m', and must be a whole"),
    ({"memory": {"limit": 1.0}}, "linux.resources.memory.limit is 1.0"),
    ({"memory": {"limit": True}}, "linux.resources.memory.limit is True"),
    ({"memory": {"limit": -2}}, "linux.resources.memory.limit is -2"),
    ({"memory": {"limit": 1 << 63}}, "linux.resources.memory.limit is"),
    ({"memory": {"swap": 5}}, "linux.resources.memory: a limit on memory and swap together needs"),
    ({"memory": {"limit": 9, "swap": 5}}, "linux.resources.memory: memory and swap together are 5"),
    ({"memory": {"kernel": 5}}, "linux.resources.memory.kernel is refused"),
    ({"memory": {"kernelTCP": 5}}, "linux.resources.memory.kernelTCP is refused"),
    ({"memory": {"useHierarchy": False}}, "linux.resources.memory.useHierarchy is refused"),
    ({"memory": {"swappiness": -1}}, "linux.resources.memory.swappiness is -1"),
    ({"memory": {"disableOOMKiller": 1}}, "linux.resources.memory.disableOOMKiller is 1"),
    ({"cpu": {"shares": -1}}, "linux.resources.cpu.shares is -1"),
    ({"cpu": {"quota": 5}}, "linux.resources.cpu: cpu.quota_us is 5, and must be"),
    ({"cpu": {"period": 5}}, "linux.resources.cpu: cpu.period_us is 5"),
    ({"cpu": {"quota": 5_000, "burst": 6_000}}, "linux.resources.cpu: cpu.burst_us is 6000"),
    ({"cpu": {"idle": 2}}, "linux.resources.cpu.idle is 2"),
    ({"cpu": {"idle": 1, "shares": 5}}, "linux.resources.cpu: cpu.idle and cpu.weight exclude"),
    ({"cpu": {"cpus": "3-1"}}, "linux.resources.cpu.cpus '3-1'"),
    ({"cpu": {"cpus": 3}}, "linux.resources.cpu.cpus is 3, and must be a string"),
    ({"pids": {"limit": "5"}}, "linux.resources.pids.limit is '5'"),
    ({"pids": {"limit": 1 << 30}}, "linux.resources.pids: pids.max is"),
    ({"blockIO": {"weight": 1_001}}, "linux.resources.blockIO.weight is 1001"),
    ({"blockIO": {"leafWeight": 10}}, "linux.resources.blockIO.leafWeight is refused"),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}},
        "linux.resources.blockIO.weightDevice[0].leafWeight is refused",
    ),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "weight": 10}]}},
        "linux.resources.blockIO.weightDevice[0] lacks minor",
    ),
    (
        {"blockIO": {"weightDevice": {}}},
        "linux.resources.blockIO.weightDevice is {}, and must be an array",
    ),
    (
        {"blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0}]}},
        "linux.resources.blockIO.throttleReadIOPSDevice[0] lacks rate",
    ),
    ({"hugepageLimits": [{"limit": 5}]}, "linux.resources.hugepageLimits[0] lacks pageSize"),
    (
        {"hugepageLimits": [{"pageSize": "../x", "limit": 5}]},
        "linux.resources.hugepageLimits[0]: huge page size is '../x'",
    ),
    ({"network": {"classID": 1 << 32}}, "linux.resources.network.classID is"),
    (
        {"network": {"priorities": [{"name": "x"}]}},
        "linux.resources.network.priorities[0] lacks priority",
    ),
    (
        {"network": {"priorities": [{"name": "a/b", "priority": 1}]}},
        "linux.resources.network.priorities[0]: interface is 'a/b'",
    ),
    ({"rdma": {"mlx4_0": {}}}, "linux.resources.rdma.mlx4_0: nothing is said of rdma device"),
    ({"rdma": {"mlx4_0": {"hcaHandles": -1}}}, "linux.resources.rdma.mlx4_0.hcaHandles is -1"),
    ({"devices": {}}, "linux.resources.devices is {}, and must be an array"),
    ({"devices": ["c"]}, "linux.resources.devices[0] is 'c', and must be an object"),
    ({"devices": [{"access": "r"}]}, "linux.resources.devices[0] lacks allow"),
    ({"devices": [{"allow": 1}]}, "linux.resources.devices[0].allow is 1"),
    ({"devices": [{"allow": True, "type": "c"}]}, "linux.resources.devices[0].access is refused"),
    (
        {"devices": [{"allow": True, "type": "p", "access": "r"}]},
        "linux.resources.devices[0]: devices.kind is 'p'",
    ),
    (
        {"devices": [{"allow": True, "type": "c", "access": "rx"}]},
        "linux.resources.devices[0].access is 'rx'",
    ),
    (
        {"devices": [{"allow": True, "type": "c", "major": -2, "access": "r"}]},
        "linux.resources.devices[0].major is -2",
    ),
    (
        {"unified": {"memory.max": 1}},
        "linux.resources.unified.memory.max is 1, and must be a string",
    ),
    ({"unified": {"../x": "1"}}, "linux.resources.unified.../x: cgroup file is '../x'"),
    ({"unified": {"cgroup.procs": "1"}}, "linux.resources.unified.cgroup.procs: cgroup file is"),
]


@pytest.mark.parametrize(("document", "complaint"), REFUSED, ids=[c for _, c in REFUSED])
def test_refused(document: Any, complaint: str) -> None:
    with pytest.raises(RequestError) as caught:
        from_oci(document)

    assert complaint in str(caught.value)
    assert (caught.value.operation or "").startswith(("read ", "parse ", "set "))


def test_the_path_of_the_document_is_the_caller_s() -> None:
    with pytest.raises(RequestError, match=r"^config\.json: x\.pids\.limit is 'a'"):
        from_oci({"pids": {"limit": "a"}}, "config.json: x")


@pytest.mark.parametrize(
    ("document", "asked"),
    [
        ({}, False),
        ({"memory": {"checkBeforeUpdate": True}}, True),
        ({"memory": {"checkBeforeUpdate": False}}, False),
    ],
)
def test_check_before_update(document: dict[str, Any], asked: bool) -> None:
    assert check_before_update(document) is asked


# -- and back


@given(resources)
def test_out_and_in_again(request: Resources) -> None:
    back = from_oci(to_oci(request))
    lost = unexpressed(request)

    assert set(lost) <= {
        "frozen",
        "perf_event",
        "memory.soft_limit_bytes",
        "cpu.rt_runtime_us",
    }
    expected = {name: value for name, value in settings(request).items() if name not in lost}
    if request.memory.max_bytes is MAX and request.memory.swap_bytes is None:
        expected["memory.swap_bytes"] = MAX
    assert settings(back) == expected


@given(resources)
def test_in_and_out_again(request: Resources) -> None:
    document = to_oci(request)

    assert to_oci(from_oci(document)) == to_oci(from_oci(to_oci(from_oci(document))))
    assert from_oci(to_oci(from_oci(document))) == from_oci(document)


def test_a_raw_line_comes_after_the_settings_of_its_file() -> None:
    request = Resources(
        misc=(MiscLimit(key="sev", max=1),), unified=(Raw(file="misc.max", value="sev 2"),)
    )

    assert to_oci(request)["unified"] == {"misc.max": "sev 1\nsev 2"}


def test_a_raw_text_replaces_the_setting_of_its_file() -> None:
    request = Resources(memory=Memory(high_bytes=5), unified=(Raw(file="memory.high", value="1G"),))

    assert to_oci(request)["unified"] == {"memory.high": "1G"}


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (Resources(frozen=True, perf_event=True), ("frozen", "perf_event")),
        (memory(soft_limit_bytes=0), ("memory.soft_limit_bytes",)),
        (cpu(rt_runtime_us=0), ("cpu.rt_runtime_us",)),
        (memory(swap_bytes=0), ()),
        (memory(max_bytes=MAX, swap_bytes=0), ()),
        (memory(max_bytes=MAX, swap_bytes=5), ()),
    ],
)
def test_unexpressed(request_: Resources, names: tuple[str, ...]) -> None:
    assert unexpressed(request_) == names
