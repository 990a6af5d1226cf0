"""Containers in groups: small limits suffice, membership, and what they see of it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import CgmgrError, KernelError
from cgmgr.group import Group
from cgmgr.host import Hierarchy, Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from cgmgr.runtime import launcher, namespaces
from cgmgr.runtime.launcher import Container
from cgmgr.spawn import Placement

from .containers import Lab, Outcome, tiny_root

MIB = 1 << 20


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> Lab:
    return Lab(Host.detect(), tmp_path, run_token)


@contextlib.contextmanager
def group_of(lab: Lab, **words: Any) -> Generator[Group]:
    manager = Manager(lab.host, driver="cgroupfs", rundir=Rundir(str(lab.folder / "groups")))
    with manager.create(f"/{lab.token}/{lab.name()}", **words) as group:
        yield group


def run_in(lab: Lab, group: Group, *argv: str, **fields: Any) -> Outcome:
    with lab.streams() as (streams, outcome), Placement.of(group) as place:
        launch = lab.launch(placement=place, **streams)
        return outcome(launcher.run_container(lab.request(*argv, **fields), launch))


@pytest.mark.parametrize("terminal", [False, True], ids=["plain", "with-a-terminal"])
def test_six_mebibytes_and_one_task_run_true(lab: Lab, tmp_path: Path, terminal: bool) -> None:
    root = tiny_root(tmp_path / "root")
    for fields in ({"rootfs": "host"}, {"rootfs": str(root)}):
        with group_of(lab, memory="6m", pids=1) as group:
            assert run_in(lab, group, "true", terminal=terminal, **fields).code == 0
    assert lab.left() == []


def test_it_is_in_the_group_in_every_hierarchy(lab: Lab) -> None:
    with (
        group_of(lab) as group,
        lab.streams() as (streams, _),
        Placement.of(group) as place,
        Container.create(
            lab.request("sleep", "1000"), lab.launch(placement=place, **streams)
        ) as container,
    ):
        pid = container.process.pid
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        found = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}
        assert {key: found[key] for key in group.paths} == group.paths
        assert group.pids() == [pid]


def test_it_sees_its_group_as_the_root(lab: Lab) -> None:
    limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    if lab.host.need("memory").version == 2:
        limit = "/sys/fs/cgroup/memory.max"
    with group_of(lab, memory="64m") as group:
        said = run_in(lab, group, "cat", limit, "/proc/self/cgroup").out.splitlines()

    assert said[0] == str(64 * MIB)
    assert {line.rpartition(":")[2] for line in said[1:]} == {"/"}


def test_it_sees_the_hosts_groups_if_it_is_to(lab: Lab) -> None:
    shared = tuple(name for name in namespaces.DEFAULT if name != "cgroup")
    with group_of(lab) as group:
        said = run_in(lab, group, "cat", "/proc/self/cgroup", namespaces=shared).out

    found = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in said.splitlines()}
    assert {key: found[key] for key in group.paths} == group.paths


def test_peaks_are_reset_right_before_the_program(lab: Lab) -> None:
    """Not before the container is made: what that takes is ours.  A plain file shows the writes."""
    peak = lab.folder / "peak"
    peak.write_text("1234")
    with (
        lab.streams() as (streams, _),
        peak.open("r+b") as file,
        Container.create(
            lab.request("true"),
            lab.launch(placement=Placement(floor_fds=(file.fileno(),)), **streams),
        ) as container,
    ):
        assert peak.read_text() == "1234"
        assert container.init.floors is None

        container.start()

        assert peak.read_text() == "0234"
        assert container.init.floors == (b"0234",)


def test_making_a_container_takes_less_than_two_mebibytes(lab: Lab) -> None:
    name = "memory.max_usage_in_bytes"
    with group_of(lab, memory="64m") as group, group.directory("memory") as directory:
        if not directory.has(name):
            name = "memory.peak"
        with (
            lab.streams() as (streams, _),
            Placement.of(group) as place,
            Container.create(lab.request("true"), lab.launch(placement=place, **streams)),
        ):
            assert int(directory.read(name)) < 2 * MIB


def test_too_little_to_make_a_container_is_said(lab: Lab) -> None:
    """Nothing hangs, and nothing is left."""
    with group_of(lab, memory=64 << 10) as group, pytest.raises(CgmgrError) as caught:
        run_in(lab, group, "true")

    assert caught.value.errno
    assert lab.left() == []


def test_one_task_means_one(lab: Lab) -> None:
    with group_of(lab, pids=1) as group:
        said = run_in(lab, group, "/bin/sh", "-c", "true | true")

    assert "fork" in said.err
    assert said.code != 0


def test_a_host_with_cgroup2_alone(lab: Lab) -> None:
    """As it would look there: this kernel's cgroup2, in the place that it has on such a host."""
    if lab.host.v2 is None:
        pytest.skip("no cgroup2 is mounted here")
    lab.host = Host("/", (lab.host.v2.replace(mountpoint="/sys/fs/cgroup"),))

    said = lab.sh("stat -f -c %T /sys/fs/cgroup; ls /sys/fs/cgroup; mkdir /sys/fs/cgroup/x")

    assert said.out.split()[0] == "cgroup2fs"
    assert "cgroup.controllers" in said.out.split()
    assert "Read-only" in said.err


def test_no_hierarchy_is_ever_made(lab: Lab) -> None:
    """One that was unmounted since the host was looked at: in a cgroup namespace the kernel refuses
    to make it anew (cgroup_namespaces(7))."""
    unmounted = [
        line.split()[0]
        for line in Path("/proc/cgroups").read_text().splitlines()[1:]
        if line.split()[1] == "0" and line.split()[0] in ("net_cls", "net_prio")
    ]
    if not unmounted:
        pytest.skip("every controller of this kernel is mounted")
    place = f"/sys/fs/cgroup/{unmounted[0]}"
    gone = Hierarchy(key=unmounted[0], version=1, controllers=(), mountpoint=place)
    lab.host = Host("/", (gone,))

    with pytest.raises(KernelError, match=place) as caught:
        lab.run("true")

    assert caught.value.errno == errno.EPERM
    assert f"{unmounted[0]}\t0\t" in Path("/proc/cgroups").read_text()
    assert lab.left() == []
