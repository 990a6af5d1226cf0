"""systemd's properties, typed and written: what is sent, in which order, and what cannot be."""

from typing import Any

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
    Raw,
    RdmaLimit,
    Resources,
)
from cgmgr.resources.devices import parse_rule
from cgmgr.resources.formulas import weight_to_shares
from cgmgr.resources.merge import settings
from cgmgr.resources.systemd import (
    INFINITY,
    NEWEST,
    as_held,
    from_properties,
    properties,
    unexpressed,
)
from cgmgr.resources.systemd_text import from_assignments, to_assignments
from cgmgr.units import GIB, MAX, MIB

from .requests import resources
from .test_devices import resolve


def cpu(**fields: Any) -> Resources:
    return Resources(cpu=Cpu(**fields))


def memory(**fields: Any) -> Resources:
    return Resources(memory=Memory(**fields))


def disk(**fields: Any) -> Resources:
    return Resources(io=Io(devices=(IoDevice(device="8:0", **fields),)))


PATH = "/dev/block/8:0"

#: request, its properties on v2
V2: dict[str, tuple[Resources, list[tuple[str, str, Any]]]] = {
    "nothing": (Resources(), []),
    "weight": (cpu(weight=59), [("CPUWeight", "t", 59)]),
    "weight-of-shares": (cpu(weight=59, shares=512), [("CPUWeight", "t", 59)]),
    "idle": (cpu(idle=True), [("CPUWeight", "t", 0)]),
    "no-longer-idle": (cpu(idle=False, weight=100), [("CPUWeight", "t", 100)]),
    "quota-rounded-up": (cpu(quota_us=12_345), [("CPUQuotaPerSecUSec", "t", 130_000)]),
    "quota-of-a-period": (
        cpu(quota_us=10_000, period_us=20_000),
        [("CPUQuotaPeriodUSec", "t", 20_000), ("CPUQuotaPerSecUSec", "t", 500_000)],
    ),
    "quota-lifted": (cpu(quota_us=MAX), [("CPUQuotaPerSecUSec", "t", INFINITY)]),
    "period-alone": (cpu(period_us=20_000), [("CPUQuotaPeriodUSec", "t", 20_000)]),
    "cpus": (
        Resources(cpuset=Cpuset(cpus=(6, 7, 8, 9), mems=(0,))),
        [("AllowedCPUs", "ay", b"\xc0\x03"), ("AllowedMemoryNodes", "ay", b"\x01")],
    ),
    "memory": (
        memory(max_bytes=GIB, high_bytes=MAX, low_bytes=0, min_bytes=1, swap_bytes=0),
        [
            ("MemoryMin", "t", 1),
            ("MemoryLow", "t", 0),
            ("MemoryHigh", "t", INFINITY),
            ("MemoryMax", "t", GIB),
            ("MemorySwapMax", "t", 0),
        ],
    ),
    "soft-limit": (memory(soft_limit_bytes=5), [("MemoryLow", "t", 5)]),
    "low-before-soft-limit": (memory(soft_limit_bytes=5, low_bytes=6), [("MemoryLow", "t", 6)]),
    "tasks": (Resources(pids=Pids(max=1)), [("TasksMax", "t", 1)]),
    "tasks-lifted": (Resources(pids=Pids(max=MAX)), [("TasksMax", "t", INFINITY)]),
    "io": (
        Resources(
            io=Io(
                weight=105,
                devices=(
                    IoDevice(device="8:0", weight=5, rbps=1, wbps=MAX, riops=2, latency_us=10),
                    IoDevice(device="8:16", rbps=3, wiops=4),
                ),
            )
        ),
        [
            ("IOWeight", "t", 105),
            ("IODeviceWeight", "a(st)", [(PATH, 5)]),
            ("IOReadBandwidthMax", "a(st)", [(PATH, 1), ("/dev/block/8:16", 3)]),
            ("IOWriteBandwidthMax", "a(st)", [(PATH, INFINITY)]),
            ("IOReadIOPSMax", "a(st)", [(PATH, 2)]),
            ("IOWriteIOPSMax", "a(st)", [("/dev/block/8:16", 4)]),
            ("IODeviceLatencyTargetUSec", "a(st)", [(PATH, 10)]),
        ],
    ),
    "raw-files-that-systemd-knows": (
        Resources(
            memory=Memory(max_bytes=1),
            unified=(
                Raw(file="memory.max", value="1G"),
                Raw(file="cpu.max", value="50000 100000"),
                Raw(file="memory.zswap.max", value="0"),
            ),
        ),
        [
            ("MemoryMax", "t", GIB),
            ("CPUQuotaPeriodUSec", "t", 100_000),
            ("CPUQuotaPerSecUSec", "t", 500_000),
        ],
    ),
}

