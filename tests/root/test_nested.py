"""Inside a container: a cgroup namespace whose root holds our own processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir

#: sees one cgroup2 hierarchy only, whose root is the group it was started in
INSIDE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from cgmgr import linux
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir
from cgmgr.errors import CgmgrError

sys.stdin.readline()
linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP)
linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
linux.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
host = Host.detect()
manager = Manager(host, driver="cgroupfs", rundir=Rundir(sys.argv[2]))
said = {"mode": host.mode, "own": host.v2.own, "controllers": host.v2.controllers}
said["plan"] = manager.plan("x", hugetlb="2MB=4M")
group = manager.create("x", hugetlb="2MB=4M")
said["limit"] = open("/sys/fs/cgroup/cgmgr/x/hugetlb.2MB.max").read()
said["moved"] = open("/proc/self/cgroup").read()
group.delete()
said["left"] = sorted(e.name for e in os.scandir("/sys/fs/cgroup") if e.is_dir())
print(json.dumps(said))
"""


@pytest.fixture
def group(run_token: str, tmp_path: Path) -> Iterator[Group]:
    host = Host.detect()
    if host.v2 is None or "hugetlb" not in host.v2.controllers:
        pytest.skip("needs hugetlb on cgroup2, to have a controller that must be switched on")
    root = Path(host.v2.mountpoint, "cgroup.subtree_control")
    was_on = "hugetlb" in root.read_text().split()
    manager = Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))
    with manager.create(f"/{run_token}/nested", hugetlb="2MB=64M") as made:
        yield made
    if not was_on:
        root.write_text("-hugetlb")


def test_an_own_root_with_processes_is_evacuated(group: Group, tmp_path: Path) -> None:
    inside = subprocess.Popen(
        [sys.executable, "-c", INSIDE, str(Path(__file__).parents[2]), str(tmp_path / "in")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    group.add(inside.pid)
    output, _ = inside.communicate("go\n")
    assert inside.returncode == 0
    said = json.loads(output)

    assert (said["mode"], said["own"]) == ("unified", "/")
    assert "hugetlb" in said["controllers"]
    assert "move every process of /sys/fs/cgroup to /sys/fs/cgroup/init" in said["plan"]
    assert said["limit"] == f"{4 << 20}\n"
    assert said["moved"].endswith("0::/init\n")
    assert said["left"] == ["init"], "the leaf holds us, the group and its parent are gone"
