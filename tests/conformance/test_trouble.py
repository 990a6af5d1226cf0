"""systemd in trouble, with the driver in between: its bus restarts, it stands still, somebody else
stops a unit."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.drivers import systemd1
from cgmgr.drivers.systemd import Systemd
from cgmgr.drivers.systemd1 import Systemd1
from cgmgr.errors import CgmgrError, DeadlineExceeded
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.result import Result
from cgmgr.rundir import Rundir

from .test_bus import USER, frozen_systemd
from .test_groups import traces

pytestmark = pytest.mark.skipif("CGMGR_GUEST" not in os.environ, reason="systemd is in the guests")

WAITS = ["sh", "-c", "echo ready; read line; exit 3"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(Host.detect(), driver="systemd", rundir=Rundir(str(tmp_path / "run")))
    yield made
    # the error that a test caught holds on to it
    systemd_of(made).bus.close()


def systemd_of(manager: Manager) -> Systemd1:
    assert isinstance(manager.driver, Systemd)
    return manager.driver.systemd


@pytest.fixture
def name(manager: Manager, run_token: str) -> Iterator[str]:
    chosen = f"{run_token}-trouble-{os.urandom(3).hex()}"
    yield chosen
    assert manager.gc().failed == ()
    assert traces(chosen) == []
    assert left_in(manager) == []


def left_in(manager: Manager) -> list[str]:
    """What is remembered."""
    notes = (*manager.rundir.records(), *manager.rundir.cut_short())
    return [note.name for note in notes]


class Running:
    """`Group.run` under way, in a thread of its own, until `go`."""

    def __init__(self, group: Group) -> None:
        self.results: list[Result] = []
        self.errors: list[BaseException] = []
        said, says = os.pipe()
        hears, self.tells = os.pipe()

        def run() -> None:
            try:
                self.results.append(group.run(WAITS, stdin=hears, stdout=says))
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.errors.append(error)

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert os.read(said, 100) == b"ready\n"
        for fd in (said, says, hears):
            os.close(fd)

    def go(self) -> Result:
        os.close(self.tells)
        return self.end()

    def end(self) -> Result:
        self.thread.join(60)
        assert self.errors == []
        (result,) = self.results
        return result


@pytest.fixture
def restart_bus() -> Iterator[Callable[[], None]]:
    yield lambda: systemctl("restart", "dbus.service")
    # a user's manager does not come back to the bus by itself, see test_bus
    systemctl("restart", f"user@{USER}.service")


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, capture_output=True)


def test_the_bus_restarts_in_the_middle(
    manager: Manager, name: str, restart_bus: Callable[[], None]
) -> None:
    with manager.create(name, memory="64M", pids=20) as group:
        running = Running(group)
        restart_bus()
        group.update(memory="32M")
        assert group.diff() == []
        assert running.go().exit == 3
        with manager.create(f"{name}-2", pids=5) as another:
            restart_bus()
            assert another.run(["true"]).exit == 0
        restart_bus()
    assert left_in(manager) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for deadline in ("CALL_S", "JOB_S", "LOOK_S"):
        monkeypatch.setattr(systemd1, deadline, 0.5)


def late(manager: Manager, act: Callable[..., object], *args: Any, **words: Any) -> CgmgrError:
    """What it raises while systemd stands still; systemd has then looked at what it was asked for,
    and refused it: whoever asked has gone."""
    systemd = systemd_of(manager)
    assert systemd.version  # asked once, by a manager that lives long
    with frozen_systemd(), pytest.raises(DeadlineExceeded) as caught:
        act(*args, **words)
    # this comes behind what waits; jobs are done in systemd's own time
    while systemd.state("init.scope") != "active" or jobs():
        pass
    return caught.value


def jobs() -> bytes:
    listed = ["systemctl", "list-jobs", "--no-legend"]
    return subprocess.run(listed, check=True, capture_output=True).stdout


@pytest.mark.parametrize("kind", ["scope", "slice"])
def test_nothing_is_made_late(manager: Manager, name: str, kind: str, impatient: None) -> None:
    unit = f"cgmgr-{name}.scope" if kind == "scope" else f"{name.replace('-', '_')}.slice"
    error = late(manager, manager.create, name if kind == "scope" else unit, memory="64M")

    assert error.operation == "start unit"
    assert unit in str(error)
    assert left_in(manager) == []
    assert traces(unit) == []
    with manager.create(name, memory="64M") as group:
        assert group.diff() == []


def test_nothing_is_changed_late(manager: Manager, name: str, impatient: None) -> None:
    with manager.create(name, memory="64M", pids=20) as group:
        unit = group.name.rpartition("/")[2]
        before = shown(unit)
        error = late(manager, group.update, memory="32M", pids=10)

        assert error.operation == "set properties of"
        assert unit in str(error)
        assert shown(unit) == before
        assert group.diff() == []
        group.update(memory="32M", pids=10)
        assert shown(unit) != before
        assert group.diff() == []


def shown(unit: str) -> str:
    """What systemd holds of the unit."""
    names = "TasksMax,MemoryMax,MemoryLimit"
    words = ["systemctl", "show", "-p", names, unit]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_a_removal_that_was_late_can_be_done_again(
    manager: Manager, name: str, impatient: None
) -> None:
    group = manager.create(name, memory="64M")
    unit = group.name.rpartition("/")[2]
    error = late(manager, group.delete)

    assert error.operation == "stop unit"
    assert unit in str(error)
    group.delete()
    assert traces(name) == []
    assert left_in(manager) == []


def test_a_scope_that_is_stopped_ends_what_runs_in_it(manager: Manager, name: str) -> None:
    with manager.create(name, memory="64M") as group:
        running = Running(group)
        systemctl("stop", group.name.rpartition("/")[2])
        result = running.end()
        os.close(running.tells)

        assert (result.exit, result.signal, result.oom) == (None, 15, None)
        assert not result.timed_out
        # systemd removes the group in its own time
        assert result.group_gone or result.peak_memory_bytes
        assert str(result).startswith("killed by signal 15")
    assert left_in(manager) == []


def test_a_keeper_that_somebody_ended_is_no_zombie(manager: Manager, name: str) -> None:
    with manager.create(name) as group:
        (directory,) = {path.rpartition("/")[0] for path in group.paths.values()}
        tops = [Path(h.mountpoint) for h in manager.host.managed if h.key == ""] or [
            Path(manager.host.by_key("name=systemd").mountpoint)
        ]
        (pid,) = Path(f"{tops[0]}{directory}/keeper/cgroup.procs").read_text().split()
        systemctl("stop", group.name.rpartition("/")[2])
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            os.sched_yield()
        assert not Path(f"/proc/{pid}").exists()