V1: dict[str, tuple[Resources, list[tuple[str, str, Any]]]] = {
    "weight": (cpu(weight=59), [("CPUShares", "t", weight_to_shares(59))]),
    "shares": (cpu(weight=59, shares=512), [("CPUShares", "t", 512)]),
    "idle": (cpu(idle=True), []),
    "quota": (cpu(quota_us=50_000), [("CPUQuotaPerSecUSec", "t", 500_000)]),
    "cpus": (Resources(cpuset=Cpuset(cpus=(0,))), []),
    "memory": (
        memory(max_bytes=GIB, swap_bytes=0, soft_limit_bytes=5),
        [("MemoryLimit", "t", GIB)],
    ),
    "memory-lifted": (memory(max_bytes=MAX), [("MemoryLimit", "t", INFINITY)]),
    "io": (
        Resources(
            io=Io(
                weight=500,
                devices=(IoDevice(device="8:0", weight=1_200, rbps=1, wbps=2, riops=3),),
            )
        ),
        [
            ("BlockIOWeight", "t", 500),
            ("BlockIOReadBandwidth", "a(st)", [(PATH, 1)]),
            ("BlockIOWriteBandwidth", "a(st)", [(PATH, 2)]),
        ],
    ),
    "weight-below-v1-s-scale": (Resources(io=Io(weight=5)), []),
    "tasks": (Resources(pids=Pids(max=5)), [("TasksMax", "t", 5)]),
    "raw-files-are-v2-s": (Resources(unified=(Raw(file="pids.max", value="5"),)), []),
}


@pytest.mark.parametrize(("request_", "rows"), V2.values(), ids=V2)
def test_v2(request_: Resources, rows: list[Any]) -> None:
    assert properties(request_) == rows


@pytest.mark.parametrize(("request_", "rows"), V1.values(), ids=V1)
def test_v1(request_: Resources, rows: list[Any]) -> None:
    assert properties(request_, version=1) == rows


