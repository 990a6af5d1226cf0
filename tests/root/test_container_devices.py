"""Devices of a container on this kernel: their nodes, and what the filters let it do with them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from cgmgr.drivers import bpf
from cgmgr.drivers.device_filter import ReplaceFilter
from cgmgr.errors import KernelError
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.plan import Machine, MakeGroup, Target
from cgmgr.resources import Resources
from cgmgr.resources.devices import DEFAULT_RULES
from cgmgr.resources.docker import from_docker
from cgmgr.rundir import Rundir
from cgmgr.runtime import capabilities, layout
from cgmgr.runtime.devices import Device, find_devices
from cgmgr.runtime.volumes import parse_volume
from cgmgr.spawn import Placement
from tests.cli.command import cgmgr, left

from .containers import Lab, tiny_root

#: a block device without a driver: what the filter allows ends with ENXIO, what not with EPERM
GHOST = (240, 17)


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> Lab:
    return Lab(Host.detect(), tmp_path, run_token)


@pytest.fixture
def ghost(tmp_path: Path) -> Path:
    """A device of the host, which nobody may use without being asked."""
    path = tmp_path / "ghost"
    try:
        os.mknod(path, 0o640 | stat.S_IFBLK, os.makedev(*GHOST))
    except PermissionError:
        pytest.skip("this run may make no device")
    os.chown(path, 3, 4)
    return path


@contextlib.contextmanager
def v1_group(lab: Lab, resources: Resources) -> Generator[Placement]:
    if lab.host.need("devices").version != 1:
        pytest.skip("devices has no v1 hierarchy here")
    manager = Manager(lab.host, driver="cgroupfs", rundir=Rundir(str(lab.folder / "groups")))
    with (
        manager.create(f"/{lab.token}/{lab.name()}", resources) as group,
        Placement.of(group) as place,
    ):
        yield place


@contextlib.contextmanager
def v2_group(lab: Lab, resources: Resources) -> Generator[Placement]:
    """The filter of cgroup2, which on a hybrid host nothing else here would ask."""
    if lab.host.v2 is None:
        pytest.skip("no cgroup2 is mounted")
    machine, target = Machine(lab.host), Target(group=f"/{lab.name()}", key="")
    step = MakeGroup(target=target)
    step.execute(machine)
    try:
        with machine.open(target) as opened:
            try:
                bpf.prog_query(opened.fd)
            except OSError as error:
                pytest.skip(f"no device filter on this kernel: {error.strerror}")
            ReplaceFilter(target=target, rules=resources.devices or ()).execute(machine)
            yield Placement(cgroup_fd=opened.fd)
    finally:
        step.undo(machine)


@pytest.mark.parametrize("way", [v1_group, v2_group], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("access", "read", "write"),
    [("r", "ENXIO", "EPERM"), ("w", "EPERM", "ENXIO"), ("rwm", "ENXIO", "ENXIO")],
)
def test_it_may_do_what_was_allowed(
    lab: Lab, ghost: Path, way: Any, access: str, read: str, write: str
) -> None:
    devices = find_devices(f"{ghost}:/dev/ghost:{access}")
    script = (
        "import errno, os\n"
        "for flags in os.O_RDONLY, os.O_WRONLY:\n"
        "    try: os.open('/dev/ghost', flags)\n"
        "    except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    resources = from_docker(device_cgroup_rule=[device.rule for device in devices])
    with way(lab, resources) as place:
        said = lab.run(
            "/usr/bin/python3", "-c", script, devices=devices, launch={"placement": place}
        )

    assert said.out.split() == [read, write]
    assert lab.left() == []


@pytest.mark.parametrize(
    "path", ["/dev/ghost", "/dev/a/b/ghost", "/made/ghost", "/tmp/ghost", "/dev/null"]
)
def test_a_node_is_as_on_the_host_and_works_wherever_it_is(
    lab: Lab, tmp_path: Path, ghost: Path, path: str
) -> None:
    root = tiny_root(tmp_path / "root")
    devices = find_devices(f"{ghost}:{path}")

    with lab.running("/bin/sleep", "100", rootfs=str(root), devices=devices) as (container, _):
        place = Path(f"/proc/{container.process.pid}/root{path}")
        status = place.lstat()
        assert stat.S_ISBLK(status.st_mode)
        assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == GHOST
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 3, 4)
        with pytest.raises(OSError, match="No such device or address"):  # nodev would say EACCES
            place.read_bytes()
        assert not list(Path(f"/proc/{container.process.pid}/root/dev").glob(".*"))
        assert list(Path(container.bundle, "upper").iterdir()) == []
    assert stat.S_IMODE(ghost.stat().st_mode) == 0o640
    assert lab.left() == []


@pytest.mark.parametrize("way", [v1_group, v2_group], ids=["v1", "v2"])
def test_a_node_that_it_makes_itself_is_of_no_use(lab: Lab, way: Any) -> None:
    script = (
        "import errno, os, stat\n"
        f"number, mode = os.makedev{GHOST}, 0o600 | stat.S_IFBLK\n"
        "for folder in '/dev', '/tmp':\n"
        "    os.mknod(folder + '/ghost', mode, number)\n"
        "    try: os.open(folder + '/ghost', os.O_RDONLY)\n"
        "    except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    resources = Resources(devices=DEFAULT_RULES)
    with way(lab, resources) as place:
        said = lab.run(
            *("/usr/bin/python3", "-c", script),
            capabilities=(*capabilities.DEFAULT, "MKNOD"),
            launch={"placement": place},
        )

    assert said.out.split() == ["EPERM", "EACCES"], said.err  # the filter; nodev
    assert lab.left() == []


def test_no_node_is_made_in_a_volume(lab: Lab, tmp_path: Path, ghost: Path) -> None:
    (tmp_path / "v").mkdir()
    fields: dict[str, Any] = {
        "volumes": (parse_volume(f"{tmp_path}/v:/v"),),
        "devices": find_devices(f"{ghost}:/v/ghost"),
    }

    with pytest.raises(KernelError, match="nothing is made in a directory of the host") as caught:
        lab.run("true", **fields)

    assert caught.value.errno == errno.ENOENT
    assert list((tmp_path / "v").iterdir()) == []
    assert lab.left() == []


@pytest.mark.parametrize("way", [v1_group, v2_group], ids=["v1", "v2"])
def test_where_no_node_may_be_made_the_hosts_are_bound(lab: Lab, way: Any) -> None:
    """Read-only, so that nothing can be changed about the host's."""
    rules = [rule.replace(access="rw") for rule in DEFAULT_RULES if rule.access != "m"]
    before = [os.stat(path).st_mode for path in ("/dev/null", "/dev/full")]  # noqa: PTH116
    script = (
        "echo x > /dev/null && head -c 1 /dev/zero | wc -c; chmod 600 /dev/full;"
        " grep -c ' /dev/[a-z]* .*\\bro\\b' /proc/mounts"
    )
    with way(lab, Resources(devices=tuple(rules))) as place:
        said = lab.sh(script, launch={"placement": place})

    assert said.out.split() == ["1", str(len(layout.DEVICES))], said.err
    assert "Read-only" in said.err
    assert [os.stat(path).st_mode for path in ("/dev/null", "/dev/full")] == before  # noqa: PTH116
    assert lab.left() == []


def test_two_things_in_one_place(lab: Lab) -> None:
    device = Device(path="/dev/shm", kind="c", major=1, minor=3)

    with pytest.raises(KernelError) as caught:
        lab.run("true", devices=(device,))

    assert caught.value.errno == errno.EEXIST
    assert lab.left() == []


def test_the_option(run_token: str, ghost: Path) -> None:
    name = f"{run_token}-device"
    script = "stat -c '%t:%T %a' /dev/g; exec 3</dev/g"
    words = ["--name", name, "--device", f"{ghost}:/dev/g:r", "host", "sh", "-c", script]

    ended = cgmgr("run", *words)

    assert ended.stdout == f"{GHOST[0]:x}:{GHOST[1]:x} 640\n", ended.stderr
    assert "No such device or address" in ended.stderr
    assert left(name) == []


@pytest.mark.parametrize(
    ("device", "message"),
    [("/dev/nothing-here", "no such file"), ("/etc/passwd", "that is no device")],
)
def test_no_device(device: str, message: str) -> None:
    ended = cgmgr("run", "--device", device, "host", "true")

    assert ended.returncode == 125
    assert f"--device '{device}': {message}" in ended.stderr
