"""Groups on the kernel that runs here, made by mkdir, for tests of what the controllers say.

Law: no driver and no manager; rows are executed as plans, by the steps that a driver would use.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from cgmgr import linux
from cgmgr.controllers import TABLE
from cgmgr.controllers.base import Row, Scene
from cgmgr.errors import CgmgrError
from cgmgr.host import Hierarchy, Host
from cgmgr.plan import Machine, Plan, Target, Write
from cgmgr.record import Record
from cgmgr.resources import Resources
from cgmgr.stats import Reader


class RealGroup:
    """One group in the hierarchy that holds `controller`, at an absolute directory."""

    def __init__(self, host: Host, controller: str, directory: Path) -> None:
        self.host = host
        self.controller = TABLE[controller]
        self.hierarchy = host.need(controller)
        self.directory = directory
        self.fresh = True
        directory.mkdir()

    @property
    def version(self) -> int:
        return self.hierarchy.version

    def child(self, name: str) -> RealGroup:
        return RealGroup(self.host, self.controller.NAME, self.directory / name)

    def remove(self) -> None:
        for child in self.directory.iterdir():
            if child.is_dir():
                child.rmdir()
        self.directory.rmdir()

    def read(self, file: str) -> str:
        return (self.directory / file).read_text().strip()

    def write(self, file: str, value: str) -> None:
        (self.directory / file).write_text(value)

    def try_read(self, file: str) -> str | None:
        return _try(self.directory / file)

    def texts(self) -> dict[str, str | None]:
        """The files that the controller looks at."""
        wanted = self.controller.observe(self.version, self.host.facts)
        return {file: self.try_read(file) for file in wanted}

    def scene(self) -> Scene:
        """As a driver sees it; a group is new until something was held in it."""
        wanted = self.controller.observe(self.version, self.host.facts)
        return Scene(
            version=self.version,
            new=self.fresh,
            files={} if self.fresh else self.texts(),
            parent={file: _try(self.directory.parent / file) for file in wanted},
            children=tuple(child.name for child in self.directory.iterdir() if child.is_dir()),
            where=str(self.directory),
            facts=self.host.facts,
        )

    def rows(self, resources: Resources) -> list[Row]:
        return self.controller.rows(resources, self.scene())

    def hold(self, resources: Resources) -> Callable[[], None]:
        """Write and verify the rows; returns what takes them all back."""
        scene = self.scene()
        base = Path(self.hierarchy.mountpoint + self.hierarchy.base)
        target = Target(group=f"/{self.directory.relative_to(base)}", key=self.hierarchy.key)
        machine = Machine(self.host)
        steps = tuple(
            Write(target=target, row=row, previous=scene.files.get(row.file))
            for row in self.controller.rows(resources, scene)
        )
        undo = Plan(steps=steps).execute(machine)
        self.fresh = False
        return undo

    def stats(self) -> tuple[Record | None, list[str]]:
        """What the controller counts, and what could not be read."""
        reader = Reader(self.try_read)
        record = self.controller.stats(reader, self.version, self.host.facts)
        return record, [f"{error.file}: {error.message}" for error in reader.errors]


def _try(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


@contextlib.contextmanager
def real_group(host: Host, controller: str, name: str) -> Generator[RealGroup]:
    """A group below the part of the hierarchy that is ours, removed at the end."""
    hierarchy = host.need(controller)
    group = RealGroup(host, controller, Path(hierarchy.mountpoint + hierarchy.base) / name)
    try:
        yield group
    finally:
        group.remove()


@contextlib.contextmanager
def mounted(controller: str, token: str) -> Generator[Host]:
    """A host with a v1 hierarchy of its own for a controller that is compiled in and unmounted."""
    top = Path(tempfile.mkdtemp(prefix=f"{token}-{controller}-"))
    linux.mount("cgroup", str(top), "cgroup", 0, controller)
    usual = Host.detect()
    others = (h for h in usual.hierarchies if controller not in h.controllers)
    own = Hierarchy(key=controller, version=1, controllers=(controller,), mountpoint=str(top))
    host = Host("/", (own, *others))
    try:
        yield host
    finally:
        host.tree(own).close()  # an open directory would keep it mounted
        _unmount(top, controller)


def _unmount(top: Path, controller: str) -> None:
    """umount, once the kernel has let go of the removed groups: a hierarchy that is unmounted
    before stays, without a mount, and its controller is gone (kernel/cgroup/cgroup.c, kill_sb)."""
    deadline = time.monotonic() + 10
    while _groups_in(controller) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    linux.umount2(str(top))
    top.rmdir()


def _groups_in(controller: str) -> int:
    """How many groups the controller's hierarchy has, the root and the dying included."""
    for line in Path("/proc/cgroups").read_text().splitlines():
        name, _hierarchy, count, _enabled = line.split("\t")
        if name == controller:
            return int(count)
    return 0


@contextlib.contextmanager
def enabled(host: Host, controller: str) -> Generator[None]:
    """A controller of cgroup2 switched on for the groups below its root, and back."""
    hierarchy = host.v2
    assert hierarchy is not None
    control = Path(hierarchy.mountpoint) / "cgroup.subtree_control"
    before = control.read_text().split()
    control.write_text(f"+{controller}")
    try:
        yield
    finally:
        if controller not in before:
            with contextlib.suppress(OSError):  # EBUSY: another user of the host needs it by now
                control.write_text(f"-{controller}")


def refused(act: Callable[[], object]) -> CgmgrError | None:
    """The refusal of an act, None where it went through."""
    try:
        act()
    except CgmgrError as error:
        return error
    return None


_HOLDER = """
import sys
open(sys.argv[1], "w").write("0")
held = b"x" * (int(sys.argv[2]) << 20)
print("there", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def somebody_in(directory: Path, mebibytes: int = 0) -> Generator[int]:
    """The pid of a process in a group, which holds so much memory, until the end."""
    argv = [sys.executable, "-I", "-S", "-c", _HOLDER]
    argv += [str(directory / "cgroup.procs"), str(mebibytes)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"there\n"
            yield process.pid
        finally:
            process.stdin.close()
            process.wait()