#: what is on the bus (src/core/dbus-cgroup.c)
SIGNATURES = {
    "CPUWeight": "t",
    "CPUShares": "t",
    "CPUQuotaPerSecUSec": "t",
    "CPUQuotaPeriodUSec": "t",
    "AllowedCPUs": "ay",
    "AllowedMemoryNodes": "ay",
    "MemoryMin": "t",
    "MemoryLow": "t",
    "MemoryHigh": "t",
    "MemoryMax": "t",
    "MemorySwapMax": "t",
    "MemoryLimit": "t",
    "TasksMax": "t",
    "IOWeight": "t",
    "IODeviceWeight": "a(st)",
    "IOReadBandwidthMax": "a(st)",
    "IOWriteBandwidthMax": "a(st)",
    "IOReadIOPSMax": "a(st)",
    "IOWriteIOPSMax": "a(st)",
    "IODeviceLatencyTargetUSec": "a(st)",
    "BlockIOWeight": "t",
    "BlockIODeviceWeight": "a(st)",
    "BlockIOReadBandwidth": "a(st)",
    "BlockIOWriteBandwidth": "a(st)",
    "DevicePolicy": "s",
    "DeviceAllow": "a(ss)",
}
RANGES = {"CPUWeight": (0, 10_000), "CPUShares": (2, 262_144), "IOWeight": (1, 10_000)}
NOT_0 = {"CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "MemoryMax", "MemoryHigh", "TasksMax"}


@given(resources, st.sampled_from((1, 2)), st.sampled_from((219, 241, 251, NEWEST)))
def test_everything_sent_is_what_systemd_takes(
    request: Resources, version: int, systemd: int
) -> None:
    rows = properties(request, version=version, systemd=systemd)
    for name, signature, value in rows:
        assert SIGNATURES[name] == signature
        if signature == "t":
            assert 0 <= value <= INFINITY
            assert value or name not in NOT_0
        if name in RANGES:
            assert RANGES[name][0] <= value <= RANGES[name][1]
        if signature == "ay":
            assert value
            assert value[-1], "zero bytes at the end are trimmed"
        if signature == "a(st)":
            assert value, "an empty array would clear"
    names = [name for name, *_ in rows if name != "DeviceAllow"]
    assert len(set(names)) == len(names)


# -- the device filter

FILTERS: dict[str, tuple[list[str], list[tuple[str, str]], bool]] = {
    "nothing-allowed": ([], [], True),
    "exact": (["c 1:3 rwm"], [("/dev/char/1:3", "rwm")], True),
    "block": (["b 8:0 r"], [("/dev/block/8:0", "r")], True),
    "a-major": (["c 136:* rw"], [("char-136", "rw")], True),
    "all-of-a-kind": (["c *:* m", "b *:* m"], [("char-*", "m"), ("block-*", "m")], True),
    "a-minor-alone-is-widened": (["c *:3 r"], [("char-*", "r")], False),
    "a-denial-is-left-out": (["c 1:* rwm", "!c 1:3 w"], [("char-1", "rwm")], False),
    "what-comes-before-a-denial-of-all-counts-no-more": (
        ["c 1:3 rwm", "!all", "c 1:5 r"],
        [("/dev/char/1:5", "r")],
        True,
    ),
}


def _signed(texts: list[str]) -> tuple[DeviceRule, ...]:
    from cgmgr.resources.devices import parse_signed_rule

    return tuple(parse_signed_rule(text) for text in texts)


@pytest.mark.parametrize(("texts", "allowed", "exact"), FILTERS.values(), ids=FILTERS)
def test_filters(texts: list[str], allowed: list[tuple[str, str]], exact: bool) -> None:
    request = Resources(devices=_signed(texts))
    rows: list[tuple[str, str, Any]] = [
        ("DeviceAllow", "a(ss)", []),
        ("DevicePolicy", "s", "strict"),
    ]
    if allowed:
        rows.append(("DeviceAllow", "a(ss)", allowed))

    assert properties(request) == rows
    assert unexpressed(request) == (() if exact else ("devices",))


@pytest.mark.parametrize(
    ("texts", "exact"), [(["all"], True), (["all", "c 1:3 r"], False), (["all", "!c 1:3 w"], False)]
)
def test_filters_that_allow_everything(texts: list[str], exact: bool) -> None:
    request = Resources(devices=_signed(texts))

    assert properties(request) == [("DeviceAllow", "a(ss)", []), ("DevicePolicy", "s", "auto")]
    assert unexpressed(request) == (() if exact else ("devices",))


def test_before_240_a_major_has_no_number() -> None:
    request = Resources(devices=_signed(["c 136:* rw"]))

    assert properties(request, systemd=239)[-1] == ("DeviceAllow", "a(ss)", [("char-*", "rw")])
    assert unexpressed(request, systemd=239) == ("devices",)


# -- what systemd cannot hold

#: settings, whatever the version, for which there is no property
NEVER = Resources(
    cpu=Cpu(burst_us=0, rt_runtime_us=0, rt_period_us=1),
    cpuset=Cpuset(partition="root"),
    memory=Memory(oom_group=True, swappiness=0, oom_kill_disable=False),
    frozen=True,
    perf_event=True,
    net_cls_classid=1,
    net_prio=(NetPrio(interface="lo", priority=1),),
    hugetlb=(HugetlbLimit(size="2MB", max_bytes=0),),
    rdma=(RdmaLimit(device="mlx4_0", hca_handle=1),),
    misc=(MiscLimit(key="sev", max=1),),
    unified=(Raw(file="memory.zswap.max", value="0"),),
)


@pytest.mark.parametrize("version", [1, 2])
def test_what_has_no_property(version: int) -> None:
    assert properties(NEVER, version=version) == []
    assert set(unexpressed(NEVER, version=version)) == set(settings(NEVER))


@pytest.mark.parametrize(
    ("request_", "version", "systemd", "names"),
    [
        (cpu(idle=True), 2, 251, ("cpu.idle",)),
        (cpu(idle=True), 2, 252, ()),
        (cpu(idle=False), 2, NEWEST, ("cpu.idle",)),
        (cpu(idle=False, weight=5), 2, NEWEST, ()),
        (cpu(quota_us=12_345), 2, NEWEST, ()),
        (cpu(quota_us=10_000, period_us=20_000), 2, 241, ("cpu.quota_us", "cpu.period_us")),
        (Resources(cpuset=Cpuset(cpus=(0,))), 2, 243, ("cpuset.cpus",)),
        (Resources(cpuset=Cpuset(cpus=(0,))), 1, NEWEST, ("cpuset.cpus",)),
        (memory(min_bytes=5), 2, 239, ("memory.min_bytes",)),
        (memory(swap_bytes=0, max_bytes=5), 1, NEWEST, ("memory.swap_bytes",)),
        (memory(swap_bytes=0, max_bytes=5), 2, NEWEST, ()),
        (memory(soft_limit_bytes=5), 2, NEWEST, ()),
        (memory(soft_limit_bytes=5), 1, NEWEST, ("memory.soft_limit_bytes",)),
        (disk(rbps=1, riops=2, latency_us=3), 1, NEWEST, ("io.8:0.riops", "io.8:0.latency_us")),
        (disk(latency_us=3), 2, 239, ("io.8:0.latency_us",)),
        (Resources(io=Io(weight=9)), 1, NEWEST, ("io.weight",)),
        (Resources(io=Io(weight=10)), 1, NEWEST, ()),
        (Resources(io=Io(weight=1_000)), 1, NEWEST, ()),
        (Resources(io=Io(weight=1_001)), 1, NEWEST, ("io.weight",)),
        (disk(weight=50), 1, NEWEST, ("io.8:0.weight",)),
        (cpu(weight=59, shares=512), 1, NEWEST, ()),
        (cpu(weight=59, shares=512), 2, NEWEST, ()),
        (Resources(unified=(Raw(file="memory.max", value="5"),)), 2, NEWEST, ()),
        (
            Resources(unified=(Raw(file="memory.max", value="lots"),)),
            2,
            NEWEST,
            ("unified.memory.max.value",),
        ),
        (Resources(unified=(Raw(file="misc.max", value="sev 1"),)), 2, NEWEST, ("misc.sev.max",)),
    ],
)
def test_unexpressed(
    request_: Resources, version: int, systemd: int, names: tuple[str, ...]
) -> None:
    assert unexpressed(request_, version=version, systemd=systemd) == names


# -- back

PLAIN: list[tuple[list[tuple[str, Any]], Resources]] = [
    ([("CPUWeight", INFINITY), ("IOWeight", INFINITY), ("CPUShares", INFINITY)], Resources()),
    ([("CPUWeight", 0)], cpu(idle=True)),
    ([("IOWeight", 0)], Resources()),
    ([("CPUQuotaPeriodUSec", INFINITY), ("CPUQuotaPerSecUSec", INFINITY)], cpu(quota_us=MAX)),
    ([("CPUQuotaPerSecUSec", 500_000)], cpu(quota_us=50_000)),
    # systemd takes a period in which the quota is 1 ms
    (
        [("CPUQuotaPerSecUSec", 10_000), ("CPUQuotaPeriodUSec", 1_000)],
        cpu(quota_us=1_000, period_us=100_000),
    ),
    ([("CPUQuotaPeriodUSec", 5)], cpu(period_us=1_000)),
    ([("AllowedCPUs", [3]), ("AllowedMemoryNodes", b"")], Resources(cpuset=Cpuset(cpus=(0, 1)))),
    ([("MemoryMax", INFINITY), ("MemorySwapMax", 0)], memory(max_bytes=MAX, swap_bytes=0)),
    ([("MemoryLimit", 5)], memory(max_bytes=5)),
    ([("TasksMax", 5), ("ControlGroup", "/x"), ("Delegate", True)], Resources(pids=Pids(max=5))),
    ([("IOReadBandwidthMax", [("/dev/sda", 5)])], disk(rbps=5)),
    ([("IOReadBandwidthMax", [(PATH, 5)]), ("IOReadBandwidthMax", [])], Resources()),
    ([("DevicePolicy", "auto"), ("DeviceAllow", [])], Resources(devices=(DeviceRule(kind="a"),))),
    (
        [("DevicePolicy", "strict"), ("DeviceAllow", [("/dev/null", "rw"), ("char-136", "wmr")])],
        Resources(devices=(parse_rule("c 1:3 rw"), parse_rule("c 136:* rwm"))),
    ),
    (
        [("DeviceAllow", [("block-*", "r")]), ("DeviceAllow", []), ("DevicePolicy", "strict")],
        Resources(devices=()),
    ),
]


@pytest.mark.parametrize(("rows", "request_"), PLAIN, ids=[str(rows) for rows, _ in PLAIN])
def test_from_properties(rows: list[tuple[str, Any]], request_: Resources) -> None:
    assert from_properties(rows, resolve) == request_


@pytest.mark.parametrize("policy", ["closed", "auto"])
def test_a_list_beside_a_policy_that_is_not_strict_comes_with_pseudo_devices(policy: str) -> None:
    rules = from_properties([("DevicePolicy", policy), ("DeviceAllow", [("char-*", "m")])]).devices

    assert rules is not None
    assert [str(rule) for rule in rules] == [
        *("c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm"),
        *("c 5:0 rwm", "c 5:2 rwm", "c 136:* rw", "c *:* m"),
    ]


@given(resources, st.sampled_from((1, 2)), st.sampled_from((219, 241, 251, NEWEST)))
def test_what_is_sent_comes_back(request: Resources, version: int, systemd: int) -> None:
    rows = properties(request, version=version, systemd=systemd)
    held = from_properties((name, value) for name, _, value in rows)
    lost = unexpressed(request, version=version, systemd=systemd)
    asked, back = settings(as_held(request, version=version)), settings(held)

    for name in lost:
        asked.pop(name)
        back.pop(name, None)
    assert back == asked


@given(resources, st.sampled_from((1, 2)), st.sampled_from((219, 241, 251, NEWEST)))
def test_written_and_typed_say_the_same(request: Resources, version: int, systemd: int) -> None:
    rows = properties(request, version=version, systemd=systemd)
    lines = to_assignments(request, version=version, systemd=systemd)

    assert from_assignments(lines) == from_properties((name, value) for name, _, value in rows)


# -- as people write them

WRITTEN: list[tuple[str, Resources]] = [
    ("MemoryMax=2G", memory(max_bytes=2 * GIB)),
    ("MemoryMax=1.5G", memory(max_bytes=3 * GIB // 2)),
    ("MemoryMax=512", memory(max_bytes=512)),
    ("MemoryMax=512B", memory(max_bytes=512)),
    ("MemoryMax=infinity", memory(max_bytes=MAX)),
    ("MemoryMax=", memory(max_bytes=MAX)),
    (" MemoryMax= 64M ", memory(max_bytes=64 * MIB)),
    ("MemoryLow=", memory(low_bytes=0)),
    ("MemoryMin=infinity", memory(min_bytes=MAX)),
    ("MemorySwapMax=0", memory(swap_bytes=0)),
    ("MemoryHigh=1K", memory(high_bytes=1_024)),
    ("MemoryLimit=1T", memory(max_bytes=1 << 40)),
    ("CPUQuota=150%", cpu(quota_us=150_000)),
    ("CPUQuota=12.5%", cpu(quota_us=12_500)),
    ("CPUQuota=0.01%", cpu(quota_us=1_000, period_us=1_000_000)),
    ("CPUQuota=", cpu(quota_us=MAX)),
    ("CPUQuotaPeriodSec=100ms", cpu(period_us=100_000)),
    ("CPUQuotaPeriodSec=0.1", cpu(period_us=100_000)),
    ("CPUQuotaPeriodSec=0s 500ms", cpu(period_us=500_000)),
    ("CPUQuotaPeriodSec=", Resources()),
    ("CPUWeight=100", cpu(weight=100)),
    ("CPUWeight=idle", cpu(idle=True)),
    ("CPUWeight=", Resources()),
    ("CPUShares=512", cpu(weight=59, shares=512)),
    ("AllowedCPUs=0-1 3", Resources(cpuset=Cpuset(cpus=(0, 1, 3)))),
    ("AllowedCPUs=0,1, 3", Resources(cpuset=Cpuset(cpus=(0, 1, 3)))),
    ("AllowedCPUs=", Resources()),
    ("AllowedMemoryNodes=0", Resources(cpuset=Cpuset(mems=(0,)))),
    ("TasksMax=100", Resources(pids=Pids(max=100))),
    ("TasksMax=infinity", Resources(pids=Pids(max=MAX))),
    ("IOWeight=50", Resources(io=Io(weight=50))),
    ("IODeviceWeight=/dev/sda 50", disk(weight=50)),
    ("IOReadBandwidthMax=/dev/sda 1M", disk(rbps=1_000_000)),
    ("IOWriteBandwidthMax=/dev/sda infinity", disk(wbps=MAX)),
    ("IOReadIOPSMax=/dev/sda 1K", disk(riops=1_000)),
    ("IOWriteIOPSMax=/dev/sda  7", disk(wiops=7)),
    ("IODeviceLatencyTargetSec=/dev/sda 25ms", disk(latency_us=25_000)),
    ("IOReadBandwidthMax=", Resources()),
    ("BlockIOWeight=500", Resources(io=Io(weight=500))),
    ("BlockIODeviceWeight=/dev/sda 200", disk(weight=200)),
    ("BlockIOReadBandwidth=/dev/sda 5", disk(rbps=5)),
    ("BlockIOWriteBandwidth=/dev/sda 5", disk(wbps=5)),
    ("DevicePolicy=strict", Resources(devices=())),
]


@pytest.mark.parametrize(("line", "request_"), WRITTEN, ids=[line for line, _ in WRITTEN])
def test_written(line: str, request_: Resources) -> None:
    assert from_assignments([line], resolve) == request_


def test_what_people_type_at_systemd_run() -> None:
    request = from_assignments(["MemoryMax=2G", "MemorySwapMax=0", "CPUQuota=150%"])

    assert request == Resources(
        memory=Memory(max_bytes=2 * GIB, swap_bytes=0), cpu=Cpu(quota_us=150_000)
    )


def test_devices_as_written() -> None:
    lines = ["DevicePolicy=strict", "DeviceAllow=/dev/null rw", "DeviceAllow=char-1"]

    assert from_assignments(lines, resolve).devices == (
        parse_rule("c 1:3 rw"),
        parse_rule("c 1:* rwm"),
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("MemoryMax", "invalid property 'MemoryMax': write one such as MemoryMax=2G"),
        ("Nice=5", "invalid property 'Nice=5'"),
        ("MemoryMax=50%", "percentages of the host are not known here"),
        ("TasksMax=50%", "percentages of the host are not known here"),
        ("MemoryMax=lots", "invalid MemoryMax 'lots': write a size"),
        ("MemoryMax=-1", "invalid MemoryMax '-1'"),
        ("MemoryMax=0", "memory.max_bytes is 0"),
        ("MemoryMax=8E", "more than the kernel counts"),
        ("MemoryMax=1.5", "invalid MemoryMax '1.5'"),
        ("MemoryMax=\u0661G", "invalid MemoryMax"),
        ("CPUQuota=150", "write a percentage of one CPU"),
        ("CPUQuota=1.005%", "write a percentage of one CPU"),
        ("CPUQuota=-5%", "invalid CPUQuota"),
        ("CPUQuota=0%", "invalid CPUQuota"),
        ("CPUQuota=%", "write a percentage of one CPU"),
        ("CPUQuotaPeriodSec=100 parsecs", "write a time such as 100ms"),
        ("CPUWeight=0", "invalid CPUWeight '0'"),
        ("CPUWeight=10001", "cpu.weight is 10001"),
        ("IOWeight=idle", "invalid IOWeight 'idle'"),
        ("AllowedCPUs=3-1", "invalid AllowedCPUs"),
        ("TasksMax=0", "invalid TasksMax '0'"),
        ("IOReadBandwidthMax=/dev/sda", "write a device and its value"),
        ("IOReadBandwidthMax=/dev/null 5", "that is a character device"),
        ("IOReadBandwidthMax=/dev/sda 0", "io.rbps of 8:0 is 0"),
        ("DevicePolicy=loose", "write auto, closed or strict"),
        ("DeviceAllow=/dev/null x", "write a device and a part of rwm"),
        ("DeviceAllow=char-pts", "invalid device group 'pts'"),
    ],
)
def test_written_wrong(line: str, complaint: str) -> None:
    with pytest.raises(RequestError) as caught:
        from_assignments([line], resolve)

    assert complaint in str(caught.value)


def test_to_assignments() -> None:
    request = Resources(
        cpu=Cpu(quota_us=12_345, period_us=20_000, idle=True),
        cpuset=Cpuset(cpus=(0, 1, 2)),
        memory=Memory(max_bytes=GIB, high_bytes=MAX, swap_bytes=0),
        io=Io(devices=(IoDevice(device="8:0", rbps=MAX, latency_us=5),)),
        devices=(parse_rule("c 1:3 rwm"),),
    )

    assert to_assignments(request) == [
        "CPUWeight=idle",
        "AllowedCPUs=0-2",
        "MemoryHigh=infinity",
        "MemoryMax=1G",
        "MemorySwapMax=0",
        "IOReadBandwidthMax=/dev/block/8:0 infinity",
        "IODeviceLatencyTargetSec=/dev/block/8:0 5us",
        "CPUQuotaPeriodSec=20000us",
        "CPUQuota=62%",
        "DeviceAllow=",
        "DevicePolicy=strict",
        "DeviceAllow=/dev/char/1:3 rwm",
    ]
