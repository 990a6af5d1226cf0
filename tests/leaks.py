"""What a test run leaves on the machine: look before, look after, name the difference.

Law: nothing of cgmgr is imported here, so that a fault there cannot hide what it left.  Looking
changes nothing.  Every look takes its root as an argument and gives a set of one-line names.

Whose is it?  Others work on the same machine meanwhile.  What bears this run's token or lies in
its folder for temporary files is ours, and so is every process below this run.  What bears another
run's token is not.  What is merely called cgmgr is ours when nobody else was seen at work with
cgmgr, and cannot be told otherwise.  All else is not ours.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import bpf

GRACE_SECONDS = 5.0
RUN_COMM = "cgmgr-tests"  # the kernel's name (comm) of the process that runs the tests

_TOKEN = re.compile(r"cgmgr-test-\d+")
_BRINGS_CGROUPS = ("cgroup", "cgroup2")


class Leak(NamedTuple):
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class Mount(NamedTuple):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), as far as it counts here."""

    place: str
    fstype: str
    line: str


# --- looks ---------------------------------------------------------------------------------------


def mount_table(proc: str = "/proc") -> list[Mount]:
    lines = Path(proc, "self/mountinfo").read_text().splitlines()
    return [_mount(line) for line in lines]


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
    return Mount(place, after.split()[0], line)


def mounts(proc: str = "/proc") -> set[str]:
    """Mounts without their ids, which a remount elsewhere does not change."""
    return {" ".join(mount.line.split()[3:]) for mount in mount_table(proc)}


def cgroups(proc: str = "/proc") -> set[str]:
    """Every directory below every cgroup mount, except the roots."""
    found: set[str] = set()
    for mount in mount_table(proc):
        if mount.fstype in _BRINGS_CGROUPS:
            for folder, below, _ in os.walk(mount.place):
                found.update(os.path.join(folder, name) for name in below)  # noqa: PTH118
    return found


def v2_roots(proc: str = "/proc") -> set[str]:
    """What the root of each cgroup2 mount offers and hands on."""
    return {
        f"{mount.place}/{name} reads {_read(Path(mount.place, name)).split()}"
        for mount in mount_table(proc)
        if mount.fstype == "cgroup2"
        for name in ("cgroup.controllers", "cgroup.subtree_control")
    }


def processes(root_pid: int, proc: str = "/proc") -> set[str]:
    """Everything below `root_pid`, except the caller and whatever has ended and is being reaped."""
    return {_describe(pid, proc) for pid in _descendants(root_pid, proc) if pid != os.getpid()}


def network_namespaces(root_pid: int, proc: str = "/proc", run: str = "/run") -> set[str]:
    """Those kept by name, by an open descriptor of the caller, or by a process below `root_pid`."""
    folder = Path(run, "netns")
    named = {str(entry) for entry in folder.iterdir()} if folder.is_dir() else set[str]()
    mine = _link(Path(proc, "self/ns/net"))
    opened = {
        f"{link} open as a descriptor of the test run"
        for entry in Path(proc, "self/fd").iterdir()
        if (link := _link(entry)).startswith("net:[")
    }
    entered = {
        f"{link} of process {_describe(pid, proc)}"
        for pid in _descendants(root_pid, proc)
        if (link := _link(Path(proc, str(pid), "ns/net"))) not in ("", mine)
    }
    return named | opened | entered


def own_place(proc: str = "/proc") -> set[str]:
    """Where the run itself stands: its namespaces and its cgroups."""
    links = {f"namespace {_link(entry)}" for entry in Path(proc, "self/ns").iterdir()}
    return links | {f"cgroup {line}" for line in _read(Path(proc, "self/cgroup")).splitlines()}


def bpf_programs() -> set[str]:
    return {f"{program.name} (id {program.id})" for program in bpf.programs()}


#: folders right below a root
CACHES = ("seccomp",)


def state_files(*roots: str) -> set[str]:
    """What lies below the run and store directories, three levels deep: deeper is a root fs.

    The folders right below a root stay when they are empty, and are nobody's; what is in a cache is
    there to stay.
    """
    found: set[str] = set()
    for root in roots:
        for folder, below, files in os.walk(root):
            depth = folder.count("/") - root.count("/")
            if not depth:
                below[:] = [name for name in below if name not in CACHES]
            names = (*below, *files) if depth else files
            found.update(os.path.join(folder, name) for name in names)  # noqa: PTH118
            if depth >= 2:
                below.clear()
    return found


