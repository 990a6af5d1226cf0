"""What `gc` removes, and what it must not: a group that got a new owner since it was listed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir


class LooksTooEarly(Rundir):
    """Lists orphans as they were before somebody else collected them and made them anew."""

    early: tuple[str, ...] = ()

    def orphans(self) -> list[str]:
        return list(self.early)


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
