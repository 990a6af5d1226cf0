"""What every test of this folder begins with: a manager over each driver that this machine has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cgmgr.driver import BOOTED
from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from tests import support

DRIVERS = ("cgroupfs", "systemd", "outside")
OUTSIDE = Path(__file__).parent / "outside"
"""A package of its own; its driver is found by the entry point `cgmgr.drivers`."""

Proves = Callable[[str, str], None]


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.detect()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "systemd" and not Path("/", BOOTED).is_dir():
        pytest.skip("needs systemd as PID 1 (sd_booted(3))")
    if name == "outside":
        monkeypatch.setattr(sys, "path", [str(OUTSIDE), *sys.path])
    return name


@pytest.fixture
def proves(driver: str, record_property: Callable[[str, object], None]) -> Proves:
    """Say what the test shows, if it passes: a row of README's table, and one of `support.HOW`."""

    def say(row: str, what: str) -> None:
        record_property(support.PROPERTY, [driver, row, what])

    return say


@pytest.fixture
def manager(host: Host, driver: str, tmp_path: Path) -> Manager:
    return Manager(host, driver=driver, rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture
def group(manager: Manager, run_token: str) -> Iterator[Group]:
    with manager.create(f"{run_token}-{os.urandom(3).hex()}") as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def switched_on_as_before() -> Iterator[None]:
    """What was switched on at cgroup2's root for a group stays on (docs/adr/0003); here it is
    switched off again, so that a machine is left as it was."""
    v2 = Host.detect().v2
    if v2 is None or not os.access(v2.mountpoint, os.W_OK):
        yield
        return
    control = Path(v2.mountpoint, "cgroup.subtree_control")
    before = set(control.read_text().split())
    yield
    for name in set(control.read_text().split()) - before:
        control.write_text(f"-{name}")
