"""Killed at every single step of making, changing and removing a group: the next command clears up.

A step is whatever can be seen from outside: a directory made or removed, a file of the kernel's
written, a file of the state directory written, renamed or removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr import kernfs, statefile
from cgmgr.errors import CgmgrError, GroupBusy, NoSuchGroup
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.resources import DeviceRule
from cgmgr.rundir import Rundir

STEPS = (
    (kernfs.Tree, "mkdir"),
    (kernfs.Tree, "rmdir"),
    (kernfs.Tree, "write_file"),
    (statefile, "write"),
    (statefile, "rename"),
    (statefile, "unlink"),
)

FILES = (
    *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "pids.max"),
    *("memory.max", "memory.swap.max", "cpu.max", "devices.list"),
)
OLD: dict[str, Any] = {"memory": "64M", "swap": 0, "cpus": 0.5, "pids": 50}
NEW: dict[str, Any] = {"memory": "128M", "swap": "32M", "cpus": 0.25, "pids": 60}


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(Host.detect(), driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture
def name(run_token: str, manager: Manager) -> Iterator[str]:
    chosen = f"/{run_token}-cut/x"
    yield chosen
    with contextlib.suppress(NoSuchGroup):
        manager.open(chosen).delete()
    manager.gc()
    assert places(manager, kernfs.parent_of(chosen)) == []
    assert manager.rundir.records() == []
    assert list(Path(manager.rundir.path).iterdir()) == []


def killed_before(step: int, act: Callable[[], object]) -> bool:
    """Do `act` in a child that is killed before that step; False where it got to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            kill_before(step)
            act()
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), "the child failed"
    return code != 0


def kill_before(step: int) -> None:
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*arguments)

        return act

    for place, function in STEPS:
        setattr(place, function, counted(getattr(place, function)))


def places(manager: Manager, name: str) -> list[str]:
    paths = (h.mountpoint + kernfs.join(h.base, name) for h in manager.host.managed)
    return [path for path in paths if Path(path).exists()]


def held(manager: Manager, name: str) -> dict[str, str]:
    """What the kernel holds of the settings, by file."""
    found: dict[str, str] = {}
    for place in places(manager, name):
        for file in FILES:
            path = Path(place) / file
            if path.exists():
                found[file] = path.read_text()
    assert len(found) >= 4
    return found


def test_a_group_that_was_being_made_goes(manager: Manager, name: str) -> None:
    step = 0
    while killed_before(step, lambda: manager.create(name, **NEW)):
        manager.gc()
        assert places(manager, kernfs.parent_of(name)) == [], f"step {step}"
        assert list(Path(manager.rundir.path).iterdir()) == [], f"step {step}"
        step += 1
    assert step > 20
    assert manager.gc().removed == ()
    assert len(places(manager, name)) == len(manager.host.managed)


def test_a_group_that_was_being_made_can_be_made_at_once(manager: Manager, name: str) -> None:
    for step in range(1, 30, 4):
        assert killed_before(step, lambda: manager.create(name, **NEW))
        manager.create(name, pids=7).delete()
        assert places(manager, kernfs.parent_of(name)) == [], f"step {step}"


@pytest.mark.parametrize("first", ["gc", "set"])
def test_a_group_that_was_being_changed_is_as_it_was(
    manager: Manager, name: str, first: str
) -> None:
    manager.create(name, **OLD).close()
    before, record = held(manager, name), manager.rundir.load(name)
    step = 0
    while killed_before(step, lambda: manager.open(name).update(**NEW)):
        new = manager.rundir.load(name) != record
        if first == "gc":
            assert manager.gc().failed == ()
        else:
            manager.open(name).update(pids=NEW["pids"] if new else OLD["pids"])
        if new:  # everything but the end of it was done
            manager.open(name).update(**OLD)
        assert held(manager, name) == before, f"step {step}"
        assert manager.rundir.load(name) == record
        assert manager.rundir.noted(name) is None
        step += 1
    assert step > 5
    assert manager.gc().restored == ()
    assert manager.open(name).diff() == []
    assert held(manager, name) != before


