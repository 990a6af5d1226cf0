"""The cgroupfs driver and the group verbs, on the kernel that runs here."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cgmgr import freezer, kernfs
from cgmgr.drivers.steps import RefuseUsed
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    DeadlineExceeded,
    GroupGone,
    HostError,
    NameTaken,
    NoSuchGroup,
    RequestError,
)
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.plan import Machine

MIB = 1 << 20


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def where(host: Host, controller: str, name: str) -> Path:
    hierarchy = host.need(controller)
    return Path(hierarchy.mountpoint + kernfs.join(hierarchy.base, name))


def everywhere(host: Host, name: str) -> list[Path]:
    return [Path(h.mountpoint + kernfs.join(h.base, name)) for h in host.managed]


def handed_on(group: Path, sign: str) -> str:
    """The controllers that a cgroup2 group hands on, as they are switched on or off."""
    names = (group / "cgroup.subtree_control").read_text().split()
    return " ".join(sign + name for name in names)


def memory_file(host: Host) -> str:
    return "memory.max" if host.need("memory").version == 2 else "memory.limit_in_bytes"


def test_a_group_is_in_every_hierarchy_and_leaves_none(
    manager: Manager, host: Host, name: str
) -> None:
    group = manager.create(name, memory="64M", pids=20)
    assert all(path.is_dir() for path in everywhere(host, name))
    assert (where(host, "memory", name) / memory_file(host)).read_text() == f"{64 * MIB}\n"
    assert (where(host, "pids", name) / "pids.max").read_text() == "20\n"
    assert manager.list(kernfs.parent_of(name)) == [name]
    assert manager.open(name).resources == group.resources

    group.delete()
    assert not any(path.exists() for path in everywhere(host, name))
    assert not any(path.parent.exists() for path in everywhere(host, name)), "the made parent"
    with pytest.raises(NoSuchGroup):
        manager.open(name)


def test_what_a_group_is_asked_to_hold_is_planned_first(
    manager: Manager, host: Host, name: str
) -> None:
    lines = manager.plan(name, memory="64M")
    limit = where(host, "memory", name) / memory_file(host)

    assert f"mkdir {limit.parent}" in lines
    assert f"write {64 * MIB} > {limit}" in lines
    assert not limit.parent.exists()


def test_a_taken_name_is_refused_and_left_alone(group: Group, manager: Manager) -> None:
    with pytest.raises(NameTaken) as caught:
        manager.create(group.name, memory="1G")

    assert caught.value.hint == f"cgmgr group rm {group.name}"
    assert manager.open(group.name).resources == group.resources
    assert group.pids() == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        pytest.param({"memory": "12Q"}, RequestError, id="unit"),
        pytest.param({"memory": 0}, RequestError, id="zero"),
        pytest.param({"memory": 100}, RequestError, id="zero-by-rounding"),
        pytest.param({"cpuset": "0-4095"}, RequestError, id="cpus-that-are-not-here"),
        pytest.param({"cpuset": "3-"}, RequestError, id="malformed-list"),
        pytest.param({"io_rbps": "999:0=1M"}, RequestError, id="unknown-device"),
        pytest.param({"hugetlb": "3MB=1G"}, RequestError, id="huge-page-size"),
        pytest.param({"hugetlb": "../x=1G"}, RequestError, id="huge-page-size-with-a-path"),
        pytest.param({"rdma": "mlx5_0=hca_handle:2"}, ControllerUnavailable, id="no-controller"),
        pytest.param({"memmory": "1G"}, RequestError, id="typo"),
    ],
)
def test_bad_requests_change_nothing(
    manager: Manager, host: Host, name: str, words: dict[str, object], error: type[CgmgrError]
) -> None:
    with pytest.raises(error):
        manager.create(name, **words)  # type: ignore[arg-type]

    assert not any(path.exists() for path in everywhere(host, name))
    assert list(manager.rundir.records()) == []


def test_an_update_is_all_or_nothing(group: Group, host: Host) -> None:
    group.update(memory="64M", pids=20)
    before = {f: f.read_text() for f in (where(host, "pids", group.name) / "pids.max",)}

    with pytest.raises(CgmgrError):
        # rdma is not here, and is applied after memory and pids
        group.update(memory="32M", pids=10, rdma="mlx5_0=hca_handle:2")
    limit = where(host, "memory", group.name) / memory_file(host)
    assert limit.read_text() == f"{64 * MIB}\n"
    assert {f: f.read_text() for f in before} == before
    assert group.diff() == []


def test_a_failure_in_the_kernel_puts_the_old_values_back(
    group: Group, host: Host, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    group.update(memory="64M", pids=20, cpus=0.5)
    texts = {
        file: file.read_text()
        for file in (
            where(host, "memory", group.name) / memory_file(host),
            where(host, "pids", group.name) / "pids.max",
        )
    }
    real = kernfs.Tree.write_file

    def fail_late(tree: kernfs.Tree, directory: kernfs.Directory, file: str, data: bytes) -> None:
        if file == "pids.max" and data == b"10":
            raise OSError(errno.EIO, "?")
        real(tree, directory, file, data)

    monkeypatch.setattr(kernfs.Tree, "write_file", fail_late)
    with pytest.raises(CgmgrError, match="input/output error"):
        group.update(memory="32M", pids=10, cpus=0.25)

    assert {file: file.read_text() for file in texts} == texts
    assert group.diff() == []


def test_rounding_is_reported(group: Group) -> None:
    report = group.update(memory=64 * MIB + 1000)

    assert [(effect.asked, effect.held) for effect in report.effects][:1] == [
        (str(64 * MIB + 1000), str(64 * MIB))
    ]
    assert group.diff() == []


def test_drift_is_seen(group: Group, host: Host) -> None:
    group.update(pids=20)
    file = where(host, "pids", group.name) / "pids.max"
    file.write_text("30")

    (drift,) = group.diff()
    assert (drift.path, drift.asked, drift.held) == (str(file), "20", "30")


def test_best_effort_holds_what_it_can(group: Group, host: Host) -> None:
    report = group.update(pids=20, rdma="mlx5_0=hca_handle:2", best_effort=True)

    assert (where(host, "pids", group.name) / "pids.max").read_text() == "20\n"
    assert ["rdma" in str(error) for error in report.refused] == [True]


def test_a_raw_file_brings_its_controller(manager: Manager, host: Host, name: str) -> None:
    hugetlb = host.holder("hugetlb")
    if hugetlb is None or hugetlb.version == 1:
        pytest.skip("hugetlb is not on cgroup2 here")
    size = next(iter(host.facts.hugepage_sizes), "2MB")
    with manager.create(name, unified={f"hugetlb.{size}.max": "0"}) as group:
        held = where(host, "hugetlb", group.name) / f"hugetlb.{size}.max"
        assert held.read_text() == "0\n"


def test_a_process_joins_everywhere(
    group: Group, host: Host, sleeper: subprocess.Popen[bytes]
) -> None:
    group.add(sleeper.pid)

    assert group.pids() == [sleeper.pid]
    for path in everywhere(host, group.name):
        assert str(sleeper.pid) in (path / "cgroup.procs").read_text().split()


def test_a_thread_joins_on_v1(group: Group, host: Host, sleeper: subprocess.Popen[bytes]) -> None:
    group.add_thread(sleeper.pid)

    if host.need("cpu").version == 1:
        tasks = where(host, "cpu", group.name) / "tasks"
        assert tasks.read_text().split() == [str(sleeper.pid)]


def test_freezing_stops_the_clock_and_thawing_starts_it(group: Group) -> None:
    burner = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        group.add(burner.pid)
        group.freeze()
        assert group.state == freezer.FROZEN
        used = cpu_ticks(burner.pid)
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
        assert cpu_ticks(burner.pid) == used

        group.thaw()
        assert group.state == freezer.THAWED
        deadline = time.monotonic() + 10
        while cpu_ticks(burner.pid) == used:
            assert time.monotonic() < deadline, "it does not run again"
    finally:
        burner.kill()
        burner.wait()


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_group_frozen_from_above_is_told_apart(manager: Manager, group: Group) -> None:
    below = manager.create(f"{group.name}/below")
    group.freeze()
    assert below.state == freezer.BY_ANCESTOR
    with pytest.raises(HostError, match="is frozen above it") as caught:
        below.thaw()
    assert caught.value.hint == f"cgmgr group thaw {group.name}"

    group.thaw()
    assert below.state == freezer.THAWED
    below.delete()


def test_frozen_by_the_cgroup2_side_is_reported(group: Group, host: Host) -> None:
    if host.v2 is None or host.need("freezer").version == 2:
        pytest.skip("this host has one freezer only")
    group.at("").write("cgroup.freeze", "1")

    assert group.state == freezer.FROZEN
    group.thaw()
    assert group.state == freezer.THAWED


def test_a_freeze_that_does_not_come_is_thawed_again(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernfs.Directory.read

    def never_frozen(directory: kernfs.Directory, file: str) -> str:
        return "FREEZING\n" if file == "freezer.state" else real(directory, file)

    monkeypatch.setattr(kernfs.Directory, "read", never_frozen)
    with pytest.raises(DeadlineExceeded, match="still freezing at the deadline"):
        group.freeze(timeout=0.05)
    monkeypatch.undo()

    assert group.state == freezer.THAWED


FORKING = """
read gate
for i in 1 2 3 4 5 6 7 8; do (trap '' TERM HUP INT; while :; do sleep 0.01; done) & done
echo ready; wait
"""


def forking_in(group: Group) -> subprocess.Popen[bytes]:
    """A shell whose children fork all the time, all of them in the group."""
    shell = subprocess.Popen(["sh", "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    group.add(shell.pid)
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.close()
    assert shell.stdout.readline() == b"ready\n"
    shell.stdout.close()
    return shell


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
def test_killing_misses_nobody(group: Group, frozen: bool) -> None:
    shell = forking_in(group)
    if frozen:
        group.freeze()

    group.kill()
    assert shell.wait() == -signal.SIGKILL
    assert group.pids(recursive=True) == []
    assert group.state == freezer.THAWED


def test_killing_without_cgroup_kill(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kernfs.Directory.has

    def without(directory: kernfs.Directory, file: str) -> bool:
        return file != "cgroup.kill" and real(directory, file)

    monkeypatch.setattr(kernfs.Directory, "has", without)
    shell = forking_in(group)

    group.kill()
    assert shell.wait() == -signal.SIGKILL
    assert group.pids(recursive=True) == []


def test_another_signal_is_sent_once(group: Group, sleeper: subprocess.Popen[bytes]) -> None:
    group.add(sleeper.pid)
    group.kill(signal.SIGTERM)

    assert sleeper.wait(10) == -signal.SIGTERM
    group.wait_empty()


def test_waiting_is_bounded(group: Group, sleeper: subprocess.Popen[bytes]) -> None:
    group.add(sleeper.pid)

    with pytest.raises(DeadlineExceeded, match="1 process is still in") as caught:
        group.wait_empty(timeout=0.05)
    assert caught.value.hint == f"ps -fp {sleeper.pid}"


@pytest.mark.parametrize("way", ["kill", "delete", "wait"])
def test_the_group_above_that_keeps_the_killed_frozen_is_named(
    manager: Manager, name: str, host: Host, sleeper: subprocess.Popen[bytes], way: str
) -> None:
    if host.need("freezer").version == 2:
        pytest.skip("on cgroup2 the frozen die")
    with manager.create(name) as above, manager.create(f"{name}/in") as group:
        group.add(sleeper.pid)
        above.freeze()
        acts: dict[str, Callable[..., None]] = {
            "kill": group.kill,
            "delete": group.delete,
            "wait": group.wait_empty,
        }
        with pytest.raises(DeadlineExceeded, match="1 process is still in") as caught:
            acts[way](timeout=0.05)
        assert f": {where(host, 'freezer', name)} is frozen above it" in str(caught.value)
        assert caught.value.hint == f"cgmgr group thaw {name}"
        above.thaw()


def test_groups_below_are_removed_too(manager: Manager, group: Group, host: Host) -> None:
    for path in everywhere(host, group.name):
        (path / "a" / "b").mkdir(parents=True)
    group.delete()

    assert not any(path.exists() for path in everywhere(host, group.name))


@pytest.mark.parametrize("stranger", ["process", "directory", "process below"])
@pytest.mark.parametrize("at", [0, -1], ids=["first-hierarchy", "last-hierarchy"])
def test_a_made_parent_that_a_stranger_uses_stays_everywhere(
    manager: Manager,
    name: str,
    host: Host,
    sleeper: subprocess.Popen[bytes],
    stranger: str,
    at: int,
) -> None:
    parents = everywhere(host, name)
    group = manager.create(f"{name}/made")
    # nothing can be put into a new group of a v1 cpuset hierarchy, which is empty
    usual = [h for h in host.managed if h.version == 2 or "cpuset" not in h.controllers]
    parent = Path(usual[at].mountpoint + kernfs.join(usual[at].base, name))
    theirs = parent if stranger == "process" else parent / "theirs"
    theirs.mkdir(exist_ok=True)
    before = [path.stat().st_ino for path in parents]
    if stranger == "process" and (parent / "cgroup.subtree_control").exists():
        (parent / "cgroup.subtree_control").write_text(handed_on(parent, "-"))
    if stranger != "directory":
        (theirs / "cgroup.procs").write_text(str(sleeper.pid))
    try:
        group.delete()
        assert [path.stat().st_ino for path in parents] == before, "they never went"
    finally:
        sleeper.kill()
        sleeper.wait()
        if theirs != parent:
            theirs.rmdir()
    manager.gc()
    assert [path for path in parents if path.is_dir()] == []


def test_one_who_comes_while_a_made_parent_goes_finds_it_everywhere(
    manager: Manager, name: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = everywhere(host, name)
    group = manager.create(f"{name}/made")
    theirs = parents[-1] / "theirs"
    look = RefuseUsed.execute

    def looked(step: RefuseUsed, machine: Machine) -> None:
        look(step, machine)
        theirs.mkdir(exist_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr(RefuseUsed, "execute", looked)
        group.delete()
    assert [path for path in parents if not path.is_dir()] == []
    theirs.rmdir()
    manager.gc()
    assert [path for path in parents if path.is_dir()] == []


def test_a_group_that_vanished_is_gone(manager: Manager, name: str, host: Host) -> None:
    group = manager.create(name)
    for path in everywhere(host, name):
        path.rmdir()

    with pytest.raises(NoSuchGroup):
        group.update(pids=3)
    with pytest.raises(GroupGone):
        group.pids()
    group.delete()
    assert list(manager.rundir.records()) == []


def test_a_foreign_group_can_be_opened(manager: Manager, name: str, host: Host) -> None:
    pids = where(host, "pids", name)
    pids.mkdir(parents=True)
    group = manager.open(name)
    try:
        assert list(group.paths) == ["pids"]
        group.update(pids=7)
        assert (pids / "pids.max").read_text() == "7\n"
    finally:
        group.close()
        pids.rmdir()
        pids.parent.rmdir()
        manager.rundir.delete(name)


def test_gc_removes_what_a_killed_process_left(
    manager: Manager, name: str, host: Host, sleeper: subprocess.Popen[bytes]
) -> None:
    child = os.fork()
    if child == 0:  # its group outlives it, with a process inside
        group = manager.create(name, ephemeral=True)
        group.add(sleeper.pid)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert where(host, "pids", name).is_dir()

    collected = manager.gc()
    assert name in collected.removed
    assert collected.failed == ()
    assert sleeper.wait() == -signal.SIGKILL
    assert not any(path.exists() for path in everywhere(host, name))
    assert list(manager.rundir.records()) == []


def test_a_perf_descriptor_is_the_groups_directory(group: Group, host: Host) -> None:
    fd = group.perf_fd()
    try:
        wanted = where(host, "perf_event", group.name).stat()
        assert os.fstat(fd).st_ino == wanted.st_ino
    finally:
        os.close(fd)


def test_stats_say_what_the_kernel_counts(group: Group, sleeper: subprocess.Popen[bytes]) -> None:
    group.update(memory="64M", pids=20)
    group.add(sleeper.pid)
    stats = group.stats()

    assert stats.errors == ()
    assert stats.pids is not None
    assert stats.pids.current == 1
    assert stats.memory is not None
    assert stats.memory.max_bytes == 64 * MIB


def test_a_process_that_one_hierarchy_does_not_take_stays_where_it_was(
    group: Group,
    host: Host,
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = host.memberships(sleeper.pid)
    last = [h for h in host.managed if h.key in group.paths][-1]
    real = kernfs.Tree.write_file

    def refuse(tree: kernfs.Tree, directory: kernfs.Directory, file: str, data: bytes) -> None:
        here = directory.path == group.paths[last.key] and tree.mountpoint == last.mountpoint
        if file == "cgroup.procs" and here:
            raise OSError(errno.EBUSY, "?")
        real(tree, directory, file, data)

    monkeypatch.setattr(kernfs.Tree, "write_file", refuse)
    with pytest.raises(CgmgrError, match="busy"):
        group.add(sleeper.pid)

    assert host.memberships(sleeper.pid) == before


def test_a_process_that_is_not_there_is_refused(group: Group) -> None:
    with pytest.raises(RequestError, match="there is no process 4194305"):
        group.add(4194305)


def test_a_parent_that_was_there_before_in_one_hierarchy_stays_there(
    manager: Manager, host: Host, run_token: str
) -> None:
    holder = host.need("memory")
    theirs = Path(holder.mountpoint, f"{run_token}-theirs")
    theirs.mkdir()
    try:
        manager.create(f"/{theirs.name}/x").delete()
        assert theirs.is_dir()
        beside = [Path(h.mountpoint, theirs.name) for h in host.managed if h.key != holder.key]
        assert not any(path.exists() for path in beside)
    finally:
        theirs.rmdir()
