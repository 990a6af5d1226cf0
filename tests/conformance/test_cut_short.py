"""Killed at every step of making, changing and removing a unit: the next command clears up.

A step is whatever can be seen from outside: a call to systemd, the start and the release of the
keeper, a directory made or removed, a file of the kernel's or of the state directory written.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr import kernfs, spawn
from cgmgr.drivers.systemd1 import Systemd1
from cgmgr.errors import NoSuchGroup
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from cgmgr.spawn import process
from tests.root import test_cut_short as cut
from tests.root.test_cut_short import killed_before, places

pytestmark = pytest.mark.skipif("CGMGR_GUEST" not in os.environ, reason="systemd is in the guests")

STEPS = (
    *cut.STEPS,
    (Systemd1, "start"),
    (Systemd1, "stop"),
    (Systemd1, "set_properties"),
    (spawn.Process, "release"),
)
#: elsewhere there are more steps of the same kind, one a hierarchy, and a guest is slow
STRIDE = 1 if os.environ.get("CGMGR_GUEST") == "unified" else 7
OLD: dict[str, Any] = {"memory": "64M", "cpus": 0.5, "pids": 50}
NEW: dict[str, Any] = {"memory": "128M", "cpus": 0.25, "pids": 60}
FILES = (
    *("memory.limit_in_bytes", "cpu.cfs_quota_us", "pids.max"),
    *("memory.max", "cpu.max"),
)


@pytest.fixture(autouse=True)
def more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "STEPS", STEPS)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(Host.detect(), driver="systemd", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture
def name(run_token: str, manager: Manager) -> Iterator[str]:
    chosen = manager.full_name(f"{run_token}-cut")
    yield chosen
    with contextlib.suppress(NoSuchGroup):
        manager.open(chosen).delete()
    manager.gc()
    assert left(manager, chosen) == []
    # keepers of ours whose units others removed
    process.reap_orphans()


def left(manager: Manager, name: str) -> list[str]:
    """What there is of a group: its unit, its directories, what is remembered of it."""
    unit = name.rpartition("/")[2]
    listed = subprocess.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", unit],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return [
        *listed,
        *places(manager, name),
        *(record.name for record in manager.rundir.records()),
        *(note.name for note in manager.rundir.cut_short()),
    ]


def values(manager: Manager, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the scope and its leaf hold."""
    found: list[dict[str, str]] = []
    for group in (name, f"{name}/payload"):
        texts: dict[str, str] = {}
        for place in places(manager, group):
            for file in FILES:
                path = Path(place) / file
                if path.exists():
                    texts[file] = path.read_text()
        found.append(texts)
    return found[0], found[1]


def test_a_unit_that_was_being_made_goes(manager: Manager, name: str) -> None:
    step = 0
    while killed_before(step, lambda: manager.create(name, **NEW)):
        assert manager.gc().failed == ()
        assert left(manager, name) == [], f"step {step}"
        step += STRIDE
    assert step > 10
    assert manager.gc().removed == ()
    assert len(places(manager, f"{name}/payload")) == len(manager.host.managed)


def test_a_unit_that_was_being_changed_is_as_it_was(manager: Manager, name: str) -> None:
    manager.create(name, **OLD).close()
    before, record = values(manager, name), manager.rundir.load(name)
    assert before[0] != before[1], "one task more"
    step = told = 0
    while killed_before(step, lambda: manager.open(name).update(**NEW)):
        told += values(manager, name)[0] != before[0]
        assert manager.gc().failed == ()
        if manager.rundir.load(name) != record:  # everything but the end of it was done
            manager.open(name).update(**OLD)
        assert values(manager, name) == before, f"step {step}"
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        assert values(manager, name) == before, f"step {step}, systemd has other values"
        step += STRIDE
    assert step > 5
    assert told > 1 or STRIDE > 1
    assert manager.open(name).diff() == []


def test_a_unit_that_was_being_removed_goes(manager: Manager, name: str) -> None:
    def killed(step: int) -> bool:
        manager.create(name, pids=5).close()
        return killed_before(step, lambda: manager.open(name).delete())

    step = 0
    while killed(step):
        assert manager.gc().failed == ()
        if len(places(manager, name)) == len(manager.host.managed):
            manager.open(name).delete()
        assert left(manager, name) == [], f"step {step}"
        step += STRIDE
    assert step > 3
    assert kernfs.parent_of(name) == "/cgmgr.slice"
