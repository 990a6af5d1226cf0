"""A group of systemd's survives systemd, and is what the other driver makes of the same words."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.driver import BOOTED
from cgmgr.errors import CgmgrError, ControllerUnavailable, GroupGone, NameTaken, NoSuchGroup
from cgmgr.group import Group
from cgmgr.host import UNIFIED, Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir

from .test_groups import DISK

pytestmark = pytest.mark.skipif(
    not Path("/", BOOTED).is_dir(), reason="needs systemd as PID 1 (sd_booted(3))"
)

WORDS: dict[str, Any] = {
    "memory": "64M",
    "swap": "16M",
    "cpus": 0.5,
    "cpu_weight": 200,
    "pids": 20,
    "cpuset": "0",
    "mems": "0",
}
#: files that say what is set, not what is used; v1's and v2's
SETTINGS = (
    "memory.max",
    "memory.high",
    "memory.low",
    "memory.min",
    "memory.swap.max",
    "memory.oom.group",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "cpu.max",
    "cpu.max.burst",
    "cpu.weight",
    "cpu.idle",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpuset.cpus",
    "cpuset.mems",
    "cpuset.cpus.effective",
    "pids.max",
    "io.max",
    "hugetlb.2MB.max",
    "hugetlb.2MB.limit_in_bytes",
    "rdma.max",
    "net_cls.classid",
    "net_prio.ifpriomap",
    "freezer.state",
    "cgroup.type",
)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(driver="systemd", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture
def group(manager: Manager, run_token: str) -> Iterator[Group]:
    with manager.create(f"{run_token}-unit", **WORDS) as made:
        yield made


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def unit_of(group: Group) -> str:
    return group.name.rpartition("/")[2]


def settings(group: Group) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in group.paths:
        for file in SETTINGS:
            text = group.at(key).try_read(file)
            if text is not None:
                found[f"{key}:{file}"] = text
    return found


def test_both_drivers_make_the_same_of_it(group: Group, tmp_path: Path, run_token: str) -> None:
    files = Manager(driver="cgroupfs", rundir=Rundir(str(tmp_path / "files")))
    with files.create(f"{run_token}-files", **WORDS) as plain:
        assert settings(group) == settings(plain)


def test_it_holds_after_a_reload_and_a_neighbours_change(
    group: Group, manager: Manager, run_token: str
) -> None:
    systemctl("daemon-reload")
    assert group.diff() == []
    with manager.create(f"{run_token}-beside", memory="32M") as beside:
        systemctl("set-property", "--runtime", unit_of(beside), "TasksMax=7", "CPUQuota=30%")
        assert group.diff() == []
        systemctl("daemon-reload")
        assert group.diff() == []
    assert group.run(["true"]).exit == 0


def test_what_somebody_else_sets_on_the_unit_is_a_drift(group: Group, host: Host) -> None:
    word = "MemoryMax" if host.mode == UNIFIED else "MemoryLimit"
    systemctl("set-property", "--runtime", unit_of(group), f"{word}=48M")
    assert [drift.held for drift in group.diff()] == [str(48 << 20)]
    group.update(memory="64M")
    assert group.diff() == []


def test_a_scope_that_somebody_stops_is_told(manager: Manager, run_token: str, host: Host) -> None:
    """systemd takes the groups that it made; beside v1 it leaves those that it does not know."""
    group = manager.create(f"{run_token}-stopped", memory="64M")
    systemctl("stop", unit_of(group))
    with pytest.raises((GroupGone, NoSuchGroup, ControllerUnavailable)):
        group.update(memory="32M")
    if host.mode == UNIFIED:
        with pytest.raises(NoSuchGroup):
            manager.open(group.name)
    group.delete()
    assert manager.driver.paths(group.name) == {}
    assert list(manager.rundir.records()) == []


def test_a_name_that_is_taken(group: Group, manager: Manager) -> None:
    with pytest.raises(NameTaken):
        manager.create(group.name)
    assert group.diff() == []


def test_a_slice_limits_the_groups_in_it(manager: Manager, run_token: str) -> None:
    stem = f"cgmgr-{run_token.replace('-', '_')}"
    with manager.create(f"{stem}.slice", memory="96M", pids=50) as slice_:
        assert slice_.diff() == []
        with manager.create(f"{stem}.slice/x", memory="200M") as inner:
            assert inner.name.startswith(f"{slice_.name}/")
            assert manager.list(slice_.name) == [inner.name]
            hog = ["sh", "-c", "head -c 150M /dev/zero | tail -c 150M > /dev/null"]
            done = inner.run(hog)
            assert done.oom is not None
            assert (done.oom.whose, done.oom.limit_bytes) == ("ancestor", 96 << 20)
        slice_.update(memory="128M")
        assert slice_.diff() == []
    assert systemctl("list-units", "--all", "--plain", "--no-legend", f"{stem}*") == ""


def test_systemd_knows_the_limits(group: Group, host: Host) -> None:
    names = "TasksMax,CPUQuotaPerSecUSec,MemoryMax,MemoryLimit,Delegate"
    shown = dict(
        line.split("=", 1) for line in systemctl("show", "-p", names, unit_of(group)).splitlines()
    )
    assert shown["CPUQuotaPerSecUSec"] == "500ms"
    assert shown["Delegate"] == "yes"
    memory = "MemoryMax" if host.mode == UNIFIED else "MemoryLimit"
    assert shown[memory] == str(64 << 20)
    pids = host.holder("pids")
    if pids is not None and (pids.version == 1 or host.mode == UNIFIED):
        assert shown["TasksMax"] == "21", "the keeper is one of them"


def test_a_change_that_fails_leaves_systemd_as_it_was(group: Group, host: Host) -> None:
    names = "AllowedCPUs,IOReadBandwidthMax,BlockIOReadBandwidth,DevicePolicy,DeviceAllow,TasksMax"
    before = systemctl("show", "-p", names, unit_of(group))
    words: dict[str, Any] = {"cpuset": "0", "mems": "0", "pids": 30, "io_rbps": f"{DISK}=1M"}
    if host.mode == UNIFIED:
        words["devices"] = "c 1:3 rwm"

    with pytest.raises(CgmgrError):
        group.update(**words, unified={"cgroup.max.depth": "no number"})

    assert systemctl("show", "-p", names, unit_of(group)) == before
    assert group.diff() == []
