"""A cgroup hierarchy that behaves, on a plain directory: groups, membership, freezing, removal.

Law: what the kernel's cgroup core does (kernel/cgroup/cgroup.c, cgroup-v1.c, legacy_freezer.c), on
ordinary files, so that everything can be looked at; what one controller's file makes of a value is in
fakerules.  Refusals are `OSError` with the kernel's errno.  Nothing happens by itself: no process
runs, no counter counts, so what a test wants to read as usage it writes there itself.

Groups that were recorded keep what was recorded of them (their processes were not recorded in full);
groups made here are kept right in every file that follows from others.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import fakerules
from .recording import BARE, FRESH, Entry, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .fakedevices import Filter
    from .recording import Recording

#: the order of include/linux/cgroup_subsys.h, in which the kernel lists them
V2_ORDER = (
    "cpuset",
    "cpu",
    "io",
    "memory",
    "perf_event",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
    "dmem",
)
#: cgrp_dfl_threaded_ss_mask
THREADED = {"cpu", "cpuset", "perf_event", "pids"}


def fail(number: int) -> None:
    """Refuse as the kernel does."""
    raise OSError(number, os.strerror(number))


class Template:
    """What a new group holds, taken from the groups that were made for the recording."""

    def __init__(self, recording: Recording, mountpoint: str) -> None:
        self.fresh = recording.files(f"{mountpoint}/{FRESH}")
        self.bare = recording.files(f"{mountpoint}/{FRESH}/{BARE}") or self.fresh
        self.errors = {
            name: entry.number
            for name, entry in {**self.fresh, **self.bare}.items()
            if entry.number is not None
        }

    def files(self, controllers: Iterable[str]) -> dict[str, Entry]:
        """The files of a new group for which these controllers are enabled (v1: all files)."""
        added = {n: e for n, e in self.fresh.items() if n.partition(".")[0] in set(controllers)}
        return self.bare | added

    def of(self, controller: str) -> dict[str, Entry]:
        """The files that a group gains when this controller is enabled for it."""
        mine = {n: e for n, e in self.fresh.items() if n.partition(".")[0] == controller}
        return {name: entry for name, entry in mine.items() if name not in self.bare}


class Group:
    """One directory of the hierarchy, by path ("/" is the root)."""

    def __init__(self, kernel: FakeKernel, path: str) -> None:
        self.kernel = kernel
        self.path = path
        self.directory = kernel.top / path.strip("/")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def parent(self) -> Group | None:
        return None if self.path == "/" else self.kernel.group(self.path.rpartition("/")[0] or "/")

    @property
    def children(self) -> list[Group]:
        names = sorted(entry.name for entry in os.scandir(self.directory) if entry.is_dir())
        return [Group(self.kernel, f"{self.path.rstrip('/')}/{name}") for name in names]

    def above(self) -> Iterator[Group]:
        """Its ancestors, nearest first."""
        group = self.parent
        while group is not None:
            yield group
            group = group.parent

    def below(self) -> Iterator[Group]:
        """The group and all its descendants, parents first."""
        yield self
        for child in self.children:
            yield from child.below()

    @property
    def made(self) -> bool:
        return self.path in self.kernel.made

    def has(self, file: str) -> bool:
        return (self.directory / file).is_file()

    def get(self, file: str, default: str = "") -> str:
        """A file's text without white space around it; `default` where it is not there."""
        path = self.directory / file
        return path.read_text(encoding="utf-8").strip() if path.is_file() else default

    def put(self, file: str, text: str) -> None:
        """Set what a file says; the same inode, so that a watcher sees a change."""
        path = self.directory / file
        text = text + "\n" if text and not text.endswith("\n") else text
        if not path.is_file() or path.read_text(encoding="utf-8") == text:
            return
        mode = path.stat().st_mode & 0o7777
        if not mode & 0o200:
            path.chmod(mode | 0o200)
        path.write_text(text, encoding="utf-8")
        if not mode & 0o200:
            path.chmod(mode)

    def set_key(self, file: str, key: str, value: int) -> None:
        """Change one line of a flat keyed file."""
        text = "\n".join(
            f"{key} {value}" if line.partition(" ")[0] == key else line
            for line in self.get(file).splitlines()
        )
        self.put(file, text)

    def key(self, file: str, key: str) -> int:
        """One value of a flat keyed file, 0 where it is not there."""
        lines = (line.split() for line in self.get(file).splitlines())
        return next((int(line[1]) for line in lines if line[0] == key), 0)

    def gain(self, files: dict[str, Entry]) -> None:
        for name, entry in files.items():
            if not self.has(name):
                place(self.directory / name, entry)

    def lose(self, names: Iterable[str]) -> None:
        for name in names:
            (self.directory / name).unlink(missing_ok=True)

    @property
    def pids(self) -> list[int]:
        """The processes in this very group."""
        file = "tasks" if self.kernel.version == 1 else "cgroup.threads"
        return [int(line) for line in self.get(file).split()]

    @property
    def subtree_control(self) -> set[str]:
        return set(self.get("cgroup.subtree_control").split())

    @property
    def threaded(self) -> bool:
        return self.get("cgroup.type") == "threaded"

    @property
    def control(self) -> set[str]:
        """The controllers that this group may enable for its children (cgroup_control)."""
        return set(self.get("cgroup.controllers").split())

    @property
    def populated(self) -> bool:
        if not self.made and self.path != "/" and self.key("cgroup.events", "populated"):
            return True
        return bool(self.pids) or any(child.populated for child in self.children)

    @property
    def domain(self) -> Group:
        """The nearest group that is not threaded (dom_cgrp)."""
        return next((group for group in (self, *self.above()) if not group.threaded), self)

    @property
    def is_thread_root(self) -> bool:
        if self.threaded:
            return False
        if any(child.threaded for child in self.children):
            return True
        return bool(self.pids) and bool(self.subtree_control & THREADED)

    @property
    def is_valid_domain(self) -> bool:
        if self.threaded:
            return False
        inner = [group for group in self.above() if group.path != "/"]
        return not any(group.threaded or group.is_thread_root for group in inner)

    @property
    def can_be_thread_root(self) -> bool:
        if self.path == "/":
            return True
        populated = any(c.populated for c in self.children if not c.threaded)
        return not (self.threaded or populated or self.subtree_control - THREADED)