def test_the_devices_of_a_group_that_was_being_changed_are_as_they_were(
    manager: Manager, name: str
) -> None:
    null = DeviceRule(kind="c", major=1, minor=3)
    zero = DeviceRule(kind="c", major=1, minor=5, access="r")
    manager.create(name, devices=(null,)).close()
    before = held(manager, name)
    step = 0
    while killed_before(step, lambda: manager.open(name).update(devices=(zero,))):
        manager.gc()
        if held(manager, name) != before:  # everything but the end of it was done
            assert manager.open(name).diff() == []
            manager.open(name).update(devices=(null,))
        assert held(manager, name) == before, f"step {step}"
        step += 1
    assert step > 2


def test_a_group_of_somebody_else_that_was_being_changed_is_as_it_was(
    manager: Manager, name: str
) -> None:
    group = manager.create(name, **OLD)
    manager.rundir.delete(name)
    before = held(manager, name)
    step = 0
    while killed_before(step, lambda: manager.open(name).update(**NEW)):
        if step and manager.rundir.noted(name) is None:
            break  # it was done, only the lock was not let go of
        manager.gc()
        assert held(manager, name) == before, f"step {step}"
        assert manager.rundir.load(name) is None
        step += 1
    assert step > 5
    assert held(manager, name) != before
    group.delete()


@pytest.mark.parametrize("kill", [True, False], ids=["with-force", "without"])
def test_a_group_that_was_being_removed_goes(manager: Manager, name: str, kill: bool) -> None:
    def killed(step: int) -> bool:
        manager.create(name, pids=5).close()
        manager.create(f"{name}/below", pids=5).close()
        return killed_before(step, lambda: manager.open(name).delete(kill=kill))

    step = 0
    while killed(step):
        collected = manager.gc()
        assert collected.failed == ()
        if len(places(manager, name)) == len(manager.host.managed):
            assert not collected.removed, "nothing had begun"
            manager.open(name).delete()
        assert places(manager, kernfs.parent_of(name)) == [], f"step {step}"
        assert manager.rundir.records() == [], f"step {step}"
        step += 1
    assert step > 15


def test_processes_that_were_being_killed_do_not_outlive_the_group(
    manager: Manager, name: str
) -> None:
    for step in range(1, 12, 3):
        group = manager.create(name, pids=5)
        with subprocess.Popen(["sleep", "1000"]) as sleeper:
            try:
                group.add(sleeper.pid)
                assert killed_before(step, lambda: manager.open(name).delete())
                assert manager.gc().removed == (name,)
                assert sleeper.wait(10) == -signal.SIGKILL
            finally:
                sleeper.kill()
        assert places(manager, kernfs.parent_of(name)) == []


def test_a_removal_without_force_never_costs_a_process_its_life(
    manager: Manager, name: str
) -> None:
    group = manager.create(name, pids=5)
    assert killed_before(2, lambda: manager.open(name).delete(kill=False))
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        try:
            (Path(places(manager, name)[-1]) / "cgroup.procs").write_text(str(sleeper.pid))
            collected = manager.gc()
            ((failed, reason),) = collected.failed
            assert (failed, collected.removed) == (name, ())
            assert f"group {name} holds a process ({sleeper.pid})" in reason
            assert sleeper.poll() is None
            assert manager.gc().failed == ()
            with pytest.raises(GroupBusy):
                manager.open(name).delete(kill=False)
        finally:
            sleeper.kill()
    group.delete()


@pytest.mark.parametrize("next_act", ["update", "create below"])
def test_a_removal_that_had_not_begun_is_in_nobodys_way(
    manager: Manager, name: str, next_act: str
) -> None:
    group = manager.create(name, pids=5)
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        try:
            assert killed_before(1, lambda: manager.open(name).delete(kill=False))
            group.add(sleeper.pid)
            if next_act == "update":
                (line,) = manager.open(name).update(pids=6).lost
                assert "was given up" in line
            else:
                manager.create(f"{name}/below").delete()
            assert (manager.gc().failed, manager.orphans()) == ((), ())
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
    group.delete()


def test_what_cannot_be_put_back_is_told_once(manager: Manager, name: str) -> None:
    """A process that has grown since does not fit under the old limit any more."""
    group = manager.create(name, memory="16M", swap=0)
    step = 1
    while "16777216\n" in held(manager, name).values():
        assert killed_before(step, lambda: manager.open(name).update(memory="256M", pids=9))
        step += 1
    with _eater(group.paths, manager) as eater:
        report = manager.open(name).update(pids=8)
        assert eater.poll() is None
    assert len(report.lost) >= 1
    assert "memory" in report.lost[0]
    assert manager.open(name).update(pids=7).lost == ()
    assert manager.gc().failed == ()


