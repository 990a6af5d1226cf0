"""What `gc` removes, and what it must not: a group that got a new owner since it was listed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.owner import Owner
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
