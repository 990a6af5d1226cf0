"""The systemd driver on recorded hosts: what systemd is told, what is written, and what a failure
leaves."""

from __future__ import annotations

import errno
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cgmgr import driver as drivers
from cgmgr import members
from cgmgr.drivers import systemd_steps
from cgmgr.drivers.systemd import Systemd
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    DeadlineExceeded,
    DriverError,
    HostError,
    NameTaken,
    RequestError,
)
from cgmgr.host import Host
from cgmgr.kernfs import Directory
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from tests.drivers.managed import FakeKeeper, FakeSystemd
from tests.fakefs import FakeHost, unpack

if TYPE_CHECKING:
    from cgmgr.driver import Driver

LAYOUTS = ("debian12-unified", "debian12-hybrid", "debian12-legacy", "debian12-mixed")
GROUP = "/cgmgr.slice/cgmgr-x.scope"
LEAF = f"{GROUP}/payload"
WORDS: dict[str, Any] = {"memory": "64M", "cpus": 0.5, "pids": 20, "hugetlb": "2MB=4M"}
BIGGER: dict[str, Any] = {"memory": "128M", "cpus": 1, "pids": 30}
SMALLER: dict[str, Any] = {"memory": "32M", "cpus": 0.25, "pids": 10}


@pytest.fixture(params=LAYOUTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FakeHost:
    return unpack(request.param, tmp_path / "host")


@pytest.fixture
def systemd(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    return _systemd_of(host, monkeypatch)


def _systemd_of(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    pids = count(1 << 23)  # PID_MAX_LIMIT is 1 << 22
    monkeypatch.setattr(systemd_steps, "_held_process", lambda: FakeKeeper(host, next(pids)))

    def kill_all(directories: list[Directory], _deadline: float) -> None:
        for pid in members.everyone(directories):
            host.exit(pid)

    monkeypatch.setattr(members, "kill_all", kill_all)
    systemd, load = FakeSystemd(host), drivers.load

    def load_ours(name: str, host: Host) -> Driver:
        return Systemd(host, systemd) if name == "systemd" else load(name, host)

    monkeypatch.setattr(drivers, "load", load_ours)
    return systemd


@pytest.fixture
def manager(host: FakeHost, systemd: FakeSystemd, tmp_path: Path) -> Manager:
    return managed(host, systemd, tmp_path)


def managed(host: FakeHost, systemd: FakeSystemd, tmp_path: Path) -> Manager:
    del systemd  # the driver has it
    return Manager(host, driver="systemd", rundir=Rundir(str(tmp_path / "run")))


def on(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> tuple[FakeHost, FakeSystemd]:
    host = unpack(name, tmp_path / "host")
    return host, _systemd_of(host, patch)


def snapshot(host: FakeHost) -> dict[str, str]:
    found: dict[str, str] = {}
    for hierarchy in host.managed:
        for path in sorted(Path(hierarchy.mountpoint).rglob("*")):
            found[str(path)] = path.read_text() if path.is_file() else "(group)"
    return found


def changed(before: dict[str, str], host: FakeHost) -> dict[str, str]:
    """What is not as before, but for controllers that stay switched on above."""
    now = snapshot(host)
    return {path: text for path, text in now.items() if before.get(path) != text} | {
        path: "(gone)" for path in before if path not in now
    }


def limits(properties: tuple[str, ...]) -> list[str]:
    names = ("Memory", "TasksMax", "CPU", "IO", "Block", "Allowed")
    return [p for p in properties if p.startswith(names) and "Accounting" not in p]


#: what systemd is told of `WORDS`, by layout: the controllers that it manages there, and one task
#: more, the keeper's
ALL = ["CPUQuotaPerSecUSec=500000", "CPUQuotaPeriodUSec=100000", "MemoryMax=67108864"]
TOLD = {
    "debian12-unified": [*ALL, "TasksMax=21"],
    "debian12-hybrid": [*ALL[:2], "MemoryLimit=67108864", "TasksMax=21"],
    "debian12-legacy": [*ALL[:2], "MemoryLimit=67108864", "TasksMax=21"],
    "debian12-mixed": [*ALL[:2], "MemoryLimit=67108864"],
}


def test_what_systemd_is_told(
    manager: Manager, systemd: FakeSystemd, request: pytest.FixtureRequest
) -> None:
    manager.create("x", **WORDS)

    ((verb, unit, properties),) = systemd.told
    assert (verb, unit) == ("start", "cgmgr-x.scope")
    (name,) = (name for name in LAYOUTS if f"[{name}]" in request.node.name)
    assert sorted(limits(properties)) == sorted(TOLD[name])
    assert "Slice=cgmgr.slice" in properties
    assert "Delegate=True" in properties


def test_the_leaf_holds_all_of_it(manager: Manager, host: FakeHost) -> None:
    group = manager.create("x", **WORDS)

    assert group.paths == {hierarchy.key: LEAF for hierarchy in host.managed}
    written = {(path, file): value for _, path, file, value in host.writes}
    assert written[LEAF, "pids.max"] == "20"
    memory = "memory.max" if host.need("memory").version == 2 else "memory.limit_in_bytes"
    assert written[LEAF, memory] == "67108864"
    hugetlb = [file for path, file in written if path == LEAF and file.startswith("hugetlb.")]
    assert hugetlb != []
    assert group.diff() == []


def test_nothing_is_written_into_the_scope_but_to_switch_on(
    manager: Manager, host: FakeHost
) -> None:
    manager.create("x", **WORDS).update(**BIGGER)

    own = {file for _, path, file, _ in host.writes if path in (GROUP, "/cgmgr.slice", "/")}
    cpuset = {"cpuset.cpus", "cpuset.mems"}  # of v1, which systemd does not manage
    assert own - cpuset <= {"cgroup.subtree_control"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("debian12-unified", ["TasksMax=18446744073709551615"]),
        ("debian12-hybrid", ["TasksMax=18446744073709551615"]),
        ("debian12-mixed", []),
    ],
)
def test_no_limit_of_tasks_is_told_where_none_is_asked(
    name: str, wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, systemd = on(name, tmp_path, monkeypatch)
    managed(host, systemd, tmp_path).create("x")

    assert limits(systemd.told[0][2]) == wanted


def test_a_slice_has_no_keeper_and_no_task_more(manager: Manager, systemd: FakeSystemd) -> None:
    group = manager.create("a.slice", memory="64M", pids=20)

    verb, unit, properties = systemd.told[0]
    assert (verb, unit) == ("start", "a.slice")
    assert "Delegate=True" not in properties
    assert "TasksMax=21" not in properties
    assert set(group.paths.values()) == {"/a.slice"}
    assert group.diff() == []


def test_a_life_leaves_nothing(manager: Manager, host: FakeHost, systemd: FakeSystemd) -> None:
    manager.create("probe", **WORDS).delete()
    before = snapshot(host)
    group = manager.create("x", **WORDS)
    group.update(**BIGGER)
    group.delete()

    assert changed(before, host) == {}
    assert systemd.units == {}
    assert manager.rundir.records() == []


#: what a verb of systemd's may fail with: before anything is done, or with the answer lost
REFUSALS = {
    "refused": DriverError("no"),
    "late": DeadlineExceeded("late"),
}


@pytest.mark.parametrize("error", REFUSALS.values(), ids=list(REFUSALS))
def test_a_start_that_fails_leaves_nothing(
    error: CgmgrError, manager: Manager, host: FakeHost, systemd: FakeSystemd
) -> None:
    manager.create("probe", **WORDS).delete()
    before = snapshot(host)
    systemd.fail("start", error)

    with pytest.raises(type(error)):
        manager.create("x", **WORDS)

    assert changed(before, host) == {}
    assert systemd.units == {}
    assert manager.rundir.records() == []
    assert manager.rundir.cut_short() == []


def test_every_write_of_a_create_that_fails_leaves_nothing(
    manager: Manager, host: FakeHost, systemd: FakeSystemd
) -> None:
    manager.create("probe", **WORDS).delete()
    before = snapshot(host)
    host.writes.clear()
    manager.create("x", **WORDS)
    writes = list(host.writes)
    manager.open("x").delete()
    assert changed(before, host) == {}
    assert len(writes) >= 4

    for _, path, file, _ in writes:
        host.fail(path, file, errno.EIO)
        with pytest.raises(CgmgrError):
            manager.create("x", **WORDS)
        host.faults.clear()
        assert changed(before, host) == {}, f"after {file} of {path} failed"
        assert systemd.units == {}, f"after {file} of {path} failed"
        assert manager.rundir.records() == []


@pytest.mark.parametrize("changes", [BIGGER, SMALLER], ids=["bigger", "smaller"])
def test_every_single_failure_of_an_update_puts_the_old_values_back(
    changes: dict[str, Any], manager: Manager, host: FakeHost, systemd: FakeSystemd
) -> None:
    group = manager.create("x", **WORDS)
    group.update(**WORDS)
    before = snapshot(host)
    host.writes.clear()
    group.update(**changes)
    writes, after = list(host.writes), snapshot(host)
    group.update(**WORDS)
    assert changed(before, host) == {}

    for _, path, file, _ in writes:
        host.fail(path, file, errno.EIO)
        with pytest.raises(CgmgrError):
            group.update(**changes)
        host.faults.clear()
        group.update()
        assert changed(before, host) == {}, f"after {file} of {path} failed"
    # one that was late may have been done all the same
    for error, done in ((DriverError("no"), False), (DeadlineExceeded("late"), True)):
        systemd.fail("set_properties", error, after=done)
        with pytest.raises(type(error)):
            group.update(**changes)
        systemd.faults.clear()
        assert changed(before, host) == {}
    group.update(**changes)
    assert changed(after, host) == {}


def order_of(manager: Manager, changes: dict[str, Any]) -> list[str]:
    """Which comes first: "scope", or the leaf's file of a limit."""
    lines = manager.open("x").plan(**changes)
    return [
        "scope" if line.startswith("systemctl set-property") else line.split("(")[0].split("/")[-1]
        for line in lines
        if line.startswith(("systemctl", "write"))
    ]


def test_the_leaf_shrinks_before_the_scope_and_grows_after_it(
    manager: Manager, host: FakeHost
) -> None:
    del host
    manager.create("x", **WORDS)

    assert order_of(manager, SMALLER)[-1] == "scope" or "pids.max" in order_of(manager, SMALLER)[-1]
    assert order_of(manager, BIGGER)[0] == "scope"
    mixed = [name.strip() for name in order_of(manager, {"memory": "32M", "cpus": 1})]
    told = mixed.index("scope")
    assert all(name.startswith("memory.") for name in mixed[:told])
    assert all(name.startswith("cpu.") for name in mixed[told + 1 :])


def test_a_change_is_one_call(manager: Manager, systemd: FakeSystemd) -> None:
    group = manager.create("x", **WORDS)
    systemd.told.clear()
    group.update(**BIGGER)

    assert [verb for verb, _, _ in systemd.told] == ["set_properties"]


def test_a_name_that_is_taken_is_refused_before_anything_is_done(
    manager: Manager, systemd: FakeSystemd
) -> None:
    manager.create("x")
    systemd.told.clear()

    with pytest.raises(NameTaken, match=r"unit cgmgr-x\.scope has a group already"):
        manager.create("x")
    assert systemd.told == []


def test_a_unit_of_somebody_else_that_has_no_group_yet_is_taken_too(
    manager: Manager, host: FakeHost, systemd: FakeSystemd
) -> None:
    systemd.units["cgmgr-x.scope"] = "/elsewhere"
    before = snapshot(host)

    with pytest.raises(NameTaken):
        manager.create("x")
    assert changed(before, host) == {}
    assert systemd.units == {"cgmgr-x.scope": "/elsewhere"}


@pytest.mark.parametrize("name", ["x.service", "y.mount"])
def test_only_scopes_and_slices_are_made(name: str, manager: Manager) -> None:
    with pytest.raises(RequestError, match="is no scope and no slice"):
        manager.create(name)


def test_a_unit_cannot_be_threaded(manager: Manager) -> None:
    with pytest.raises(HostError, match="cannot be threaded"):
        manager.create("x", threaded=True)


def test_a_unit_that_is_elsewhere_than_its_name_says_is_given_up(
    manager: Manager, host: FakeHost, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.create("probe").delete()
    before = snapshot(host)

    def elsewhere(_host: FakeHost, _pid: int) -> dict[str, str]:
        return {"": "/b", "name=systemd": "/b"}

    monkeypatch.setattr(FakeHost, "memberships", elsewhere)

    with pytest.raises(DriverError, match=r"systemd put cgmgr-x\.scope at /b, not at"):
        manager.create("x")
    assert systemd.units == {}
    assert changed(before, host) == {}


def test_properties_of_the_unit_go_with_the_same_call(
    manager: Manager, systemd: FakeSystemd
) -> None:
    group = manager.create("x", properties=["RuntimeMaxSec=1h", "KillMode=mixed"], **WORDS)
    group.update(properties=["RuntimeMaxSec=2h"])

    (started, changed_then) = systemd.told
    assert "RuntimeMaxUSec=3600000000" in started[2]
    assert "KillMode=mixed" in started[2]
    assert changed_then == ("set_properties", "cgmgr-x.scope", ("RuntimeMaxUSec=7200000000",))


def test_a_property_that_this_systemd_does_not_know_is_refused_first(
    manager: Manager, host: FakeHost, systemd: FakeSystemd
) -> None:
    before = snapshot(host)
    for text in ("Xyzzy=1", "SendSIGHUP=perhaps"):
        with pytest.raises(RequestError):
            manager.create("x", properties=[text])
    assert systemd.told == []
    assert changed(before, host) == {}


def test_a_group_that_is_no_unit_has_no_properties(host: FakeHost, tmp_path: Path) -> None:
    manager = Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    with pytest.raises(RequestError, match="no unit of systemd, and cannot have its property Kill"):
        manager.create("x", properties=["KillMode=mixed"])
    group = manager.create("x")
    with pytest.raises(RequestError, match="no unit of systemd"):
        group.update(properties=["KillMode=mixed"])


def test_systemd_that_is_not_there_is_said_with_the_way_out(tmp_path: Path) -> None:
    host = unpack("debian12-unified", tmp_path / "host")
    with pytest.raises(DriverError, match="systemd does not run this machine") as caught:
        drivers.load("systemd", _without_systemd(host))
    assert caught.value.hint == "--driver cgroupfs"


def _without_systemd(host: FakeHost) -> FakeHost:
    booted = Path(host.root) / drivers.BOOTED
    if booted.is_dir():
        booted.rmdir()
    return host


def test_where_systemd_is_process_1_and_silent_nothing_else_is_used(tmp_path: Path) -> None:
    host = unpack("debian12-hybrid", tmp_path / "host")
    (Path(host.root) / drivers.BOOTED).mkdir(parents=True, exist_ok=True)
    before = snapshot(host)
    manager = Manager(host, rundir=Rundir(str(tmp_path / "run")))

    with pytest.raises(DriverError, match="no system bus"):
        manager.create("x", memory="64M")
    assert changed(before, host) == {}
    assert manager.rundir.records() == []


def test_a_controller_that_was_not_delegated_is_asked_for_by_a_drop_in(tmp_path: Path) -> None:
    host = unpack("debian12-unified", tmp_path / "host")
    assert host.v2 is not None
    mine = Path(host.v2.mountpoint) / "mine"
    host.tree(host.v2).mkdir("/mine")
    (mine / "cgroup.controllers").chmod(0o644)
    (mine / "cgroup.controllers").write_text("memory pids\n")

    below = host.below("/mine")
    assert below.holder("memory") is not None
    assert below.why_missing("io") == "it was not delegated to /mine"
    assert "user@.service.d/delegate.conf" in (below.fix_missing("io") or "")


@pytest.mark.parametrize("weight", [9, 1_001])
def test_a_weight_that_systemd_writes_over_is_refused_on_v1(
    weight: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, systemd = on("debian12-legacy", tmp_path, monkeypatch)
    manager = managed(host, systemd, tmp_path)
    with pytest.raises(ControllerUnavailable, match="systemd takes 10 to 1000"):
        manager.create("x", io_weight=weight)
    assert systemd.told == []

    group = manager.create("x", io_weight=weight, pids=9, best_effort=True)
    assert [str(error.operation) for error in group.report.refused] == ["set io_weight"]
    assert [(one.asked, one.held) for one in group.diff()] == [(str(weight), None)]


def test_what_decides_among_neighbours_is_in_the_scope_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v1's systemd has no property for it, and a leaf has no neighbours to speak of."""
    host, systemd = on("debian12-legacy", tmp_path, monkeypatch)
    group = managed(host, systemd, tmp_path).create("x", cpu_idle=True)

    idle = [path for _, path, file, _ in host.writes if file == "cpu.idle"]
    assert idle == ["/cgmgr.slice/cgmgr-x.scope", LEAF]
    assert group.diff() == []
    group.update(cpu_idle=False)
    assert sorted(host.writes[-2:]) == [
        ("cpu,cpuacct", path, "cpu.idle", "0") for path in ("/cgmgr.slice/cgmgr-x.scope", LEAF)
    ]


@pytest.mark.parametrize(
    ("words", "undone"),
    [
        ({"io_rbps": "254:0=1M"}, ["IOReadBandwidthMax=[]"]),
        ({"devices": "c 1:3 rwm"}, ["DeviceAllow=[]", "DevicePolicy=auto"]),
    ],
    ids=["io", "devices"],
)
def test_what_was_not_set_before_is_taken_back_too(
    words: dict[str, Any], undone: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, systemd = on("debian12-unified", tmp_path, monkeypatch)
    group = managed(host, systemd, tmp_path).create("x", memory="64M")
    host.fail(LEAF, "cgroup.max.depth", errno.EINVAL)

    with pytest.raises(CgmgrError):
        group.update(**words, unified={"cgroup.max.depth": "7"})

    _, unit, told = systemd.told[-1]
    assert unit == "cgmgr-x.scope"
    assert set(undone) <= set(told)


def test_the_most_tasks_of_all_are_no_more_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more, the keeper, would be more than there can be."""
    host, systemd = on("debian12-unified", tmp_path, monkeypatch)
    group = managed(host, systemd, tmp_path).create("x", pids=4_194_304)
    assert (
        f"TasksMax={2**64 - 1}" in systemd.told[0][2] or "TasksMax=infinity" in systemd.told[0][2]
    )
    assert group.diff() == []


def test_a_scope_of_somebody_elses_with_a_payload_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd-nspawn has a leaf of that name as well."""
    host, systemd = on("debian12-unified", tmp_path, monkeypatch)
    manager = managed(host, systemd, tmp_path)
    tree = host.tree(host.need("memory"))
    for path in ("/machine.slice", "/machine.slice/machine-p.scope"):
        tree.mkdir(path)
    tree.mkdir("/machine.slice/machine-p.scope/payload")
    systemd.units["machine-p.scope"] = "/machine.slice/machine-p.scope"
    with pytest.raises(RequestError, match="cgmgr did not make"):
        manager.open("/machine.slice/machine-p.scope").delete()


def test_a_full_name_is_the_group_that_is_recorded_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, systemd = on("debian12-unified", tmp_path, monkeypatch)
    manager = managed(host, systemd, tmp_path)
    plain = Manager(host, driver="cgroupfs", rundir=manager.rundir).create("same", memory="64M")
    manager.create("same", memory="32M")

    assert manager.open("/cgmgr/same").name == plain.name == "/cgmgr/same"
    assert manager.open("same").name == "/cgmgr.slice/cgmgr-same.scope"