@contextlib.contextmanager
def _eater(paths: dict[str, str], manager: Manager) -> Generator[subprocess.Popen[bytes]]:
    holder = manager.host.need("memory")
    join = f"{holder.mountpoint}{paths[holder.key]}/cgroup.procs"
    eat = "x = bytearray(64 << 20); print(1, flush=True); input()"
    script = f"echo $$ > {join}; exec python3 -c '{eat}'"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"1\n"
            yield process
        finally:
            process.kill()


def test_a_half_removed_group_does_not_take_new_ones_with_it(manager: Manager, name: str) -> None:
    manager.create(name, pids=5).close()
    assert killed_before(1, lambda: manager.open(name).delete())
    below = manager.create(f"{name}/below", pids=5)
    collected = manager.gc()

    assert (collected.removed, collected.failed) == ((), ())
    assert len(places(manager, below.name)) == len(manager.host.managed)
    below.delete()


def test_what_somebody_is_at_work_with_is_left_alone(manager: Manager, name: str) -> None:
    group = manager.create(name, pids=5)
    with manager.rundir.lock(name):
        manager.rundir.retract(name)
        assert manager.gc().removed == ()
        assert manager.orphans() == ()
        assert manager.rundir.commit(name)
    assert manager.open(name).resources == group.resources


def test_half_a_group_is_opened_and_removed(manager: Manager, name: str) -> None:
    manager.create(name, pids=5).close()
    assert killed_before(4, lambda: manager.open(name).delete())
    assert 0 < len(places(manager, name)) < len(manager.host.managed)
    assert manager.orphans() == (name,)

    group = manager.open(name)
    with pytest.raises(CgmgrError):
        group.update(pids=7)
    assert places(manager, name) == [], "the change cleared up first"


# -- what has no note: it is what was asked for, as far as it came, and is done again


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_a_freeze_that_was_cut_short_is_a_freeze_or_nothing(
    manager: Manager, name: str, sleeper: subprocess.Popen[bytes]
) -> None:
    group = manager.create(name)
    group.add(sleeper.pid)
    step, seen = 0, set[str]()
    while killed_before(step, group.freeze):
        seen.add(group.state)
        assert manager.gc().restored == (), "a group stays frozen until somebody thaws it"
        group.thaw()
        assert group.state == "thawed"
        step += 1
    assert seen == {"thawed"}, "the kernel goes on by itself, once it was told"
    assert group.state == "frozen"
    group.thaw()


def test_an_addition_that_was_cut_short_is_finished_by_the_next(
    manager: Manager, name: str, sleeper: subprocess.Popen[bytes]
) -> None:
    group = manager.create(name)
    elsewhere = manager.create(f"{name}-before")
    step, seen = 0, set[int]()
    while killed_before(step, lambda: group.add(sleeper.pid)):
        seen.add(len(homes(manager, name, sleeper.pid)))
        group.add(sleeper.pid)
        assert len(homes(manager, name, sleeper.pid)) == len(manager.host.managed)
        elsewhere.add(sleeper.pid)
        assert homes(manager, name, sleeper.pid) == []
        step += 1
    assert seen == set(range(len(manager.host.managed)))
    elsewhere.delete()


def test_a_kill_that_was_cut_short_is_finished_by_the_next(manager: Manager, name: str) -> None:
    group = manager.create(name)
    step, going = 0, True
    while going:
        sleeper = subprocess.Popen(["sleep", "1000"])
        try:
            group.add(sleeper.pid)
            going = killed_before(step, group.kill)
            group.kill()
            assert sleeper.wait(30) == -signal.SIGKILL
            assert group.pids() == []
            assert group.state == "thawed", f"step {step}"
        finally:
            group.thaw()
            sleeper.kill()
            sleeper.wait()
        step += 1


def test_a_group_that_a_kill_left_frozen_and_empty_is_thawed_by_the_next(
    manager: Manager, name: str
) -> None:
    group = manager.create(name)
    freezer = group.directory("freezer")
    if not freezer.has("freezer.state"):
        pytest.skip("cgroup2 kills without freezing")
    freezer.write("freezer.state", "FROZEN")
    group.kill()
    assert group.state == "thawed"


def homes(manager: Manager, name: str, pid: int) -> list[str]:
    """The directories of a group that hold a process."""
    texts = ((place, Path(place, "cgroup.procs").read_text()) for place in places(manager, name))
    return [place for place, text in texts if str(pid) in text.split()]
