"""A cgroup hierarchy that behaves, on a plain directory: groups, membership, freezing, removal.

Law: what the kernel's cgroup core does (kernel/cgroup/cgroup.c, cgroup-v1.c, legacy_freezer.c), on
ordinary files, so that everything can be looked at; what one controller's file makes of a value is
in `rules`.  Refusals are `OSError` with the kernel's errno.  Nothing happens by itself: no process
runs, no counter counts, so what a test wants to read as usage it writes there itself.

Groups that were recorded keep what was recorded of them (their processes were not all recorded);
groups made here are kept right in every file that follows from others.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import rules
from .group import THREADED, Group
from .numbers import fail, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .devices import Filter
    from .group import Facts, Template

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


class FakeKernel:
    """One hierarchy below `top`.

    `facts` is what the rules must know of the machine, `made` the groups made here, `filters` the
    device filters of v1 with what devices.list does not show.
    """

    def __init__(self, top: Path, version: int, template: Template, facts: Facts) -> None:
        self.top = top
        self.version = version
        self.template = template
        self.facts = facts
        self.made: set[str] = set()
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
            rules.inherit(group, parent)
        self.settle()

    def _check_room(self, group: Group) -> None:
        """What all above allow in number and depth (cgroup_check_hierarchy_limits)."""
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
        """One write(2) to a file.  ENOENT, EINVAL for a read-only file, or what the file says."""
        group = self.group(path)
        if not group.has(file):
            fail(errno.ENOENT)
        if not (group.directory / file).stat().st_mode & 0o222:
            fail(errno.EINVAL)  # root can open it, and there is no function to write with
        if not data:
            return  # write(2) of nothing does not reach the file
        value = data.decode("utf-8", "surrogateescape").strip()
        core = (_V2 if self.version == 2 else _V1).get(file)
        if core is not None:
            core(self, group, value)
        else:
            rules.write(group, file, value)
        if core is not None or file.startswith("cpuset."):
            self.settle()

    def write_subtree_control(self, group: Group, value: str) -> None:
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

    def write_type(self, group: Group, value: str) -> None:
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

    def write_procs(self, group: Group, value: str, *, thread: bool = False) -> None:
        """cgroup_procs_write: move one process here from wherever it is."""
        pid = signed(value)
        if pid < 0:
            fail(errno.EINVAL)
        pid = pid or os.getpid()
        source = next((one for one in self.groups() if pid in one.pids), None)
        if source is None and not Path("/proc", str(pid)).exists():
            fail(errno.ESRCH)
        if self.version == 2:
            self._vet_move(source or self.root, group, thread)
        else:
            rules.attach(group)
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

    def write_threads(self, group: Group, value: str) -> None:
        self.write_procs(group, value, thread=True)

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

    def write_kill(self, group: Group, value: str) -> None:
        """cgroup_kill_write: the processes are gone from the tree, none is sent a signal."""
        if signed(value) != 1:
            fail(errno.ERANGE)
        if group.threaded:
            fail(errno.EOPNOTSUPP)
        for pid in [pid for one in group.below() for pid in one.pids]:
            self.move(pid, None)

    def write_freeze(self, group: Group, value: str) -> None:
        if signed(value) not in (0, 1):
            fail(errno.ERANGE)
        group.put("cgroup.freeze", value)

    def write_max(self, file: str, group: Group, value: str) -> None:
        if value != "max" and signed(value) < 0:
            fail(errno.ERANGE)
        group.put(file, value)

    def write_descendants(self, group: Group, value: str) -> None:
        self.write_max("cgroup.max.descendants", group, value)

    def write_depth(self, group: Group, value: str) -> None:
        self.write_max("cgroup.max.depth", group, value)

    def write_state(self, group: Group, value: str) -> None:
        """freezer_write: what was asked of this very group; `settle` does the rest."""
        if value not in ("THAWED", "FROZEN"):
            fail(errno.EINVAL)
        group.put("freezer.self_freezing", str(int(value == "FROZEN")))

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
            rules.settle(group)

    def _settle_v2(self, group: Group) -> None:
        parent = group.parent
        frozen = group.get("cgroup.freeze") == "1" or (
            parent is not None and bool(parent.key("cgroup.events", "frozen"))
        )
        group.set_key("cgroup.events", "frozen", int(frozen))
        group.set_key("cgroup.events", "populated", int(group.populated))
        group.put("cgroup.type", type_of(group))
        if group.made:
            _count_controllers(group)
        if group.is_thread_root:
            threads = [pid for one in group.below() if one.domain == group for pid in one.pids]
            group.put("cgroup.procs", "\n".join(map(str, sorted(threads))))


def _count_controllers(group: Group) -> None:
    """The nr_subsys_ lines of cgroup.stat (6.11): in how many groups from here on each is."""
    below = list(group.below())
    for line in group.get("cgroup.stat").splitlines():
        name = line.partition(" ")[0].removeprefix("nr_subsys_")
        if line.startswith("nr_subsys_"):
            everywhere = name not in group.kernel.root.control  # the implicit ones
            count = sum(everywhere or name in one.control for one in below)
            group.set_key("cgroup.stat", f"nr_subsys_{name}", count)


def _settle_freezer(group: Group) -> None:
    """freezer_apply_state: a group is frozen by itself or by any group above."""
    parent = group.parent
    above = parent is not None and parent.get("freezer.state") == "FROZEN"
    group.put("freezer.parent_freezing", str(int(above)))
    frozen = above or group.get("freezer.self_freezing") == "1"
    group.put("freezer.state", "FROZEN" if frozen else "THAWED")


_V1: dict[str, Callable[[FakeKernel, Group, str], None]] = {
    "cgroup.procs": FakeKernel.write_procs,
    "tasks": FakeKernel.write_procs,
    "freezer.state": FakeKernel.write_state,
}
_V2: dict[str, Callable[[FakeKernel, Group, str], None]] = {
    "cgroup.procs": FakeKernel.write_procs,
    "cgroup.threads": FakeKernel.write_threads,
    "cgroup.subtree_control": FakeKernel.write_subtree_control,
    "cgroup.type": FakeKernel.write_type,
    "cgroup.kill": FakeKernel.write_kill,
    "cgroup.freeze": FakeKernel.write_freeze,
    "cgroup.max.descendants": FakeKernel.write_descendants,
    "cgroup.max.depth": FakeKernel.write_depth,
}


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
