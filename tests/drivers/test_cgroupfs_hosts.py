"""The cgroupfs driver on recorded hosts: what it writes, and what a failure leaves."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from cgmgr import freezer
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    GroupBusy,
    HostError,
    RequestError,
)
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from tests.fakefs import FakeHost, unpack

HOSTS = sorted(path.stem for path in (Path(__file__).parent.parent / "hosts").glob("*.tree"))

WORDS: dict[str, Any] = {
    "memory": "64M",
    "swap": "16M",
    "cpus": 0.5,
    "cpu_weight": 200,
    "pids": 20,
    "cpuset": "0",
    "mems": "0",
}

Writes = list[tuple[str, str, str, str]]

UNIFIED: Writes = [
    ("", "/", "cgroup.subtree_control", "+cpuset +cpu +io"),
    ("", "/cgmgr", "cgroup.subtree_control", "+cpuset +cpu +io +memory +pids"),
    ("", "/cgmgr/x", "cpuset.cpus", "0"),
    ("", "/cgmgr/x", "cpuset.mems", "0"),
    ("", "/cgmgr/x", "cpu.weight", "200"),
    ("", "/cgmgr/x", "cpu.max", "50000 100000"),
    ("", "/cgmgr/x", "memory.swap.max", "16777216"),
    ("", "/cgmgr/x", "memory.max", "67108864"),
    ("", "/cgmgr/x", "pids.max", "20"),
]
CO_MOUNTED: Writes = [
    ("cpuset", "/cgmgr", "cpuset.cpus", "0-1"),
    ("cpuset", "/cgmgr", "cpuset.mems", "0"),
    ("cpuset", "/cgmgr/x", "cpuset.cpus", "0"),
    ("cpuset", "/cgmgr/x", "cpuset.mems", "0"),
    ("cpu,cpuacct", "/cgmgr/x", "cpu.shares", "2451"),
    ("cpu,cpuacct", "/cgmgr/x", "cpu.cfs_period_us", "100000"),
    ("cpu,cpuacct", "/cgmgr/x", "cpu.cfs_quota_us", "50000"),
    ("memory", "/cgmgr/x", "memory.limit_in_bytes", "67108864"),
    ("memory", "/cgmgr/x", "memory.memsw.limit_in_bytes", "83886080"),
    ("pids", "/cgmgr/x", "pids.max", "20"),
]
SEPARATE: Writes = [
    (key.replace("cpu,cpuacct", "cpu"), path, file, value) for key, path, file, value in CO_MOUNTED
]
#: hugetlb and pids are cgroup2's there, beside the rest on v1
MIXED: Writes = [
    *CO_MOUNTED[:2],
    ("", "/", "cgroup.subtree_control", "+pids"),
    ("", "/cgmgr", "cgroup.subtree_control", "+pids"),
    *CO_MOUNTED[2:-1],
    ("", "/cgmgr/x", "pids.max", "20"),
]

WRITES = {
    "debian12-unified": UNIFIED,
    "debian12-unified-bfq": UNIFIED,
    "debian12-legacy": CO_MOUNTED,
    "debian12-hybrid": CO_MOUNTED,
    "debian12-mixed": MIXED,
    "linux618-hybrid": SEPARATE,
    "linux618-hybrid-net": SEPARATE,
}


def managed(host: Host, tmp_path: Path) -> Manager:
    return Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FakeHost:
    return unpack(request.param, tmp_path / "host")


@pytest.fixture
def manager(host: FakeHost, tmp_path: Path) -> Manager:
    return managed(host, tmp_path)


def snapshot(host: FakeHost) -> dict[str, str]:
    """Every file of every hierarchy, so that what a failure leaves is seen."""
    found: dict[str, str] = {}
    for hierarchy in host.managed:
        for path in sorted(Path(hierarchy.mountpoint).rglob("*")):
            found[str(path)] = path.read_text() if path.is_file() else "(group)"
    return found


def test_every_recorded_host_has_its_golden_writes() -> None:
    assert sorted(WRITES) == HOSTS


def test_what_is_written(manager: Manager, host: FakeHost, request: pytest.FixtureRequest) -> None:
    group = manager.create("x", **WORDS)

    (name,) = (name for name in HOSTS if f"[{name}]" in request.node.name)
    assert host.writes == WRITES[name]
    assert group.diff() == []
    assert set(group.paths) == {hierarchy.key for hierarchy in host.managed}


def test_a_plan_says_what_will_be_written(manager: Manager, host: FakeHost) -> None:
    before = snapshot(host)
    lines = manager.plan("x", **WORDS)
    assert snapshot(host) == before
    assert host.writes == []

    manager.create("x", **WORDS)
    trees = {hierarchy.key: hierarchy.mountpoint for hierarchy in host.managed}
    assert [line for line in lines if line.startswith("write ")] == [
        f"write {value} > {trees[key]}{path.rstrip('/')}/{file}"
        for key, path, file, value in host.writes
    ]


def test_every_single_failure_leaves_everything_as_it_was(manager: Manager, host: FakeHost) -> None:
    manager.create("probe", **WORDS).delete()
    before = snapshot(host)
    host.writes.clear()
    manager.create("x", **WORDS)
    writes = list(host.writes)
    manager.open("x").delete()
    assert snapshot(host) == before

    for _, path, file, _ in writes:
        host.fail(path, file, errno.EIO)
        with pytest.raises(CgmgrError):
            manager.create("x", **WORDS)
        host.faults.clear()
        assert snapshot(host) == before, f"after {file} of {path} failed"
        assert manager.rundir.records() == []


def test_every_single_failure_of_an_update_puts_the_old_values_back(
    manager: Manager, host: FakeHost
) -> None:
    changes: dict[str, Any] = {
        "memory": "32M",
        "swap": "8M",
        "cpus": 1.5,
        "cpu_weight": 50,
        "pids": 10,
    }
    group = manager.create("x", **WORDS)
    before = snapshot(host)
    host.writes.clear()
    group.update(**changes)
    writes = list(host.writes)
    after = snapshot(host)
    group.update(**WORDS)
    assert snapshot(host) == before

    for _, path, file, _ in writes:
        host.fail(path, file, errno.EIO)
        with pytest.raises(CgmgrError):
            group.update(**changes)
        host.faults.clear()
        group.update()
        assert {k: v for k, v in snapshot(host).items() if v != before[k]} == {}, file
    group.update(**changes)
    assert snapshot(host) == after


def test_a_life(manager: Manager, host: FakeHost) -> None:
    before = snapshot(host)
    group = manager.create("a/b", **WORDS)
    host.place(4711, "/cgmgr/a/b")
    assert group.pids() == [4711]
    assert manager.list("/cgmgr/a") == ["/cgmgr/a/b"]

    group.freeze()
    assert group.state == freezer.FROZEN
    group.thaw()
    assert group.state == freezer.THAWED
    assert group.stats().errors == ()

    host.exit(4711)
    group.delete()
    assert manager.list() == []
    groups = [path for path, text in snapshot(host).items() if text == "(group)"]
    assert groups == [path for path, text in before.items() if text == "(group)"]


def on(name: str, tmp_path: Path) -> tuple[FakeHost, Manager]:
    host = unpack(name, tmp_path / "host")
    return host, managed(host, tmp_path)


@pytest.mark.parametrize("name", ["debian12-unified", "debian12-mixed"])
def test_a_group_below_one_with_processes_is_refused_with_the_way_out(
    tmp_path: Path, name: str
) -> None:
    """Also where cgroup2 has nothing but threaded controllers for it: it would be invalid."""
    host, manager = on(name, tmp_path)
    manager.create("busy")
    host.place(4711, "/cgmgr/busy")

    with pytest.raises(GroupBusy, match="holds processes") as caught:
        manager.create("busy/below", memory="64M")
    assert caught.value.hint is not None
    assert "cgroup.procs" in caught.value.hint
    assert manager.list("/cgmgr/busy") == []


@pytest.mark.parametrize("name", ["debian12-unified", "debian12-hybrid"])
def test_a_setting_that_only_the_other_version_has_is_refused(name: str, tmp_path: Path) -> None:
    _, manager = on(name, tmp_path)
    words: dict[str, Any] = (
        {"net_classid": "0x10001"} if name == "debian12-unified" else {"memory_high": "1G"}
    )

    with pytest.raises(HostError) as caught:
        manager.create("x", **words)
    assert isinstance(caught.value, ControllerUnavailable)
    assert manager.list() == []


def test_best_effort_names_what_was_left_out(tmp_path: Path) -> None:
    _, manager = on("debian12-unified", tmp_path)
    group = manager.create("x", best_effort=True, memory="64M", net_classid="0x10001")

    assert [error.controller for error in group.report.refused] == ["net_cls"]  # type: ignore[attr-defined]
    assert group.stats().memory is not None
    assert [(drift.asked, drift.held) for drift in group.diff()] == [("net_cls", None)]


def test_a_threaded_group_takes_threaded_controllers_only(tmp_path: Path) -> None:
    host, manager = on("debian12-unified", tmp_path)
    manager.create("other", memory="64M")
    manager.create("domain")
    threaded = manager.create("domain/workers", threaded=True, cpu_weight=50)
    assert ("", "/cgmgr/domain/workers", "cgroup.type", "threaded") in host.writes
    threaded.delete()
    with pytest.raises(HostError, match="cannot be threaded: the group above hands on io, memory"):
        manager.create("workers", threaded=True)

    with pytest.raises(HostError, match="is threaded, and cannot have memory"):
        manager.create("domain/workers", threaded=True, memory="64M")
    assert manager.list("/cgmgr/domain") == []


def test_best_effort_leaves_out_only_what_cannot_be_held(tmp_path: Path) -> None:
    host, manager = on("debian12-hybrid", tmp_path)
    group = manager.create("x", best_effort=True, memory="64M", memory_high="32M", oom_group=True)

    assert ["high" in str(e) or "oom" in str(e) for e in group.report.refused] == [True, True]
    assert ("memory", "/cgmgr/x", "memory.limit_in_bytes", "67108864") in host.writes


#: the host, words of a request, those that are left out
HOLDABLE: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "only-together": ("debian12-hybrid", {"memory": "64M", "swap": "16M"}, []),
    "shares-of-their-own": ("debian12-unified", {"cpu_shares": 1_000, "pids": 5}, []),
    "weight-and-no-idle": ("debian12-unified", {"cpu_idle": False, "cpu_weight": 5}, []),
    "one-limit-of-a-disk": (
        "debian12-hybrid",
        {"io_rbps": "254:0=1M", "io_latency": "254:0=5ms"},
        ["io_latency of 254:0 cannot be held here"],
    ),
    "no-realtime": (
        "debian12-hybrid",
        {"cpu_rt_runtime": "2s", "cpu_rt_period": "3s", "pids": 5},
        ["rt_", "rt_"],
    ),
    "a-raw-file": (
        "debian12-hybrid",
        {"pids": 5, "unified": {"memory.high": "1G", "cgroup.max.depth": "5"}},
        ["memory is on v1 at "],
    ),
}


@pytest.mark.parametrize(("name", "words", "left_out"), HOLDABLE.values(), ids=HOLDABLE)
def test_best_effort_holds_whatever_can_be_held(
    name: str, words: dict[str, Any], left_out: list[str], tmp_path: Path
) -> None:
    host, manager = on(name, tmp_path)
    manager.create("there", pids=5)

    for group in ("there", "x"):
        if group == "there":
            report = manager.open(group).update(best_effort=True, **words)
        else:
            report = manager.create(group, best_effort=True, **words).report
        said = [str(error) for error in report.refused]
        assert len(said) == len(left_out), said
        assert all(text in line for text, line in zip(left_out, said, strict=True)), said
    assert any(path == "/cgmgr/x" for _, path, _, _ in host.writes)


#: the host, the file, its value, the complaint, the hint
RAW: dict[str, tuple[str, str, str, str, str | None]] = {
    "v2-only": (
        "debian12-hybrid",
        "memory.high",
        "1G",
        "which has no memory.high: cgroup v1 cannot throttle, only limit: memory",
        "memory=1G",
    ),
    "the-word-does-it": (
        "debian12-hybrid",
        "memory.max",
        "1G",
        "memory is on v1 at {memory}, which has no memory.max; use memory",
        "memory=1G",
    ),
    "two-words": (
        "debian12-hybrid",
        "cpu.max",
        "5000 10000",
        "which has no cpu.max; use cpu_quota, cpu_period",
        "cpu_quota=5000us cpu_period=10000us",
    ),
    "a-word-with-a-dot": (
        "debian12-hybrid",
        "cpu.burst",
        "5ms",
        "which has no cpu.burst; use cpu_burst",
        "cpu_burst=5ms",
    ),
    "a-word-with-a-dot-v2": (
        "debian12-unified",
        "cpu.burst",
        "5ms",
        "cpu is on cgroup2 at {cpu}, which has no cpu.burst; use cpu_burst",
        "cpu_burst=5ms",
    ),
    "v1-s-own": (
        "debian12-hybrid",
        "memory.limit_in_bytes",
        "1073741824",
        "which has no memory.limit_in_bytes; use memory",
        "memory=1G",
    ),
    "v1-s-own-on-v2": (
        "debian12-unified",
        "blkio.bfq.weight",
        "500",
        "blkio is on cgroup2 at {io}, which has no blkio.bfq.weight; use io_weight",
        "io_weight=4500",
    ),
    "no-word": ("debian12-hybrid", "memory.zswap.max", "1G", "has no memory.zswap.max", None),
    "what-no-kernel-writes": ("debian12-hybrid", "memory.high", "lots", "has no memory.high", None),
    "nobody-s": ("debian12-unified", "xyzzy.max", "1", "the xyzzy controller is not avail", None),
}


@pytest.mark.parametrize(
    ("name", "file", "value", "complaint", "hint"), RAW.values(), ids=list(RAW)
)
def test_a_raw_file_that_is_not_there_is_told(
    name: str, file: str, value: str, complaint: str, hint: str | None, tmp_path: Path
) -> None:
    host, manager = on(name, tmp_path)
    places = {c: h.mountpoint for h in host.hierarchies for c in h.controllers}

    with pytest.raises(ControllerUnavailable) as caught:
        manager.create("x", unified={file: value})

    assert complaint.format(**places) in str(caught.value)
    assert caught.value.hint == hint
    assert manager.list() == []


@pytest.mark.parametrize("name", ["debian12-unified", "debian12-mixed"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_a_raw_file_switches_its_controller_on(name: str, there: bool, tmp_path: Path) -> None:
    host, manager = on(name, tmp_path)
    raw: dict[str, Any] = {"unified": {"hugetlb.2MB.max": "0"}}
    if there:
        manager.create("x").update(**raw)
    else:
        manager.create("x", **raw)

    switches = [(path, value) for _, path, file, value in host.writes if "subtree" in file]
    assert [path for path, value in switches if "+hugetlb" in value] == ["/", "/cgmgr"]
    assert ("", "/cgmgr/x", "hugetlb.2MB.max", "0") in host.writes


def test_a_threaded_group_takes_no_raw_file_of_another_controller(tmp_path: Path) -> None:
    _, manager = on("debian12-unified", tmp_path)
    manager.create("domain")

    with pytest.raises(HostError, match="is threaded, and cannot have memory"):
        manager.create("domain/workers", threaded=True, unified={"memory.high": "1G"})
    raw: dict[str, Any] = {"unified": {"cpu.weight": "50"}}
    assert manager.create("domain/workers", threaded=True, **raw).name == "/cgmgr/domain/workers"


def test_raw_files_need_a_cgroup2_hierarchy(tmp_path: Path) -> None:
    _, manager = on("debian12-legacy", tmp_path)

    with pytest.raises(HostError, match=r"cgroup\.max\.depth cannot be set: no cgroup2 hierarchy"):
        manager.create("x", unified={"cgroup.max.depth": "5"})


def test_more_cpus_than_there_are_are_refused(tmp_path: Path) -> None:
    _, manager = on("debian12-hybrid", tmp_path)

    with pytest.raises(RequestError, match="cpus cannot be 3 CPUs: this machine has 2") as caught:
        manager.create("x", cpus=3)

    assert caught.value.hint == "cpus=2"
    assert manager.list() == []


def test_disks_may_be_named_by_path_from_the_library_too(tmp_path: Path) -> None:
    _, manager = on("debian12-hybrid", tmp_path)

    with pytest.raises(RequestError, match="'/dev/null': that is a character device"):
        manager.create("x", io_rbps={"/dev/null": "1M"})
    with pytest.raises(RequestError, match="device /dev/no-such-disk: no such file"):
        manager.create("x", device_read_bps="/dev/no-such-disk:1M")


@pytest.mark.parametrize("words", [{"hugetlb": "2MB=4M"}, {"pids": 9}, {"cpuset": "0"}], ids=str)
def test_a_controller_may_come_with_a_change(
    manager: Manager, host: FakeHost, words: dict[str, Any]
) -> None:
    """On cgroup2 a group has a controller's files only once it is switched on above it."""
    if host.holder(next(iter(words))) is None:
        pytest.skip("no hierarchy holds it")
    group = manager.create("x")
    host.writes.clear()

    group.update(**words)

    assert host.writes != []
    assert group.diff() == []
