"""Record what a Linux host shows of its cgroups, as one text file that tests can unpack.

Law: this program stands alone, one file that can be carried to any host (hence its length).  It
uses the standard library only, imports nothing of cgmgr (it must tell what the kernel says, not
what our parsers make of it), and leaves the host as it was.

    python3 record.py > NAME.tree          as root, on the host to be recorded

Besides reading, it makes two groups in every hierarchy: ``cgmgr-fresh``, in which nothing ever
happens, and ``cgmgr-probe``, in which a process uses some of everything while it is read.  On
cgroup2 all controllers are enabled at the root for that time, and ``cgmgr-fresh/cgmgr-bare`` is a
group for which none is.  Everything else is read before that.  README.md has the format.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import mmap
import os
import re
import select
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

HOST_FILES = [
    "/proc/version",
    "/proc/cmdline",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/osrelease",
    "/proc/filesystems",
    "/proc/cgroups",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/partitions",
    "/proc/devices",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/1/comm",
    "/proc/1/cgroup",
    "/proc/self/uid_map",
    "/proc/self/gid_map",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/sched_rt_period_us",
    "/proc/sys/kernel/sched_rt_runtime_us",
    "/sys/kernel/cgroup/delegate",
    "/sys/kernel/cgroup/features",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/possible",
    "/sys/devices/system/node/online",
    "/sys/devices/system/node/possible",
]

# Lists of processes say nothing about a host: the first few are enough.
PID_FILES = {"cgroup.procs", "cgroup.threads", "tasks"}
PIDS_KEPT = 8

FRESH, PROBE, BARE = "cgmgr-fresh", "cgmgr-probe", "cgmgr-bare"

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class Hierarchy(NamedTuple):
    """One mounted cgroup hierarchy: where, which version, which controllers (v1 super options)."""

    mountpoint: Path
    version: int
    options: tuple[str, ...]
    own: str


class Tape:
    """The text being written; every line goes through the substitutions that were asked for."""

    def __init__(self, substitutions: list[tuple[str, str]]) -> None:
        self._substitutions = substitutions
        self._seen: set[str] = set()
        self.lines: list[str] = []

    def _put(self, line: str) -> None:
        for old, new in self._substitutions:
            line = line.replace(old, new)
        self.lines.append(line)

    def _first(self, path: str) -> bool:
        first = path not in self._seen
        self._seen.add(path)
        return first

    def text(self, path: str, content: str, mode: int = 0o644) -> None:
        """A file with its content."""
        if not self._first(path):
            return
        self._put(f"=== {path}" + ("" if mode == 0o644 else f" {mode:04o}"))
        for line in content.removesuffix("\n").split("\n") if content else ():
            self._put(line)
        if content and not content.endswith("\n"):
            self._put("\\ no newline at the end")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        if self._first(path):
            self._put(f"--> {path} {target}")

    def empty(self, path: str) -> None:
        """A directory of which nothing was recorded."""
        if self._first(path):
            self._put(f"/// {path}")

    def file(self, path: Path, name: str | None = None) -> None:
        """Whatever is at `path`, under the name `name`: content, or why there is none."""
        name = name or str(path)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            return
        if mode & 0o222 and not mode & 0o444:
            if self._first(name):
                self._put(f"!!! {name} write-only {mode:04o}")
            return
        try:
            content = read(path)
        except OSError as error:
            if self._first(name):
                self._put(f"!!! {name} {errno.errorcode[error.errno or 0]} {mode:04o}")
            return
        if path.name in PID_FILES and PROBE not in name:
            content = "".join(content.splitlines(keepends=True)[:PIDS_KEPT])
        self.text(name, content, mode)


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "backslashreplace")


def mounts() -> list[Hierarchy]:
    """The cgroup mounts that this process sees, with its own group in each."""
    own: dict[str, str] = {}
    for line in read(Path("/proc/self/cgroup")).splitlines():
        _number, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    found: list[Hierarchy] = []
    for line in read(Path("/proc/self/mountinfo")).splitlines():
        before, after = line.split(" - ", 1)
        kind, _source, options = after.split(" ", 2)
        names = tuple(options.split(","))
        if kind in {"cgroup", "cgroup2"} and before.split()[3] == "/":
            group = own[""] if kind == "cgroup2" else next(own[n] for n in names if n in own)
            version = 2 if kind == "cgroup2" else 1
            found.append(Hierarchy(Path(before.split()[4]), version, names, group))
    return found


def record_host(tape: Tape, dropped: list[str]) -> None:
    """Everything outside the cgroup file systems."""
    for name in HOST_FILES:
        tape.file(Path(name))
    lines = read(Path("/proc/self/mountinfo")).splitlines(keepends=True)
    kept = [line for line in lines if not line.split()[4].startswith(tuple(dropped) or ("//",))]
    tape.text("/proc/self/mountinfo", "".join(kept), 0o444)
    tape.file(Path("/proc/self/cgroup"))
    if Path("/run/systemd/system").is_dir():
        tape.empty("/run/systemd/system")
        version = subprocess.run(
            ["systemctl", "--version"], capture_output=True, check=True, text=True
        )
        tape.text("/recorded/systemctl-version", version.stdout.splitlines()[0] + "\n")
    for size in sorted(Path("/sys/kernel/mm/hugepages").glob("*")):
        for path in sorted(size.iterdir()):
            tape.file(path)
    for kind in ("infiniband", "net"):
        for path in sorted(Path("/sys/class", kind).glob("*")):
            record_link(tape, path)
            tape.empty(str(path.resolve()))


def record_link(tape: Tape, path: Path) -> None:
    tape.link(str(path), str(path.readlink()))


def record_disks(tape: Tape) -> None:
    """Block devices with their partitions, by name and by number, as sysfs links them."""
    for link in sorted(Path("/sys/block").iterdir()):
        if re.fullmatch(r"(loop|ram)[1-9]\d*", link.name):
            continue
        record_link(tape, link)
        disk = link.resolve()
        for path in (disk, *sorted(p.parent for p in disk.glob("*/partition"))):
            for name in ("dev", "partition", "size", "ro", "queue/scheduler"):
                tape.file(path / name)
            record_link(tape, Path("/sys/dev/block") / read(path / "dev").strip())


def record_group(tape: Tape, group: Path, name: Path) -> None:
    """All files of one group; its children are not looked at."""
    for path in sorted(group.iterdir()):
        if path.is_file():
            tape.file(path, str(name / path.name))


def record_standing(tape: Tape, hierarchy: Hierarchy) -> None:
    """The root, system.slice, and the own group with all above it, as they were found."""
    root = hierarchy.mountpoint
    record_group(tape, root, root)
    groups = [root / "system.slice", root / "init.scope"]
    own = root / hierarchy.own.lstrip("/")
    groups += [group for group in (own, *own.parents) if root in group.parents]
    for group in sorted(set(groups)):
        if group.is_dir():
            record_group(tape, group, group)


def write(path: Path, value: str) -> None:
    """One value by one write(2), the only way that cgroup files are written."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