class FakeKernel:
    """One hierarchy below `top`.

    `compiled` are the controllers of /proc/cgroups by their v2 names, `facts` what fakerules must
    know of the machine.  `made` are the groups made here, `writes` what was written, in order.
    """

    def __init__(self, top: Path, version: int, template: Template, facts: fakerules.Facts) -> None:
        self.top = top
        self.version = version
        self.template = template
        self.facts = facts
        self.made: set[str] = set()
        self.writes: list[tuple[str, str, str]] = []
        self.filters: dict[str, Filter] = {}

    @property
    def root(self) -> Group:
        return Group(self, "/")

    def group(self, path: str) -> Group:
        return Group(self, path)

    def groups(self) -> list[Group]:
        return list(self.root.below())

    # -- making and removing

    def mkdir(self, path: str) -> None:
        """mkdir(2) in the hierarchy: the group and its files.  EEXIST, ENOENT, EINVAL, EAGAIN."""
        group = self.group(path)
        parent = group.parent
        if parent is None or group.directory.exists():
            fail(errno.EEXIST)
            return
        if not parent.directory.is_dir():
            fail(errno.ENOENT)
        if "\n" in path:
            fail(errno.EINVAL)
        self._check_room(group)
        group.directory.mkdir()
        self.made.add(path)
        enabled = parent.subtree_control
        group.gain(self.template.files(enabled))
        if self.version == 2:
            group.put("cgroup.controllers", listed(enabled))
            for above in group.above():
                above.set_key(
                    "cgroup.stat", "nr_descendants", above.key("cgroup.stat", "nr_descendants") + 1
                )
        else:
            fakerules.inherit(group, parent)
        self.settle()

    def _check_room(self, group: Group) -> None:
        """cgroup.max.descendants and cgroup.max.depth of all above (cgroup_check_hierarchy_limits)."""
        for level, above in enumerate(group.above(), 1):
            descendants = above.get("cgroup.max.descendants", "max")
            depth = above.get("cgroup.max.depth", "max")
            if descendants != "max" and above.key("cgroup.stat", "nr_descendants") >= int(
                descendants
            ):
                fail(errno.EAGAIN)
            if depth != "max" and level > int(depth):
                fail(errno.EAGAIN)

    def rmdir(self, path: str) -> None:
        """rmdir(2): EBUSY with processes or groups in it, ENOENT, EPERM for the root."""
        group = self.group(path)
        if path == "/":
            fail(errno.EBUSY)
        if not group.directory.is_dir():
            fail(errno.ENOENT)
        if group.populated or group.children:
            fail(errno.EBUSY)
        group.lose(entry.name for entry in list(os.scandir(group.directory)))
        group.directory.rmdir()
        self.made.discard(path)
        self.filters.pop(path, None)
        if self.version == 2:
            for above in group.above():
                above.set_key(
                    "cgroup.stat", "nr_descendants", above.key("cgroup.stat", "nr_descendants") - 1
                )
        self.settle()

    # -- reading and writing

    def refusal(self, path: str, file: str) -> int | None:
        """The errno with which reading a file fails, or None."""
        if file == "cgroup.procs" and self.group(path).threaded:
            return errno.EOPNOTSUPP
        return self.template.errors.get(file) if path != "/" else None

    def write(self, path: str, file: str, data: bytes) -> None:
        """One write(2) to a file.  ENOENT, EACCES for a read-only file, or what the file says."""
        group = self.group(path)
        if not group.has(file):
            fail(errno.ENOENT)
        if not (group.directory / file).stat().st_mode & 0o222:
            fail(errno.EACCES)
        value = data.decode("utf-8", "surrogateescape").strip()
        core = self._CORE.get(file) or (self._V2 if self.version == 2 else self._V1).get(file)
        if core is not None:
            core(self, group, value)
        else:
            fakerules.write(group, file, value)
        self.writes.append((path, file, value))
        self.settle()

    def _write_subtree_control(self, group: Group, value: str) -> None:
        """cgroup_subtree_control_write."""
        enable: set[str] = set()
        disable: set[str] = set()
        for word in value.split():
            name = word[1:]
            if word[0] not in "+-" or name not in self.facts.compiled or name not in V2_ORDER:
                fail(errno.EINVAL)
            (enable if word[0] == "+" else disable).add(name)
            (disable if word[0] == "+" else enable).discard(name)
        enable -= group.subtree_control
        disable &= group.subtree_control
        if not enable <= group.control:
            fail(errno.ENOENT)
        if any(disable & child.subtree_control for child in group.children):
            fail(errno.EBUSY)
        self._vet_enable(group, enable)
        for child in group.children:
            self._switch(child, enable, disable)
        group.put("cgroup.subtree_control", listed((group.subtree_control | enable) - disable))

    def _vet_enable(self, group: Group, enable: set[str]) -> None:
        """cgroup_vet_subtree_control_enable."""
        if not enable:
            return
        if not group.domain.is_valid_domain:
            fail(errno.EOPNOTSUPP)
        if group.path == "/":
            return
        if enable - THREADED:
            if group.is_thread_root or group.threaded:
                fail(errno.EOPNOTSUPP)
        elif group.can_be_thread_root or group.threaded:
            return
        if group.pids:
            fail(errno.EBUSY)

    def _switch(self, group: Group, enable: set[str], disable: set[str]) -> None:
        """Give a group the files of controllers, take others away."""
        if group.threaded:
            enable = enable & THREADED
        for controller in enable:
            group.gain(self.template.of(controller))
        for controller in disable:
            group.lose(self.template.of(controller))
        group.put("cgroup.controllers", listed((group.control | enable) - disable))
        if "cpu" in enable | disable and group.made:
            stat = (self.template.fresh if "cpu" in enable else self.template.bare)["cpu.stat"]
            group.put("cpu.stat", stat.text or "")

    def _write_type(self, group: Group, value: str) -> None:
        """cgroup_type_write and cgroup_enable_threaded."""
        if value != "threaded":
            fail(errno.EINVAL)
        if group.threaded:
            return
        domain = group.parent.domain if group.parent else group
        if group.populated or group.subtree_control - THREADED:
            fail(errno.EOPNOTSUPP)
        if not domain.is_valid_domain or not domain.can_be_thread_root:
            fail(errno.EOPNOTSUPP)
        group.put("cgroup.type", "threaded")
        self._switch(group, set(), group.control - THREADED)

    def _write_procs(self, group: Group, value: str, *, thread: bool = False) -> None:
        """cgroup_procs_write: move one process here from wherever it is."""
        pid = fakerules.signed(value)
        if pid < 0:
            fail(errno.EINVAL)
        pid = pid or os.getpid()
        source = next((one for one in self.groups() if pid in one.pids), None)
        if source is None and not Path("/proc", str(pid)).exists():
            fail(errno.ESRCH)
        if self.version == 2:
            self._vet_move(source or self.root, group, thread)
        else:
            fakerules.attach(group)
        self.move(pid, group)

    def _vet_move(self, source: Group, group: Group, thread: bool) -> None:
        """cgroup_migrate_vet_dst, and cgroup_attach_permissions for single threads."""
        if not group.domain.is_valid_domain:
            fail(errno.EOPNOTSUPP)
        free = group.can_be_thread_root or group.threaded
        if not free and group.subtree_control:
            fail(errno.EBUSY)
        if thread and source.domain != group.domain:
            fail(errno.EOPNOTSUPP)

    def _write_threads(self, group: Group, value: str) -> None:
        self._write_procs(group, value, thread=True)

    def move(self, pid: int, group: Group | None) -> None:
        """Put a process into a group, out of all others; None: it is no more."""
        files = ("cgroup.procs", "cgroup.threads" if self.version == 2 else "tasks")
        for one in self.groups():
            for file in files:
                there = one.get(file).split()
                wanted = [p for p in there if p != str(pid)] + ([str(pid)] if one == group else [])
                if wanted != there:
                    one.put(file, "\n".join(sorted(wanted, key=int)))
        self.settle()

    def _write_kill(self, group: Group, value: str) -> None:
        """cgroup_kill_write: the processes are gone from the tree, none is sent a signal."""
        if fakerules.signed(value) != 1:
            fail(errno.ERANGE)
        if group.threaded:
            fail(errno.EOPNOTSUPP)
        for pid in [pid for one in group.below() for pid in one.pids]:
            self.move(pid, None)

    def _write_freeze(self, group: Group, value: str) -> None:
        if fakerules.signed(value) not in (0, 1):
            fail(errno.ERANGE)
        group.put("cgroup.freeze", value)

    def _write_max(self, file: str, group: Group, value: str) -> None:
        if value != "max" and fakerules.signed(value) < 0:
            fail(errno.ERANGE)
        group.put(file, value)

    def _write_descendants(self, group: Group, value: str) -> None:
        self._write_max("cgroup.max.descendants", group, value)

    def _write_depth(self, group: Group, value: str) -> None:
        self._write_max("cgroup.max.depth", group, value)

    def _write_state(self, group: Group, value: str) -> None:
        """freezer_write: what was asked of this very group; `settle` does the rest."""
        if value not in ("THAWED", "FROZEN"):
            fail(errno.EINVAL)
        group.put("freezer.self_freezing", str(int(value == "FROZEN")))

    _CORE = {"cgroup.procs": _write_procs}
    _V1 = {"tasks": _write_procs, "freezer.state": _write_state}
    _V2 = {
        "cgroup.threads": _write_threads,
        "cgroup.subtree_control": _write_subtree_control,
        "cgroup.type": _write_type,
        "cgroup.kill": _write_kill,
        "cgroup.freeze": _write_freeze,
        "cgroup.max.descendants": _write_descendants,
        "cgroup.max.depth": _write_depth,
    }

    # -- what follows from what

    def settle(self) -> None:
        """Bring all files up to date that follow from others, parents before children."""
        for group in self.groups():
            if group.path == "/":
                continue
            if self.version == 2:
                self._settle_v2(group)
            elif group.has("freezer.state"):
                _settle_freezer(group)
            fakerules.settle(group)

    def _settle_v2(self, group: Group) -> None:
        parent = group.parent
        frozen = group.get("cgroup.freeze") == "1" or (
            parent is not None and bool(parent.key("cgroup.events", "frozen"))
        )
        group.set_key("cgroup.events", "frozen", int(frozen))
        group.set_key("cgroup.events", "populated", int(group.populated))
        group.put("cgroup.type", type_of(group))
        if group.is_thread_root:
            threads = [pid for one in group.below() if one.domain == group for pid in one.pids]
            group.put("cgroup.procs", "\n".join(map(str, sorted(threads))))


def _settle_freezer(group: Group) -> None:
    """freezer_apply_state: a group is frozen by itself or by any group above."""
    parent = group.parent
    above = parent is not None and parent.get("freezer.state") == "FROZEN"
    group.put("freezer.parent_freezing", str(int(above)))
    frozen = above or group.get("freezer.self_freezing") == "1"
    group.put("freezer.state", "FROZEN" if frozen else "THAWED")


def type_of(group: Group) -> str:
    """cgroup_type_show."""
    if group.threaded:
        return "threaded"
    if not group.is_valid_domain:
        return "domain invalid"
    return "domain threaded" if group.is_thread_root else "domain"


def listed(controllers: Iterable[str]) -> str:
    """Controllers as the kernel prints them."""
    return " ".join(sorted(controllers, key=V2_ORDER.index))
