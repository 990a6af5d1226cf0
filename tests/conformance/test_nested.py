"""A container in which cgmgr itself makes groups and containers, under smaller limits.

The checkout and the interpreter that run the tests are bound into it.  It needs what docker's users
give: writable cgroups for groups, two capabilities more for containers.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.driver import BOOTED
from cgmgr.host import Host
from cgmgr.manager import Manager
from tests.root.containers import tiny_root

from .boxes import Box

CHECKOUT = Path(__file__).parents[2]
CGMGR = f"{sys.executable} -m cgmgr"
HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1"
GROUPS = ("--security-opt", "writable-cgroups=true")
CONTAINERS = (*GROUPS, "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN")


@pytest.fixture(scope="module", params=["cgroupfs", "systemd"])
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "systemd" and not Path("/", BOOTED).is_dir():
        pytest.skip("needs systemd as PID 1 (sd_booted(3))")
    return name


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with another one in it."""
    made = tiny_root(tmp_path_factory.mktemp("nested") / "root")
    (made / "bin/dd").symlink_to("busybox")
    inner = tiny_root(made / "inner")
    (inner / "bin/dd").symlink_to("busybox")
    return made


@pytest.fixture
def box(host: Host, driver: str, run_token: str) -> Iterator[Box]:
    made = Box.of(Manager(host, driver=driver), f"{run_token}-nested")
    yield made
    assert made.left() == []


def volumes() -> Iterator[str]:
    """What Python and the checkout need of the host."""
    places = {Path(place) for place in ("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix)}
    places = {place for place in (*places, CHECKOUT) if place.exists()}
    for place in places:
        if not any(above in places for above in place.parents):
            yield from ("-v", f"{place}:{place}:ro")


def inside(box: Box, root: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    room = ("--tmpfs", "/run", "--tmpfs", "/var/lib/cgmgr")
    words = (*room, *volumes(), "--rootfs", str(root), "sh", "-c", f"cd {CHECKOUT}; {script}")
    return box.run("--memory", "128m", "--swap", "0", *options, *words)


def test_groups_in_a_container(box: Box, root: Path) -> None:
    """The smaller limit bites inside, and the container's own does so afterwards."""
    container = f"{CGMGR} run --rootfs /inner true; echo $?"
    script = f"{CGMGR} group run --temp memory=32M -- {HOG}; echo $?; {container}; exec {HOG}"

    ended = inside(box, root, script, *GROUPS)

    inner, *refused, outer = ended.stderr.splitlines()
    assert ended.stdout == "137\n125\n"
    assert inner.startswith("killed: memory limit 32MiB (peak 3")
    assert inner.rpartition(" in ")[2].startswith("/cgmgr/run-")
    # by the container, and where devices are cgroup2's by their filter, which comes first
    assert re.search("(needs|wants) CAP_SYS_ADMIN", "\n".join(refused))
    assert ended.returncode == 137
    assert "memory limit 128MiB" in outer
    assert outer.endswith(f" in {box.group}")


def test_containers_in_a_container(box: Box, root: Path) -> None:
    script = f"{CGMGR} run --name x --memory 32m --swap 0 --rootfs /inner {HOG}; echo $?"

    ended = inside(box, root, script, *CONTAINERS)

    assert (ended.returncode, ended.stdout) == (0, "137\n"), ended.stderr
    assert ended.stderr.startswith("killed: memory limit 32MiB (peak 3")
    assert ended.stderr.splitlines()[0].endswith(" in /cgmgr/x")


@pytest.mark.parametrize("driver", ["cgroupfs"], indirect=True)
def test_groups_that_cannot_be_written_are_named(box: Box, root: Path) -> None:
    ended = inside(box, root, f"{CGMGR} group run --temp memory=32M -- true; echo $?")

    assert (ended.returncode, ended.stdout) == (0, "125\n")
    assert "read-only file system" in ended.stderr
    assert "hint: mount -o remount,bind,rw /sys/fs/cgroup" in ended.stderr