@contextlib.contextmanager
def all_controllers(root: Path) -> Generator[None]:
    """Enable every controller of a cgroup2 root for its children, and put things back."""
    before = set(read(root / "cgroup.subtree_control").split())
    missing = [c for c in read(root / "cgroup.controllers").split() if c not in before]
    try:
        for controller in missing:
            write(root / "cgroup.subtree_control", f"+{controller}")
        yield
    finally:
        for controller in missing:
            write(root / "cgroup.subtree_control", f"-{controller}")


@contextlib.contextmanager
def group_at(path: Path) -> Generator[Path]:
    path.mkdir()
    try:
        yield path
    finally:
        path.rmdir()


def occupy(ready: int) -> None:
    """Use a little of everything, say so, and wait for the end.  Runs in the probe's process."""
    ballast = bytearray(4 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    with contextlib.suppress(OSError):  # no huge pages on this host
        pages = mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        pages[0] = pages[2 << 20] = 1
    with contextlib.suppress(OSError):  # not every file system takes O_DIRECT
        fd = os.open(sys.executable, os.O_RDONLY | os.O_DIRECT)
        os.preadv(fd, [mmap.mmap(-1, 1 << 20)], 0)
    sum(range(2_000_000))
    os.write(ready, b"!")
    signal.pause()


@contextlib.contextmanager
def tenants(groups: list[Path], also: list[str]) -> Generator[None]:
    """A process in all `groups`, and the commands `also` run in them."""
    ready, report = os.pipe()
    children: list[int] = []
    try:
        children.append(in_child(groups, partial(occupy, report)))
        for command in also:
            children.append(in_child(groups, partial(become, command)))
        if not select.select([ready], [], [], 120)[0]:
            raise TimeoutError("the probe's process did not get ready")
        for _command in also:
            select.select([], [], [], 2)  # it cannot tell us when it has opened its devices
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def in_child(groups: list[Path], action: Callable[[], None]) -> int:
    """Fork a process that joins `groups`, then does `action`; its pid."""
    child = os.fork()
    if child:
        return child
    try:
        for group in groups:
            write(group / "cgroup.procs", "0")
        action()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise
    finally:
        os._exit(1)


def become(command: str) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execvp(shlex.split(command)[0], shlex.split(command))


def record_made(tape: Tape, hierarchies: list[Hierarchy], options: argparse.Namespace) -> None:
    """The groups that are made for this."""
    with contextlib.ExitStack() as stack:
        probes: list[Path] = []
        for hierarchy in hierarchies:
            root = hierarchy.mountpoint
            if hierarchy.version == 2:
                stack.enter_context(all_controllers(root))
            fresh = stack.enter_context(group_at(root / f"{FRESH}-{os.getpid()}"))
            record_group(tape, fresh, root / FRESH)
            if hierarchy.version == 2:
                bare = stack.enter_context(group_at(fresh / BARE))
                record_group(tape, bare, root / FRESH / BARE)
            probe = stack.enter_context(group_at(root / f"{PROBE}-{os.getpid()}"))
            if "cpuset" in hierarchy.options:
                for name in ("cpuset.cpus", "cpuset.mems"):
                    write(probe / name, read(root / name))
            for name, value in options.set:
                if (probe / name).exists():
                    write(probe / name, value)
            probes.append(probe)
        with tenants(probes, options.also):
            for probe in probes:
                record_group(tape, probe, probe.parent / PROBE)


def call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


@contextlib.contextmanager
def mounted_v1(controllers: list[str]) -> Generator[str]:
    """Mount further v1 hierarchies in a mount namespace and a directory of our own."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="cgmgr-record-"))
        stack.callback(folder.rmdir)
        for controller in controllers:
            path = folder / controller
            path.mkdir()
            stack.callback(path.rmdir)
            mount_v1(path)
            stack.callback(unmount_v1, path)
        yield str(folder)


def mount_v1(path: Path) -> None:
    call("mount", b"cgroup", os.fsencode(path), b"cgroup", 0, path.name.encode())


def unmount_v1(path: Path) -> None:
    """Unmount, and see to it that the kernel gives the controllers back.

    That comes a little later; and a hierarchy outlives its last mount for ever when one of its
    removed groups was not yet freed, unless it is mounted and unmounted once more.
    """
    for _attempt in range(5):
        call("umount2", os.fsencode(path), 0)
        for _look in range(40):
            if is_unbound(path.name.split(",")):
                return
            select.select([], [], [], 0.05)
        mount_v1(path)
    call("umount2", os.fsencode(path), 0)
    raise TimeoutError(f"the hierarchy of {path.name} does not end: is it mounted elsewhere?")


def is_unbound(controllers: list[str]) -> bool:
    """Whether no v1 hierarchy holds any of them."""
    rows = (line.split() for line in read(Path("/proc/cgroups")).splitlines()[1:])
    return all(row[1] == "0" for row in rows if row[0] in controllers)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="record this host's cgroups as text on stdout")
    parser.add_argument("--about", action="append", default=[], help="a comment line at the top")
    parser.add_argument("--scrub", action="append", default=[], nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--drop-mount", action="append", default=[], metavar="PREFIX")
    parser.add_argument("--also", action="append", default=[], help="a command to run in the probe")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        nargs=2,
        metavar=("FILE", "VALUE"),
        help="what to write in the probe, where it has that file",
    )
    parser.add_argument("--mount-v1", action="append", default=[], metavar="CONTROLLERS")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with contextlib.ExitStack() as stack:
        scrubs = [(old, new) for old, new in options.scrub]
        if options.mount_v1:
            folder = stack.enter_context(mounted_v1(options.mount_v1))
            scrubs.append((folder, "/run/cgmgr-v1"))
        tape = Tape(scrubs)
        for line in options.about:
            tape.lines.append(f"# {line}")
        record_host(tape, options.drop_mount)
        record_disks(tape)
        hierarchies = mounts()
        for hierarchy in hierarchies:
            for path in sorted(hierarchy.mountpoint.parent.iterdir()):
                if path.is_symlink():
                    record_link(tape, path)
            record_standing(tape, hierarchy)
        record_made(tape, hierarchies, options)
    sys.stdout.write("\n".join(tape.lines) + "\n")


if __name__ == "__main__":
    main()
