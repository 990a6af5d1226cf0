"""Words: what each means, what is refused, and that nothing is lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgmgr.errors import RequestError
from cgmgr.resources import (
    Cpuset,
    DeviceRule,
    HugetlbLimit,
    Io,
    IoDevice,
    MiscLimit,
    NetPrio,
    Pids,
    Raw,
    RdmaLimit,
    Resources,
    aliases,
)
from cgmgr.resources.docker import FLAGS, from_docker
from cgmgr.resources.forms import spell_bytes
from cgmgr.resources.words import KEYED, NAMES, SINGLE, resources_of, split_words, words_of
from cgmgr.units import GIB, MAX, MAX_U64, MIB, parse_bytes

from .requests import cpu, disks, memory, resources
from .test_devices import resolve

#: word, value, what it means
WORDS: list[tuple[str, Any, Resources]] = [
    ("memory", "64M", memory(max_bytes=64 * MIB)),
    ("memory", 64 * MIB, memory(max_bytes=64 * MIB)),
    ("memory", "max", memory(max_bytes=MAX)),
    ("memory", MAX, memory(max_bytes=MAX)),
    ("memory_high", "1.5g", memory(high_bytes=3 * GIB // 2)),
    ("memory_low", "0", memory(low_bytes=0)),
    ("memory_min", 0, memory(min_bytes=0)),
    ("memory_soft", "1G", memory(soft_limit_bytes=GIB)),
    ("swap", 0, memory(swap_bytes=0)),
    ("swap", "0", memory(swap_bytes=0)),
    ("swap", "max", memory(swap_bytes=MAX)),
    ("swappiness", 0, memory(swappiness=0)),
    ("swappiness", "60", memory(swappiness=60)),
    ("oom_group", True, memory(oom_group=True)),
    ("oom_group", "no", memory(oom_group=False)),
    ("oom_group", 1, memory(oom_group=True)),
    ("oom_kill_disable", "TRUE", memory(oom_kill_disable=True)),
    ("cpus", 1.5, cpu(quota_us=150_000, period_us=100_000)),
    ("cpus", 2, cpu(quota_us=200_000, period_us=100_000)),
    ("cpus", "0.5", cpu(quota_us=50_000, period_us=100_000)),
    ("cpus", 0.1 + 0.2, cpu(quota_us=30_000, period_us=100_000)),
    ("cpus", "max", cpu(quota_us=MAX)),
    ("cpu_weight", 50, cpu(weight=50)),
    ("cpu_shares", 512, cpu(weight=59, shares=512)),
    ("cpu_shares", "1024", cpu(weight=100)),
    ("cpu_quota", "50ms", cpu(quota_us=50_000)),
    ("cpu_quota", 50_000, cpu(quota_us=50_000)),
    ("cpu_quota", "50000", cpu(quota_us=50_000)),
    ("cpu_quota", "max", cpu(quota_us=MAX)),
    ("cpu_period", "1s", cpu(period_us=1_000_000)),
    ("cpu_burst", 0, cpu(burst_us=0)),
    ("cpu_idle", True, cpu(idle=True)),
    ("cpu_rt_runtime", "950ms", cpu(rt_runtime_us=950_000)),
    ("cpu_rt_runtime", "max", cpu(rt_runtime_us=MAX)),
    ("cpu_rt_period", "1s", cpu(rt_period_us=1_000_000)),
    ("cpuset", "0-1,3", Resources(cpuset=Cpuset(cpus=(0, 1, 3)))),
    ("cpuset", 0, Resources(cpuset=Cpuset(cpus=(0,)))),
    ("cpuset", [3, 0, 3], Resources(cpuset=Cpuset(cpus=(0, 3)))),
    ("cpuset", range(2), Resources(cpuset=Cpuset(cpus=(0, 1)))),
    ("mems", "0", Resources(cpuset=Cpuset(mems=(0,)))),
    ("cpuset_partition", "isolated", Resources(cpuset=Cpuset(partition="isolated"))),
    ("pids", 100, Resources(pids=Pids(max=100))),
    ("pids", "max", Resources(pids=Pids(max=MAX))),
    ("io_weight", 50, Resources(io=Io(weight=50))),
    ("io_device_weight", {"8:0": 50}, disks(IoDevice(device="8:0", weight=50))),
    ("io_rbps", "8:0=1M", disks(IoDevice(device="8:0", rbps=MIB))),
    (
        "io_wbps",
        "8:0=1M 8:16=max",
        disks(IoDevice(device="8:0", wbps=MIB), IoDevice(device="8:16", wbps=MAX)),
    ),
    (
        "io_riops",
        ["8:0=100", "8:16=5"],
        disks(IoDevice(device="8:0", riops=100), IoDevice(device="8:16", riops=5)),
    ),
    ("io_wiops", {"/dev/sda": 7}, disks(IoDevice(device="8:0", wiops=7))),
    ("io_latency", "8:0=10ms", disks(IoDevice(device="8:0", latency_us=10_000))),
    ("devices", "none", Resources(devices=())),
    ("devices", [], Resources(devices=())),
    (
        "devices",
        "c 1:3 rwm, !b 8:* w",
        Resources(
            devices=(
                DeviceRule(kind="c", major=1, minor=3),
                DeviceRule(kind="b", major=8, access="w", allow=False),
            )
        ),
    ),
    ("devices", ["all"], Resources(devices=(DeviceRule(kind="a"),))),
    ("devices", [DeviceRule(kind="b")], Resources(devices=(DeviceRule(kind="b"),))),
    ("frozen", True, Resources(frozen=True)),
    ("perf_event", "on", Resources(perf_event=True)),
    ("net_classid", "0x00100001", Resources(net_cls_classid=0x100001)),
    ("net_classid", "10:1", Resources(net_cls_classid=0x100001)),
    ("net_classid", "1048577", Resources(net_cls_classid=0x100001)),
    ("net_classid", 0, Resources(net_cls_classid=0)),
    ("net_classid", "FFFF:ffff", Resources(net_cls_classid=0xFFFFFFFF)),
    ("net_prio", "eth0=5", Resources(net_prio=(NetPrio(interface="eth0", priority=5),))),
    ("net_prio", "a=b=0", Resources(net_prio=(NetPrio(interface="a=b", priority=0),))),
    (
        "hugetlb",
        "2MB=64M",
        Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=64 * MIB, rsvd_max_bytes=64 * MIB),)),
    ),
    ("hugetlb_max", "2m=0", Resources(hugetlb=(HugetlbLimit(size="2MB", max_bytes=0),))),
    (
        "hugetlb_rsvd",
        {"1GiB": "max"},
        Resources(hugetlb=(HugetlbLimit(size="1GB", rsvd_max_bytes=MAX),)),
    ),
    (
        "rdma",
        "mlx4_0=hca_handle:2,hca_object:max",
        Resources(rdma=(RdmaLimit(device="mlx4_0", hca_handle=2, hca_object=MAX),)),
    ),
    (
        "rdma",
        {"mlx4_0": {"hca_object": 2000}},
        Resources(rdma=(RdmaLimit(device="mlx4_0", hca_object=2000),)),
    ),
    ("misc", "sev=3", Resources(misc=(MiscLimit(key="sev", max=3),))),
    ("misc", {"sev": 0}, Resources(misc=(MiscLimit(key="sev", max=0),))),
    ("memory.high", "1G", Resources(unified=(Raw(file="memory.high", value="1G"),))),
    ("cpu.weight", 50, Resources(unified=(Raw(file="cpu.weight", value="50"),))),
    (
        "unified",
        "io.max=8:0 rbps=1 wbps=2",
        Resources(unified=(Raw(file="io.max", value="8:0 rbps=1 wbps=2"),)),
    ),
    ("unified", {"cpu.idle": 1}, Resources(unified=(Raw(file="cpu.idle", value="1"),))),
]


@pytest.mark.parametrize(("word", "value", "meaning"), WORDS, ids=[f"{w}={v}" for w, v, _ in WORDS])
def test_words(word: str, value: Any, meaning: Resources) -> None:
    assert resources_of(None, resolve, **{word: value}) == meaning


def test_every_word_is_tried() -> None:
    assert set(NAMES) == {word for word, *_ in WORDS if "." not in word}


#: word, value, part of the complaint
REFUSED: list[tuple[str, Any, str]] = [
    ("memory", "12Q", "invalid memory '12Q': write a size such as 512m"),
    ("memory", "", "invalid memory ''"),
    ("memory", 0, "invalid memory '0': the least is 1; max lifts it"),
    ("memory", "0", "max lifts it"),
    ("memory", -1, "invalid memory '-1'"),
    ("memory", 1.5e9, "give a whole number or text"),
    ("memory", True, "give a whole number or text"),
    ("memory", b"64M", "give a whole number or text"),
    ("memory", {"max": 1}, "give a whole number or text"),
    ("memory_high", 0, "max lifts it"),
    ("swap", -1, "invalid swap"),
    ("swappiness", 201, "invalid swappiness '201': from 0 to 200"),
    ("oom_group", "maybe", "say yes or no"),
    ("oom_group", 2, "say yes or no"),
    ("cpus", 0, "the least is 0.01"),
    ("cpus", -1, "invalid cpus '-1'"),
    ("cpus", "0.009", "the least is 0.01"),
    ("cpus", "", "write a number of CPUs"),
    ("cpus", True, "give a number of CPUs"),
    ("cpus", float("nan"), "invalid cpus 'nan'"),
    ("cpus", float("inf"), "invalid cpus 'inf'"),
    ("cpus", [1], "give a number of CPUs"),
    ("cpus", "1e9", "invalid cpus"),
    ("cpu_weight", 0, "invalid cpu_weight '0': from 1 to 10000"),
    ("cpu_weight", 10_001, "from 1 to 10000"),
    ("cpu_shares", 1, "from 2 to 262144"),
    ("cpu_shares", 262_145, "from 2 to 262144"),
    ("cpu_period", "0", "from 1000us to 1000000us"),
    ("cpu_period", "2s", "invalid cpu_period '2s': from 1000us to 1000000us"),
    ("cpu_quota", "999us", "from 1000us to"),
    ("cpuset", "", "empty, write a list such as 0-3,7"),
    ("cpuset", [], "empty, write a list"),
    ("cpuset", "3-1", "write a list such as 0-3,7"),
    ("cpuset", "0-99999", "numbers up to 8191"),
    ("cpuset", [-1], "invalid cpuset '[-1]': write a list"),
    ("cpuset", [8192], "with numbers up to 8191"),
    ("cpuset", [1.5], "invalid cpuset '[1.5]'"),
    ("cpuset", [True], "invalid cpuset '[True]'"),
    ("cpuset", 1.5, "write a list such as 0-3,7"),
    ("cpuset_partition", "chief", "one of member, root, isolated"),
    ("cpuset_partition", 1, "give text"),
    ("pids", 0, "invalid pids '0': from 1 to 4194304; max lifts it"),
    ("pids", "-1", "write a whole number, from 1 to 4194304; max lifts it"),
    ("pids", "many", "write a whole number, from 1 to 4194304; max lifts it"),
    ("pids", (1 << 22) + 1, "from 1 to 4194304"),
    ("io_weight", 0, "from 1 to 10000"),
    ("io_rbps", "8:0=0", "invalid io_rbps of 8:0 '0': the least is 1; max lifts it"),
    ("io_rbps", "8:0", "write KEY=VALUE"),
    ("io_rbps", "=1M", "write KEY=VALUE"),
    ("io_rbps", "8:0=", "write KEY=VALUE"),
    ("io_rbps", "", "write KEY=VALUE"),
    ("io_rbps", 5, "write KEY=VALUE, or give a mapping"),
    ("io_rbps", [], "write KEY=VALUE, or give a mapping"),
    ("io_rbps", [5], "write KEY=VALUE, or give a mapping"),
    ("io_rbps", "8:0=1 8:0=2", "io_rbps of 8:0 contradicts another word"),
    ("io_rbps", "/dev/null=1", "that is a character device"),
    ("io_rbps", {8: 1}, "name a disk"),
    ("devices", "c 1:3", "write TYPE MAJOR:MINOR ACCESS"),
    ("devices", "", "write TYPE MAJOR:MINOR ACCESS"),
    ("devices", 5, "write rules such as"),
    ("net_classid", "0x123456789", "write 0xAAAABBBB"),
    ("net_classid", "1:", "write 0xAAAABBBB"),
    ("net_classid", "10000:1", "write 0xAAAABBBB"),
    ("net_classid", 1 << 32, "invalid net_classid"),
    ("net_classid", "", "give text"),
    ("net_prio", "eth0=x", "invalid net_prio of eth0 'x'"),
    ("net_prio", "averylonginterface=1", "1 to 15 bytes"),
    ("hugetlb", "../=1", "write a huge page size such as 2MB"),
    ("hugetlb", "2=1", "write a huge page size"),
    ("hugetlb", "0MB=1", "invalid hugetlb '0'"),
    ("hugetlb", "B=1", "write a huge page size"),
    ("hugetlb", "2MB=12Q", "invalid hugetlb of 2MB '12Q'"),
    ("rdma", "mlx4_0=5", "write hca_handle:N,hca_object:M"),
    ("rdma", "mlx4_0=handle:5", "write hca_handle:N,hca_object:M"),
    ("rdma", "mlx4_0=hca_handle:1,hca_handle:2", "write hca_handle:N,hca_object:M"),
    ("rdma", "mlx4_0=hca_handle:x", "invalid rdma of mlx4_0 'x'"),
    ("rdma", {"mlx4_0": {}}, "write hca_handle:N,hca_object:M"),
    ("rdma", {"mlx4_0": 5}, "write hca_handle:N,hca_object:M"),
    ("misc", "sev", "write KEY=VALUE"),
    ("unified", "memory.high", "write KEY=VALUE"),
    ("unified", {"tasks": 1}, "written as CONTROLLER.NAME"),
    ("unified", {"../memory.max": 1}, "written as CONTROLLER.NAME"),
    ("cgroup.procs", "1", "a setting, not an act"),
    ("cgroup.type", "threaded", "a setting, not an act"),
    ("cgroup.subtree_control", "+pids", "a setting, not an act"),
    ("memmory", "64M", "unknown setting 'memmory', did you mean 'memory'?"),
    ("xyzzy", 1, "unknown setting 'xyzzy', these are known: cpu_burst"),
]


@pytest.mark.parametrize(
    ("word", "value", "complaint"), REFUSED, ids=[f"{word}={value!r}" for word, value, _ in REFUSED]
)
def test_refused(word: str, value: Any, complaint: str) -> None:
    with pytest.raises(RequestError) as caught:
        resources_of(None, resolve, **{word: value})

    assert complaint in str(caught.value)


def test_the_near_word_is_the_hint() -> None:
    with pytest.raises(RequestError) as caught:
        resources_of(io_weigth=5)

    assert caught.value.hint == "io_weight"


#: docker's flag, our word for the same
ALIASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"memory_reservation": "64M"}, {"memory_soft": "64M"}),
    ({"memory_swappiness": "60"}, {"swappiness": 60}),
    ({"cpuset_cpus": "0-3"}, {"cpuset": "0-3"}),
    ({"cpuset_mems": "0"}, {"mems": 0}),
    ({"pids_limit": "50"}, {"pids": 50}),
    ({"pids_limit": "-1"}, {"pids": "max"}),
    ({"pids_limit": -1}, {"pids": "max"}),
    ({"blkio_weight": "500"}, {"io_weight": 4_500}),
    ({"blkio_weight_device": "/dev/sda:500"}, {"io_device_weight": "8:0=4500"}),
    ({"device_read_bps": ["/dev/sda:1mb", "8:16:2mb"]}, {"io_rbps": "8:0=1M 8:16=2M"}),
    ({"device_write_bps": {"8:0": "1M"}}, {"io_wbps": "8:0=1M"}),
    ({"device_read_iops": "/dev/sda:7"}, {"io_riops": "8:0=7"}),
    ({"device_write_iops": "/dev/sda:7"}, {"io_wiops": "8:0=7"}),
    ({"cgroup_conf": "memory.high=1G"}, {"memory.high": "1G"}),
    ({"memory": "1G", "memory_swap": "3G"}, {"memory": "1G", "swap": "2G"}),
    ({"memory_swap": "3G", "memory": "3G"}, {"memory": "3G", "swap": 0}),
    ({"memory_swap": "-1"}, {"swap": "max"}),
    ({"MemoryMax": "1G"}, {"memory": "1G"}),
    ({"MemoryMax": 1 << 30, "pids": 5}, {"memory": "1G", "pids": 5}),
    ({"MemorySwapMax": "infinity"}, {"swap": "max"}),
    ({"CPUQuota": "50%"}, {"cpus": 0.5}),
    ({"CPUQuota": "50%", "CPUQuotaPeriodSec": "50ms"}, {"cpu_quota": 25_000, "cpu_period": 50_000}),
    ({"CPUQuota": "50%", "cpu_period": 50_000}, {"cpus": 0.5, "cpu_period": 50_000}),
    ({"CPUQuota": "infinity"}, {"cpus": "max"}),
    ({"TasksMax": "50"}, {"pids": 50}),
    ({"IOReadBandwidthMax": ["/dev/sda 1M", "8:16 2M"]}, {"io_rbps": "8:0=1000000 8:16=2000000"}),
]


@pytest.mark.parametrize(("said", "meant"), ALIASES, ids=[" ".join(said) for said, _ in ALIASES])
def test_words_of_others(said: dict[str, Any], meant: dict[str, Any]) -> None:
    assert resources_of(None, resolve, **said) == resources_of(None, resolve, **meant)


#: flags that docker takes as they stand
AS_FLAGS = [
    said
    for said, _ in ALIASES
    if not any(word[0].isupper() or "8:" in str(value) for word, value in said.items())
]


@pytest.mark.parametrize("flags", AS_FLAGS, ids=lambda flags: " ".join(flags))
def test_flags_of_docker_mean_what_docker_means(flags: dict[str, Any]) -> None:
    as_docker = from_docker(resolve=resolve, fresh=False, **flags)

    assert resources_of(None, resolve, **flags) == as_docker


#: words, the complaint, which is about the word that was said
MISSAID: list[tuple[dict[str, Any], str]] = [
    ({"memory_reservation": "12Q"}, "invalid memory_reservation '12Q'"),
    ({"pids_limit": 0}, "invalid pids_limit '0': from 1 to 4194304"),
    ({"blkio_weight": "9"}, "invalid blkio_weight '9': write a whole number from 10 to 1000"),
    ({"device_read_bps": "8:0"}, "invalid device_read_bps '8': name a disk"),
    ({"device_read_bps": "/dev/sda"}, "invalid device_read_bps '/dev/sda': write DISK:NUMBER"),
    ({"memory_swap": "1G"}, "invalid memory_swap '1G': it is memory and swap together"),
    ({"memory": "2G", "memory_swap": "1G"}, "and less than memory"),
    ({"memory": "2G", "memory_swap": "3G", "swap": "3G"}, "memory_swap contradicts another word"),
    ({"memory_reservation": "1M", "memory_soft": "2M"}, "contradicts another word"),
    ({"MemoryMax": "12Q"}, "invalid MemoryMax '12Q'"),
    ({"MemoryMax": "50%"}, "percentages of the host"),
    (
        {"MemoryMax": "1G", "memory": "2G"},
        "memory contradicts another word: 1073741824 against 2147483648",
    ),
    ({"MemoryMaxx": "1G"}, "unknown setting 'MemoryMaxx'"),
    ({"cpu_idle": True, "cpu_weight": 5}, "cpu_idle and cpu_weight exclude each other"),
    ({"cpu_quota": 5_000, "cpu_burst": 6_000}, "cpu_burst is 6000, and must be no more than cpu_q"),
    ({"cpuset_partition": "x"}, "cpuset_partition is 'x', and must be one of member"),
    ({"kernel_memory": "1G"}, "unknown setting 'kernel_memory', the kernel has no such limit"),
]


@pytest.mark.parametrize(("said", "complaint"), MISSAID, ids=[str(said) for said, _ in MISSAID])
def test_complaints_are_about_what_was_said(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError) as caught:
        resources_of(None, resolve, **said)

    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ({"mem": "1G"}, "memory=1G"),
        ({"mem": 1 << 30}, "memory"),
        ({"memory_max": "1G"}, "memory=1G"),
        ({"memory_swap_max": "1G"}, "swap=1G"),
        ({"memory_soft_limit": "1G"}, "memory_soft=1G"),
        ({"cpu": "2"}, "cpus=2"),
        ({"tasks_max": "2"}, "pids=2"),
        ({"device_cgroup_rule": "c 1:3 rwm"}, "'devices=c 1:3 rwm'"),
        ({"io_weigth": "5"}, "io_weight=5"),
        ({"Memory": "5"}, "memory=5"),
        ({"memory_wsap": "1G"}, None),
        ({"swapp": "1G"}, "swap=1G"),
        ({"cpu_time": "1"}, None),
        ({"oom_score_adj": "1"}, None),
    ],
    ids=lambda value: str(value),
)
def test_an_unknown_word_names_the_one_that_was_meant(
    said: dict[str, Any], hint: str | None
) -> None:
    with pytest.raises(RequestError, match="unknown setting") as caught:
        resources_of(**said)

    assert caught.value.hint == hint


def test_the_tables_of_aliases_name_words_only() -> None:
    assert {word for word, _ in aliases.FLAGS.values()} <= set(NAMES)
    assert set(aliases.MEANT.values()) <= set(NAMES)
    known = {*NAMES, *aliases.FLAGS, aliases.TOGETHER}
    assert not known & {*aliases.MEANT, *aliases.NONE_OF_OURS}


def test_every_flag_of_docker_is_a_word_or_said_why_not() -> None:
    known = {*NAMES, *aliases.FLAGS, aliases.TOGETHER}
    assert set(FLAGS) <= {*known, *aliases.MEANT, *aliases.NONE_OF_OURS}


def test_words_of_others_may_be_repeated_as_ours_may() -> None:
    said = ["device-read-bps=8:0:1M", "device-read-bps=8:16:2M", "cgroup-conf=cpu.weight=5"]
    said += ["IOReadIOPSMax=8:0 5", "IOReadIOPSMax=8:16 6"]

    found = resources_of(**split_words(said))

    assert found == resources_of(
        io_rbps="8:0=1M 8:16=2M", io_riops="8:0=5 8:16=6", **{"cpu.weight": "5"}
    )


def test_a_word_that_is_the_name_of_a_parameter_is_only_a_word() -> None:
    for word in ("base", "resolve"):
        with pytest.raises(RequestError, match=f"unknown setting '{word}'"):
            resources_of(None, resolve, **{word: "x"})


def test_none_is_a_word_not_said() -> None:
    assert resources_of(memory=None, cpus=None, io_rbps=None) == Resources()


@pytest.mark.parametrize(
    "words",
    [
        {"cpus": 1, "cpu_quota": "50ms"},
        {"cpu_weight": 50, "cpu_shares": 512},
        {"hugetlb": "2MB=1M", "hugetlb_rsvd": "2MB=2M"},
        {"unified": {"cpu.max": 1}, "cpu.max": 2},
    ],
)
def test_words_that_contradict_each_other(words: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="contradicts another word"):
        resources_of(**words)


@pytest.mark.parametrize(
    "words",
    [
        {"cpus": 1, "cpu_quota": "100ms", "cpu_period": "100ms"},
        {"cpu_weight": 59, "cpu_shares": 512},
        {"cpu_shares": 512, "cpu_weight": 59},
        {"hugetlb": "2MB=1M", "hugetlb_rsvd": "2048K=1M"},
    ],
)
def test_words_that_agree(words: dict[str, Any]) -> None:
    assert resources_of(**words)


@pytest.mark.parametrize(
    ("base", "words", "quota", "period"),
    [
        (None, {"cpus": 0.5}, 50_000, 100_000),
        (None, {"cpus": 0.5, "cpu_period": "20ms"}, 10_000, 20_000),
        (None, {"cpu_period": "20ms", "cpus": 0.5}, 10_000, 20_000),
        ({"cpu_period": "20ms"}, {"cpus": 0.5}, 10_000, 20_000),
        ({"cpus": 4, "cpu_period": "20ms"}, {"cpus": 0.5, "cpu_period": "40ms"}, 20_000, 40_000),
    ],
)
def test_cpus_are_of_the_period_that_holds(
    base: dict[str, Any] | None, words: dict[str, Any], quota: int, period: int
) -> None:
    below = resources_of(**base) if base else None

    assert resources_of(below, **words) == cpu(quota_us=quota, period_us=period)


def test_words_lie_on_top_of_a_base() -> None:
    base = resources_of(memory="64M", io_rbps="8:0=1M", pids=5)
    changed = resources_of(base, memory="32M", io_wbps="8:0=2M")

    assert changed == resources_of(memory="32M", io_rbps="8:0=1M", io_wbps="8:0=2M", pids=5)


def test_resources_of_words() -> None:
    assert Resources.of(memory="64M") == memory(max_bytes=64 * MIB)


# -- back


@given(resources)
def test_nothing_is_lost(request: Resources) -> None:
    words = words_of(request)

    assert resources_of(**words) == request
    assert all(type(text) is str for text in words.values())


@pytest.mark.parametrize(
    ("word", "value", "text"),
    [
        ("memory", 64 * MIB, "64M"),
        ("memory", 1_000, "1000"),
        ("memory", MAX, "max"),
        ("swap", 0, "0"),
        ("cpu_quota", 50_000, "50000us"),
        ("cpuset", [0, 1, 2], "0-2"),
        ("frozen", False, "no"),
        ("devices", [], "none"),
        ("net_classid", 1, "0x00000001"),
        ("io_rbps", {"8:16": MAX, "8:0": MIB}, "8:0=1M 8:16=max"),
        ("hugetlb", {"2MB": 0}, "2MB=0"),
        ("hugetlb_max", {"2MB": 0}, "2MB=0"),
        ("rdma", {"a": {"hca_object": MAX}}, "a=hca_object:max"),
        ("cpu_shares", 512, "512"),
    ],
)
def test_spelling(word: str, value: Any, text: str) -> None:
    assert words_of(resources_of(**{word: value})) == {word: text}


@given(st.integers(0, MAX_U64 >> 1))
def test_sizes_are_spelled_exactly(count: int) -> None:
    assert parse_bytes(spell_bytes(count)) == count


# -- a command line's words


def test_split_words() -> None:
    assert split_words(["memory=64M", "io-rbps=8:0=1M", "memory.high=1G", "cpuset="]) == {
        "memory": "64M",
        "io_rbps": "8:0=1M",
        "memory.high": "1G",
        "cpuset": "",
    }


def test_keyed_words_may_be_said_several_times() -> None:
    words = split_words(
        ["io_rbps=8:0=1", "io-rbps=8:1=2", "io_rbps=8:2=3 8:3=4", "unified=cpu.max=1"]
    )

    assert words["io_rbps"] == ["8:0=1", "8:1=2", "8:2=3 8:3=4"]
    assert len(resources_of(**words).io.devices) == 4


def test_rules_said_several_times_keep_their_order() -> None:
    words = split_words(["devices=all", "devices=!c 1:3 w"])

    assert [rule.kind for rule in resources_of(**words).devices or ()] == ["a", "c"]


@pytest.mark.parametrize(
    ("assignments", "complaint"),
    [
        (["memory"], "invalid setting 'memory': write WORD=VALUE"),
        (["memory=1", "memory=2"], "memory is said twice"),
        (["cpu-weight=1", "cpu_weight=1"], "cpu_weight is said twice"),
        (["memory.max=1", "memory.max=1"], "memory.max is said twice"),
    ],
)
def test_split_words_refuses(assignments: list[str], complaint: str) -> None:
    with pytest.raises(RequestError) as caught:
        split_words(assignments)

    assert complaint in str(caught.value)


def test_the_tables_do_not_overlap() -> None:
    assert not set(SINGLE) & set(KEYED)
    assert not any("." in word or "-" in word for word in NAMES)
