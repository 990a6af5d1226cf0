"""What the records refuse, what they settle, and how one request lies on another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis

from cgmgr.errors import RequestError
from cgmgr.record import Record
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
from cgmgr.resources.formulas import QUOTA_MOST, weight_to_shares
from cgmgr.resources.merge import missing, settings
from cgmgr.resources.model import KEYED, KEYS, SECTIONS
from cgmgr.units import MAX, MAX_ID, MAX_U32, MAX_U64

from .requests import resources

MOST = MAX_U64 >> 1

#: record, field, its key where it has one, least, most, whether MAX is taken
RANGES: list[tuple[type[Record], str, dict[str, str], int, int, bool]] = [
    (Cpu, "quota_us", {}, 1_000, QUOTA_MOST, True),
    (Cpu, "period_us", {}, 1_000, 1_000_000, False),
    (Cpu, "weight", {}, 1, 10_000, False),
    (Cpu, "burst_us", {}, 0, QUOTA_MOST, False),
    (Cpu, "rt_runtime_us", {}, 0, MAX_U64 // 1_000, True),
    (Cpu, "rt_period_us", {}, 1, MAX_U64 // 1_000, False),
    (Memory, "max_bytes", {}, 1, MOST, True),
    (Memory, "high_bytes", {}, 1, MOST, True),
    (Memory, "low_bytes", {}, 0, MOST, True),
    (Memory, "min_bytes", {}, 0, MOST, True),
    (Memory, "swap_bytes", {}, 0, MOST, True),
    (Memory, "soft_limit_bytes", {}, 0, MOST, True),
    (Memory, "swappiness", {}, 0, 200, False),
    (Io, "weight", {}, 1, 10_000, False),
    (IoDevice, "weight", {"device": "8:0"}, 1, 10_000, False),
    (IoDevice, "rbps", {"device": "8:0"}, 1, MOST, True),
    (IoDevice, "wbps", {"device": "8:0"}, 1, MOST, True),
    (IoDevice, "riops", {"device": "8:0"}, 1, MOST, True),
    (IoDevice, "wiops", {"device": "8:0"}, 1, MOST, True),
    (IoDevice, "latency_us", {"device": "8:0"}, 0, MOST, False),
    (Pids, "max", {}, 1, 1 << 22, True),
    (DeviceRule, "major", {"kind": "c"}, 0, MAX_U32, False),
    (DeviceRule, "minor", {"kind": "c"}, 0, MAX_U32, False),
    (HugetlbLimit, "max_bytes", {"size": "2MB"}, 0, MOST, True),
    (HugetlbLimit, "rsvd_max_bytes", {"size": "2MB"}, 0, MOST, True),
    (RdmaLimit, "hca_handle", {"device": "mlx4_0"}, 0, (1 << 31) - 2, True),
    (RdmaLimit, "hca_object", {"device": "mlx4_0"}, 0, (1 << 31) - 2, True),
    (MiscLimit, "max", {"key": "sev"}, 0, MOST, True),
    (NetPrio, "priority", {"interface": "eth0"}, 0, MAX_U32, False),
    (Resources, "net_cls_classid", {}, 0, MAX_U32, False),
]
IDS = [f"{kind.__name__}.{field}" for kind, field, *_ in RANGES]


@pytest.mark.parametrize(("kind", "field", "key", "least", "most", "takes_max"), RANGES, ids=IDS)
def test_ranges(
    kind: type[Record], field: str, key: dict[str, str], least: int, most: int, takes_max: bool
) -> None:
    def make(value: Any) -> Any:
        return getattr(kind(**key, **{field: value}), field)

    assert [make(least), make(most)] == [least, most]
    for value in (least - 1, most + 1, "5", 5.0, True, [5]):
        with pytest.raises(
            RequestError, match=f"{field}.* and must be a whole number from {least}"
        ):
            make(value)
    if takes_max:
        assert make(MAX) is MAX
    else:
        with pytest.raises(RequestError, match="is MAX, and must be"):
            make(MAX)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Cpu, "idle"),
        (Memory, "oom_group"),
        (Memory, "oom_kill_disable"),
        (Resources, "frozen"),
        (Resources, "perf_event"),
    ],
)
@pytest.mark.parametrize("value", [0, 1, "yes", MAX])
def test_flags_are_true_or_false(kind: type[Record], field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"{field} is .*, and must be True or False"):
        kind(**{field: value})


MALFORMED: dict[str, tuple[type[Record], dict[str, Any]]] = {
    "cpuset-empty": (Cpuset, {"cpus": ()}),
    "cpuset-unsorted": (Cpuset, {"cpus": (1, 0)}),
    "cpuset-twice": (Cpuset, {"cpus": (0, 0)}),
    "cpuset-negative": (Cpuset, {"cpus": (-1,)}),
    "cpuset-high": (Cpuset, {"mems": (MAX_ID + 1,)}),
    "cpuset-text": (Cpuset, {"cpus": "0-1"}),
    "cpuset-list": (Cpuset, {"cpus": [0]}),
    "cpuset-bool": (Cpuset, {"cpus": (True,)}),
    "partition": (Cpuset, {"partition": "chief"}),
    "idle-and-weight": (Cpu, {"idle": True, "weight": 100}),
    "burst-over-quota": (Cpu, {"quota_us": 5_000, "burst_us": 5_001}),
    "runtime-over-period": (Cpu, {"rt_runtime_us": 2, "rt_period_us": 1}),
    "shares-alone": (Cpu, {"shares": 512}),
    "shares-beside-another-weight": (Cpu, {"shares": 512, "weight": 60}),
    "rule-kind": (DeviceRule, {"kind": "p"}),
    "rule-access-empty": (DeviceRule, {"kind": "c", "access": ""}),
    "rule-access-order": (DeviceRule, {"kind": "c", "access": "wr"}),
    "rule-access-letter": (DeviceRule, {"kind": "c", "access": "x"}),
    "rule-allow": (DeviceRule, {"kind": "c", "allow": 1}),
    "disk-path": (IoDevice, {"device": "/dev/sda", "rbps": 1}),
    "disk-zero": (IoDevice, {"device": "08:0", "rbps": 1}),
    "disk-three": (IoDevice, {"device": "8:0:1", "rbps": 1}),
    "disk-empty": (IoDevice, {"device": ":", "rbps": 1}),
    "disk-other-digits": (IoDevice, {"device": "\uff18:0", "rbps": 1}),
    "disk-long": (IoDevice, {"device": "8:" + "9" * 5_000, "rbps": 1}),
    "disk-number": (IoDevice, {"device": 8, "rbps": 1}),
    "disk-without-anything": (IoDevice, {"device": "8:0"}),
    "disk-twice": (Io, {"devices": (IoDevice(device="8:0", rbps=1),) * 2}),
    "disks-of-something-else": (Io, {"devices": ("8:0",)}),
    "page-size-slash": (HugetlbLimit, {"size": "../2MB", "max_bytes": 0}),
    "page-size-unit": (HugetlbLimit, {"size": "2M", "max_bytes": 0}),
    "page-size-word": (HugetlbLimit, {"size": "bigMB", "max_bytes": 0}),
    "page-size-without-anything": (HugetlbLimit, {"size": "2MB"}),
    "rdma-slash": (RdmaLimit, {"device": "a/b", "hca_handle": 1}),
    "rdma-space": (RdmaLimit, {"device": "a b", "hca_handle": 1}),
    "rdma-empty": (RdmaLimit, {"device": "", "hca_handle": 1}),
    "rdma-nul": (RdmaLimit, {"device": "a\0", "hca_handle": 1}),
    "rdma-without-anything": (RdmaLimit, {"device": "mlx4_0"}),
    "misc-equals": (MiscLimit, {"key": "a=b", "max": 1}),
    "misc-newline": (MiscLimit, {"key": "a\nb", "max": 1}),
    "misc-number": (MiscLimit, {"key": 1, "max": 1}),
    "misc-without-anything": (MiscLimit, {"key": "sev"}),
    "interface-long": (NetPrio, {"interface": "e" * 16, "priority": 1}),
    "interface-long-in-bytes": (NetPrio, {"interface": "é" * 8, "priority": 1}),
    "interface-slash": (NetPrio, {"interface": "a/b", "priority": 1}),
    "interface-colon": (NetPrio, {"interface": "eth0:1", "priority": 1}),
    "interface-dots": (NetPrio, {"interface": "..", "priority": 1}),
    "interface-surrogate": (NetPrio, {"interface": "\udcff", "priority": 1}),
    "raw-slash": (Raw, {"file": "../memory.max", "value": "1"}),
    "raw-without-dot": (Raw, {"file": "tasks", "value": "1"}),
    "raw-dots": (Raw, {"file": "..", "value": "1"}),
    "raw-procs": (Raw, {"file": "cgroup.procs", "value": "1"}),
    "raw-kill": (Raw, {"file": "cgroup.kill", "value": "1"}),
    "raw-nul": (Raw, {"file": "memory.max", "value": "1\0"}),
    "raw-number": (Raw, {"file": "memory.max", "value": 1}),
    "a-mapping-for-a-section": (Resources, {"memory": {"max_bytes": 1}}),
    "text-for-rules": (Resources, {"devices": "c 1:3 rwm"}),
    "raw-twice": (Resources, {"unified": (Raw(file="memory.max", value="1"),) * 2}),
    "interface-twice": (Resources, {"net_prio": (NetPrio(interface="lo", priority=1),) * 2}),
}


@pytest.mark.parametrize(("kind", "values"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_records_are_refused(kind: type[Record], values: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        kind(**values)

    error = caught.value
    assert error.operation
    assert error.operation.startswith("set ")
    assert len(str(error)) < 300


@pytest.mark.parametrize("interface", ["a=b", "a,b", "eth0.100", "veth-ab12@if", "x" * 15])
def test_what_the_kernel_takes_for_an_interface(interface: str) -> None:
    assert NetPrio(interface=interface, priority=1).interface == interface


def test_entries_are_sorted_so_that_equal_requests_are_equal() -> None:
    first, second = IoDevice(device="8:2", rbps=1), IoDevice(device="8:10", rbps=1)

    assert Io(devices=(second, first)) == Io(devices=(first, second))
    assert Io(devices=(second, first)).devices == (first, second)


def test_raw_files_and_rules_keep_their_order() -> None:
    raws = (Raw(file="memory.max", value="1"), Raw(file="cpu.max", value="1"))
    rules = (DeviceRule(kind="c", major=1), DeviceRule(kind="b"))

    assert Resources(unified=raws).unified == raws
    assert Resources(devices=rules).devices == rules


def test_lists_become_tuples() -> None:
    rules: Any = [DeviceRule(kind="c")]

    assert hash(Resources(devices=rules)) == hash(Resources(devices=tuple(rules)))


def test_shares_that_the_weight_leads_back_to_are_not_kept() -> None:
    assert Cpu(weight=100, shares=1_024) == Cpu(weight=100)
    assert Cpu(weight=59, shares=512).shares == 512
    assert weight_to_shares(59) != 512


def test_defaults_say_nothing() -> None:
    assert not Resources()
    assert Resources(devices=()), "an empty filter denies everything, which is something"


def test_the_tables_name_every_record() -> None:
    assert set(KEYED.values()) <= set(KEYS)
    assert set(SECTIONS) | set(KEYED) < set(Resources.__fields__)


# -- merge


@given(resources)
def test_merging_with_nothing_changes_nothing(request: Resources) -> None:
    assert request.merge(Resources()) == request
    assert Resources().merge(request) == request
    assert request.merge(request) == request


@settings_of_hypothesis(max_examples=50)
@given(resources, resources)
def test_what_is_on_top_holds(below: Resources, above: Resources) -> None:
    try:
        merged = below.merge(above)
    except RequestError as error:
        assert "no more than" in str(error)
        return

    assert missing(above.replace(cpu=Cpu()), merged) == ()
    kept = set(settings(below)) - set(settings(merged))
    assert kept <= {"cpu.weight", "cpu.shares"}


MERGES: dict[str, tuple[Resources, Resources, Resources]] = {
    "field-by-field": (
        Resources(memory=Memory(max_bytes=1, swap_bytes=2)),
        Resources(memory=Memory(max_bytes=3)),
        Resources(memory=Memory(max_bytes=3, swap_bytes=2)),
    ),
    "disk-by-disk": (
        Resources(io=Io(devices=(IoDevice(device="8:0", rbps=1, wbps=2),))),
        Resources(io=Io(devices=(IoDevice(device="8:0", rbps=3), IoDevice(device="8:1", rbps=4)))),
        Resources(
            io=Io(
                devices=(
                    IoDevice(device="8:0", rbps=3, wbps=2),
                    IoDevice(device="8:1", rbps=4),
                )
            )
        ),
    ),
    "the-filter-is-replaced": (
        Resources(devices=(DeviceRule(kind="c"),)),
        Resources(devices=()),
        Resources(devices=()),
    ),
    "max-lifts": (
        Resources(pids=Pids(max=5)),
        Resources(pids=Pids(max=MAX)),
        Resources(pids=Pids(max=MAX)),
    ),
    "false-is-said": (
        Resources(frozen=True),
        Resources(frozen=False),
        Resources(frozen=False),
    ),
    "idle-takes-the-weight-away": (
        Resources(cpu=Cpu(weight=59, shares=512)),
        Resources(cpu=Cpu(idle=True)),
        Resources(cpu=Cpu(idle=True)),
    ),
    "a-weight-ends-idle": (
        Resources(cpu=Cpu(idle=True)),
        Resources(cpu=Cpu(weight=50)),
        Resources(cpu=Cpu(weight=50, idle=False)),
    ),
    "a-weight-replaces-shares": (
        Resources(cpu=Cpu(weight=59, shares=512)),
        Resources(cpu=Cpu(weight=50)),
        Resources(cpu=Cpu(weight=50)),
    ),
    "raw-text-is-replaced-in-place": (
        Resources(unified=(Raw(file="cpu.max", value="1"), Raw(file="memory.max", value="1"))),
        Resources(unified=(Raw(file="cpu.max", value="2"),)),
        Resources(unified=(Raw(file="cpu.max", value="2"), Raw(file="memory.max", value="1"))),
    ),
}


@pytest.mark.parametrize(("below", "above", "merged"), MERGES.values(), ids=MERGES)
def test_merges(below: Resources, above: Resources, merged: Resources) -> None:
    assert below.merge(above) == merged


def test_a_merge_that_no_host_could_hold_is_refused() -> None:
    below = Resources(cpu=Cpu(quota_us=50_000, burst_us=50_000))

    with pytest.raises(RequestError, match=r"cpu.burst_us is 50000, and must be no more than"):
        below.merge(Resources(cpu=Cpu(quota_us=20_000)))


def test_settings_are_named_uniquely() -> None:
    request = Resources(
        memory=Memory(max_bytes=1),
        io=Io(weight=5, devices=(IoDevice(device="8:0", rbps=1),)),
        hugetlb=(HugetlbLimit(size="2MB", max_bytes=1),),
        devices=(),
        unified=(Raw(file="cpu.max", value="1"),),
    )

    assert settings(request) == {
        "memory.max_bytes": 1,
        "io.weight": 5,
        "io.8:0.rbps": 1,
        "hugetlb.2MB.max_bytes": 1,
        "devices": (),
        "unified.cpu.max.value": "1",
    }


def test_missing_names_what_is_not_held() -> None:
    asked = Resources(memory=Memory(max_bytes=1, swap_bytes=0), pids=Pids(max=5))
    held = Resources(memory=Memory(max_bytes=2), pids=Pids(max=5), frozen=True)

    assert missing(asked, held) == ("memory.max_bytes", "memory.swap_bytes")
