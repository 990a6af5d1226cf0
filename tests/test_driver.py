"""Drivers are found by name: ours by a table, others' by entry points, each lazily."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cgmgr import driver
from cgmgr.driver import Request
from cgmgr.drivers.cgroupfs import Cgroupfs
from cgmgr.drivers.dryrun import DryRun
from cgmgr.errors import DriverError, NameTaken
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from tests.fakefs import FakeHost, unpack


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return unpack("debian12-unified", tmp_path / "host")


def test_every_driver_of_the_table_loads(host: FakeHost) -> None:
    for name in driver.TABLE:
        loaded = driver.load(name, host)
        assert loaded.name == name
        assert loaded.paths("/none") == {}


def test_an_unknown_name_says_what_there_is(host: FakeHost) -> None:
    with pytest.raises(DriverError, match="no driver 'cgrupfs': there are cgroupfs, dryrun"):
        driver.load("cgrupfs", host)


def test_a_broken_one_says_where_it_was_sought(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(driver.TABLE, "broken", "cgmgr.drivers.none:None")

    with pytest.raises(DriverError, match=r"from cgmgr\.drivers\.none:None: No module named"):
        driver.load("broken", host)


def test_one_from_outside_is_found_by_its_entry_point(host: FakeHost, tmp_path: Path) -> None:
    """A distribution beside ours, as pip would install it."""
    (tmp_path / "elsewhere.py").write_text("class Other:\n    def __init__(self, host): pass\n")
    info = tmp_path / "elsewhere-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: elsewhere\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cgmgr.drivers]\nother = elsewhere:Other\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cgmgr.driver import load\n"
        "print(type(load('other', None)).__name__)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.stdout, done.stderr) == ("Other\n", "")


def test_ours_load_without_reading_entry_points() -> None:
    code = (
        "import sys; from cgmgr.driver import load\n"
        "load('cgroupfs', None); print('importlib.metadata' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.')\n{code}"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_environment_names_the_driver(
    host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rundir = Rundir(str(tmp_path / "run"))
    monkeypatch.delenv("CGMGR_DRIVER", raising=False)
    assert Manager(host, rundir=rundir).driver.name == "systemd", "it is process 1 there"
    (Path(host.root) / "run/systemd/system").rmdir()
    assert Manager(host, rundir=rundir).driver.name == "cgroupfs"

    monkeypatch.setenv("CGMGR_DRIVER", "dryrun")
    assert Manager(host, rundir=rundir).driver.name == "dryrun"
    assert Manager(host, driver="cgroupfs", rundir=rundir).driver.name == "cgroupfs"


def test_a_dry_run_says_the_same_and_does_nothing(host: FakeHost) -> None:
    real, dry = Cgroupfs(host), DryRun(host, Cgroupfs(host))
    from cgmgr.plan import Machine
    from cgmgr.resources.words import resources_of

    request = Request(group="/cgmgr/x", resources=resources_of(memory="64M", pids=20))
    machine = Machine(host)
    plan = dry.create(request, dry.observe(request))
    plan.execute(machine)

    assert plan.describe(machine) == real.create(request, real.observe(request)).describe(machine)
    assert host.writes == []
    assert dry.children("/cgmgr") == []


def test_what_a_dry_run_would_refuse_is_refused(host: FakeHost, tmp_path: Path) -> None:
    Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run"))).create("x")
    dry = DryRun(host)
    request = Request(group="/cgmgr/x")

    with pytest.raises(NameTaken):
        dry.create(request, dry.observe(request))
