"""What `gc` removes, and what it must not: a group that got a new owner since it was listed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cgmgr.drivers import device_filter
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.owner import Owner
from cgmgr.resources import DeviceRule
from cgmgr.rundir import GroupRecord, Rundir


class LooksTooEarly(Rundir):
    """Lists groups as they were before somebody else collected them and made them anew."""

    early: tuple[str, ...] = ()

    def records(self) -> list[GroupRecord]:
        nobody = Owner(boot_id="an earlier one", pid=1, start_ticks=0)
        return [
            GroupRecord(name=name, driver="cgroupfs", owner=nobody, ephemeral=True)
            for name in self.early
        ]


@pytest.fixture
def rundir(tmp_path: Path) -> LooksTooEarly:
    return LooksTooEarly(str(tmp_path / "run"))


@pytest.fixture
def manager(rundir: LooksTooEarly) -> Manager:
    return Manager(Host.detect(), driver="cgroupfs", rundir=rundir)


def test_a_group_with_a_living_owner_is_left_alone(
    manager: Manager, rundir: LooksTooEarly, run_token: str
) -> None:
    name = f"/{run_token}-gc"
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        with manager.create(name, ephemeral=True) as group:
            group.add(pid)
            rundir.early = (name, f"{name}-never-there")
            collected = manager.gc()
            assert group.pids() == [pid]
            assert collected.removed == ()
            assert collected.failed == ()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_groups_of_a_killed_process_are_removed(rundir: LooksTooEarly, run_token: str) -> None:
    name = f"/{run_token}-gc"
    manager = Manager(Host.detect(), driver="cgroupfs", rundir=Rundir(rundir.root))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        manager.create(name, ephemeral=True).add(os.getpid())
        os.write(writing, b".")
        signal.pause()
        os._exit(0)
    os.read(reading, 1)
    assert manager.gc().removed == ()

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    assert manager.gc().removed == (name,)
    assert not manager.driver.paths(name)
    assert manager.rundir.load(name) is None


def test_the_record_of_a_group_that_somebody_removed_goes(tmp_path: Path, run_token: str) -> None:
    manager = Manager(driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    group = manager.create(f"/{run_token}-vanished/x")
    stays = manager.create(f"/{run_token}-vanished/y")
    for key, path in group.paths.items():
        manager.host.tree(manager.host.by_key(key)).rmdir(path)

    assert manager.gc().removed == (group.name,)
    assert [r.name for r in manager.rundir.records() if not r.implicit] == [stays.name]
    stays.delete()
    assert manager.rundir.records() == []


def test_a_group_takes_those_below_it_and_their_records_along(
    tmp_path: Path, run_token: str
) -> None:
    manager = Manager(driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    top = manager.create(f"/{run_token}-along")
    for name in ("a", "a/b/c", "a-b"):
        manager.create(f"{top.name}/{name}").close()
    beside = manager.create(f"/{run_token}-along-beside")

    top.delete()

    assert [record.name for record in manager.rundir.records()] == [beside.name]
    beside.delete()
    assert list(Path(manager.rundir.path).iterdir()) == []


def test_two_who_change_different_settings_both_keep_theirs(tmp_path: Path, run_token: str) -> None:
    manager = Manager(driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    with manager.create(f"/{run_token}-two", pids=5) as group:
        other = manager.open(group.name)
        group.update(pids=6)
        other.update(memory="64M")

        recorded = manager.rundir.load(group.name)
        assert recorded is not None
        assert recorded.resources == {"pids": "6", "memory": "64M"}
        assert other.diff() == []


def test_a_device_filter_that_was_being_replaced_is_back(tmp_path: Path, run_token: str) -> None:
    """On cgroup2 it is a program, which is gone with the process that could have put it back."""
    usual = Host.detect()
    if usual.v2 is None:
        pytest.skip("cgroup2 is not mounted")
    alone = usual.v2.replace(controllers=(*usual.v2.controllers, "devices"))
    manager = Manager(Host("/", (alone,)), driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    null = DeviceRule(kind="c", major=1, minor=3)
    group = manager.create(f"/{run_token}-filter")
    try:
        for old in (None, (null,)):
            if old is not None:
                group.update(devices=old)
            _killed_once_the_filter_is_new(manager, group.name)
            assert not _holds(group, old or (DeviceRule(kind="a"),))
            assert manager.gc().restored == (group.name,)
            assert _holds(group, old or (DeviceRule(kind="a"),))
    finally:
        group.delete()


def _die(_record: GroupRecord) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_once_the_filter_is_new(manager: Manager, name: str) -> None:
    child = os.fork()
    if child == 0:
        setattr(manager.rundir, "save", _die)  # noqa: B010 - a method, to the type checkers
        manager.open(name).update(devices=(DeviceRule(kind="c", major=1, minor=5),))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _holds(group: Group, rules: tuple[DeviceRule, ...]) -> bool:
    return device_filter.holds(group.directory("devices"), rules)