def others_at_work(root_pid: int, proc: str = "/proc") -> set[str]:
    """Other runs of these tests, and other uses of cgmgr, at this moment."""
    ours = {root_pid, os.getpid(), *_descendants(root_pid, proc)}
    return {
        _describe(pid, proc)
        for pid in _pids(proc)
        if pid not in ours
        and (
            _read(Path(proc, str(pid), "comm")).strip() == RUN_COMM
            or "/cgmgr" in _read(Path(proc, str(pid), "cgroup"))
            or any(Path(word).name.startswith("cgmgr") for word in _command(pid, proc)[:3])
        )
    }


# --- before, after, whose ------------------------------------------------------------------------


class Watch:
    """One run's look before and after.

    `root_pid` is the process below which everything is this run's; `folders` are the run's own for
    temporary files.
    """

    def __init__(self, root_pid: int, token: str, state_roots: tuple[str, ...]) -> None:
        self.token = token
        self.folders: tuple[str, ...] = ()
        self._root_pid = root_pid
        self._looks: dict[str, Callable[[], set[str]]] = {
            "cgroup": cgroups,
            "mount": mounts,
            "root of cgroup2": v2_roots,
            "process": lambda: processes(root_pid),
            "network namespace": lambda: network_namespaces(root_pid),
            "the run's own": own_place,
            "BPF program": bpf_programs,
            "state": lambda: state_files(*state_roots),
        }
        self._before = self._look()
        self._others = others_at_work(root_pid)

    def _look(self) -> dict[str, set[str]]:
        return {kind: look() for kind, look in self._looks.items()}

    def left(self, grace_seconds: float = GRACE_SECONDS) -> tuple[list[Leak], list[Leak]]:
        """What is left: surely or presumably ours, and what cannot be told from others' work.

        The kernel frees some things a moment after the last use (BPF programs, dying cgroups), and
        others come and go, so what is gone within the grace is not left.
        """
        deadline = time.monotonic() + grace_seconds
        while True:
            leaks = list(self._differences())
            if not leaks or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        certain = [leak for leak in leaks if self._is_certain(leak)]
        rest = [leak for leak in leaks if leak not in certain]
        return (certain, rest) if self._others else (certain + rest, [])

    def _differences(self) -> Iterator[Leak]:
        after = self._look()
        self._others |= others_at_work(self._root_pid)
        for kind, before in self._before.items():
            for what in sorted(after[kind] - before):
                leak = Leak(kind, what)
                if self._may_be_ours(leak):
                    yield leak
        for what in sorted(self._before["mount"] - after["mount"]):
            if " /sys/fs/cgroup" in what:
                yield Leak("mount that is gone", what)

    def _is_certain(self, leak: Leak) -> bool:
        return leak.kind in ("process", "the run's own") or self._bears_our_mark(leak.what)

    def _bears_our_mark(self, what: str) -> bool:
        return self.token in _TOKEN.findall(what) or any(
            f"{folder}/" in what for folder in self.folders
        )

    def _may_be_ours(self, leak: Leak) -> bool:
        if self._is_certain(leak) or leak.kind == "root of cgroup2":
            return True
        if leak.kind == "network namespace" and not leak.what.startswith("/"):
            return True
        if leak.kind == "mount" and "/run/netns " in leak.what:  # `ip netns add` leaves it
            return True
        return "cgmgr" in leak.what and not _TOKEN.search(leak.what)


# --- /proc ---------------------------------------------------------------------------------------


def _pids(proc: str) -> list[int]:
    return [int(entry.name) for entry in Path(proc).iterdir() if entry.name.isdecimal()]


def _parent_and_state(pid: int, proc: str) -> tuple[int, str]:
    """From /proc/PID/stat: the comm may hold blanks and brackets, so count from its last one."""
    fields = _read(Path(proc, str(pid), "stat")).rpartition(")")[2].split()
    return (int(fields[1]), fields[0]) if fields else (0, "")


def _descendants(root_pid: int, proc: str) -> set[int]:
    parents = {pid: _parent_and_state(pid, proc)[0] for pid in _pids(proc)}
    found: set[int] = set()
    grown = {root_pid}
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in grown}
        found |= grown
    return found


def _command(pid: int, proc: str) -> list[str]:
    return _read(Path(proc, str(pid), "cmdline")).rstrip("\0").split("\0")


def _describe(pid: int, proc: str) -> str:
    comm = _read(Path(proc, str(pid), "comm")).strip()
    state = _parent_and_state(pid, proc)[1]
    ended = ", ended and not waited for" if state == "Z" else ""
    return f"{pid} {' '.join(_command(pid, proc)) or comm}{ended}"


def _read(path: Path) -> str:
    """The file's text, or nothing: the process may have gone since it was listed."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
