"""A guest is what its name says: the layout, systemd as PID 1, a bus, and things to control."""

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cgmgr.host import Host

LAYOUT = os.environ.get("CGMGR_GUEST", "")

pytestmark = pytest.mark.skipif(not LAYOUT, reason="about the guests of the vm lane; this is none")

_LEGACY = {"cpu", "cpuset", "devices", "io", "memory", "net_cls", "net_prio", "freezer", "rdma"}
_UNIFIED = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}
_BOTH = {"hugetlb", "pids"}

# layout: mode, v1 controllers, v2 controllers
WANTED = {
    "unified": ("unified", set[str](), _UNIFIED),
    "hybrid": ("hybrid", _LEGACY | _BOTH, set[str]()),
    "legacy": ("legacy", _LEGACY | _BOTH, set[str]()),
    "mixed": ("hybrid", _LEGACY, _BOTH),
}


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_layout() -> None:
    host = Host.detect()
    found = {version: set[str]() for version in (1, 2)}
    for hierarchy in host.hierarchies:
        found[hierarchy.version] |= set(hierarchy.controllers)

    mode, v1, v2 = WANTED[LAYOUT]
    assert host.mode == mode
    assert v1 <= found[1]
    assert v2 <= found[2]
    assert not (v1 & found[2] or v2 & found[1])


def test_pid_1_is_systemd() -> None:
    assert Path("/proc/1/comm").read_text().strip() == "systemd"
    assert Path("/run/systemd/system").is_dir()


def test_boot_is_complete() -> None:
    """`degraded` would mean that a unit failed."""
    assert output("systemctl", "is-system-running", "--wait").strip() == "running"


def test_system_bus_answers() -> None:
    manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
    interface = "org.freedesktop.systemd1.Manager"

    assert output("busctl", "get-property", *manager, interface, "Version").startswith('s "252')


def test_user_bus_answers() -> None:
    user = pwd.getpwuid(1000)
    state = output("systemctl", f"--machine={user.pw_name}@.host", "--user", "is-system-running")

    assert state.strip() == "running"


@pytest.mark.parametrize("path", ["/run/systemd/private", "/run/user/1000/systemd/private"])
def test_private_socket_is_there(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_rdma_device_has_room() -> None:
    assert [device.name for device in Path("/sys/class/infiniband").iterdir()] == ["rxe0"]


def test_hugepages_are_reserved() -> None:
    assert int(Path("/proc/sys/vm/nr_hugepages").read_text()) == 16


@pytest.mark.parametrize(("disk", "scheduler"), [("second", "none"), ("weighted", "bfq")])
def test_disk_has_scheduler(disk: str, scheduler: str) -> None:
    device = Path(f"/dev/disk/by-id/virtio-{disk}").resolve().name

    assert f"[{scheduler}]" in Path(f"/sys/block/{device}/queue/scheduler").read_text()


def test_second_disk_has_partitions() -> None:
    folder = Path("/dev/disk/by-id")

    assert {entry.name for entry in folder.glob("virtio-second-part*")} == {
        "virtio-second-part1",
        "virtio-second-part2",
    }


def test_pydbus_is_there() -> None:
    assert output(sys.executable, "-c", "import pydbus; print(pydbus.SystemBus)")
