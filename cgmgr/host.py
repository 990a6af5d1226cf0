"""What this machine can do: hierarchies, where they are mounted, who holds which controller.

Law: built once, from roots given as arguments, and handed down; never a global.  Everything here is
observation: nothing is written.  `Host.detect(root=...)` reads a recorded tree of another machine
in just the same way.

A controller belongs to the v1 hierarchy that is mounted for it, else to cgroup2 if that lists it;
the controllers that cgroup2 has without listing them (freezer, devices, perf_event) come last.
"""

from __future__ import annotations

import os

from cgmgr import kernfs, linux, parse
from cgmgr.errors import ControllerUnavailable, HostError, RequestError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.controllers.base import Facts

#: v1 name -> the name that cgmgr uses, v2's
V2_NAMES: Final = {"blkio": "io"}
#: there in every non-root cgroup2 group without a line in cgroup.controllers (cgroup-v2.rst;
#: freezer since 5.2, devices by BPF)
IMPLICIT_ON_V2: Final = ("freezer", "devices", "perf_event")
#: known v1 hierarchies; others are reported and left alone
KNOWN: Final = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "io",
    "pids",
    "net_cls",
    "net_prio",
    "hugetlb",
    "perf_event",
    "rdma",
    "misc",
)
#: cgroup2 has nothing in their place
ONLY_ON_V1: Final = ("net_cls", "net_prio")
#: what gives users' systemds more controllers than memory and pids; as root, before a login
DELEGATE: Final = """\
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' \\
    > /etc/systemd/system/user@.service.d/delegate.conf
systemctl daemon-reload"""
LEGACY, HYBRID, UNIFIED = "legacy", "hybrid", "unified"


class Hierarchy(Record):
    """One mounted hierarchy.

    `key` names it in records and messages: "" is cgroup2, else the v1 controllers as mounted, such
    as "cpu,cpuacct" or "name=systemd".  `controllers` are our names of what it holds.  `own` is
    this process's group, relative to the mount, or None when it lies outside what is mounted.
    `mount_root` is the part of the hierarchy that is mounted ("/" outside containers).  `base` is
    the group that the names of our groups start from: our own group where somebody delegated that
    to us and not the mount's root, else the root.  `options` are those of the file system.
    """

    key: str
    version: int
    controllers: tuple[str, ...]
    mountpoint: str
    mount_root: str = "/"
    own: str | None = None
    base: str = "/"
    read_only: bool = False
    options: tuple[str, ...] = ()


class Host:
    """A machine, seen once.  Use `Host.detect()`.

    `v2` is the cgroup2 hierarchy, None where none is mounted.  `managed` are those in which a group
    of ours has a directory: all but the ones of unknown purpose.
    """

    def __init__(self, root: str, hierarchies: tuple[Hierarchy, ...]) -> None:
        self.root = root
        self.hierarchies = hierarchies
        self.v2 = next((h for h in hierarchies if h.version == 2), None)
        self.managed = tuple(h for h in hierarchies if _known(h))
        self._by_key = {h.key: h for h in hierarchies}
        self._holders = {name: h for h in reversed(hierarchies) for name in h.controllers}
        self._trees: dict[str, kernfs.Tree] = {}
        self._facts: Facts | None = None
        self._delegated = ""

    @classmethod
    def detect(cls, root: str = "/") -> Host:
        """Read /proc and /sys below `root`.  Raises `HostError` where no cgroup file system is
        mounted."""
        memberships = parse.proc_cgroup(read_text(root, "proc/self/cgroup") or "")
        mounts = parse.mountinfo(read_text(root, "proc/self/mountinfo") or "")
        found: dict[str, Hierarchy] = {}
        for mount in mounts:
            hierarchy = _hierarchy(root, mount, memberships)
            if hierarchy is not None and _better(hierarchy, found.get(hierarchy.key), root):
                found[hierarchy.key] = hierarchy
        if not found:
            raise HostError(
                "no cgroup file system is mounted",
                operation="detect",
                path=os.path.join(root, "sys/fs/cgroup"),
                hint="mount -t cgroup2 none /sys/fs/cgroup",
            )
        return cls(root, _settle(found))

    def below(self, base: str) -> Host:
        """The same machine, seen from a cgroup2 group that somebody delegated: names count from
        there, and what is to be had is what that group was given."""
        if self.v2 is None:
            return self
        listed = read_text(self.v2.mountpoint, f"{base.strip('/')}/cgroup.controllers")
        implicit = tuple(name for name in self.v2.controllers if name in IMPLICIT_ON_V2)
        seen = self.v2.replace(base=base, controllers=(*(listed or "").split(), *implicit))
        others = (h for h in self.hierarchies if h.version == 1)
        host = type(self)(self.root, (*others, seen))
        host._delegated = base
        return host

    @property
    def mode(self) -> str:
        """`unified`: cgroup2 alone holds controllers; `legacy`: no cgroup2; else `hybrid`.

        Decided by what is mounted at the usual root, so that one stray v1 mount elsewhere
        (net_cls mounted by hand) does not turn a unified host into something else.
        """
        top = os.path.join(self.root, "sys/fs/cgroup").rstrip("/")
        v2 = self.v2
        if v2 is None:
            return LEGACY
        return UNIFIED if v2.mountpoint == top else HYBRID

    def holder(self, controller: str) -> Hierarchy | None:
        """The hierarchy that holds a controller (our name), or None."""
        return self._holders.get(controller)

    def need(self, controller: str) -> Hierarchy:
        """As `holder`, but `ControllerUnavailable` with the reason and the fix where there is
        none."""
        hierarchy = self.holder(controller)
        if hierarchy is None:
            raise ControllerUnavailable(
                f"the {controller} controller is not available: {self.why_missing(controller)}",
                controller=controller,
                missing_at=self.v2.mountpoint if self.v2 else None,
                operation="find controller",
                value=controller,
                hint=self.fix_missing(controller),
            )
        return hierarchy

    def by_key(self, key: str) -> Hierarchy:
        """The hierarchy of that key; `HostError` if it is not mounted (any more)."""
        hierarchy = self._by_key.get(key)
        if hierarchy is None:
            raise HostError(
                f"hierarchy {key or 'cgroup2'} is not mounted", operation="find hierarchy"
            )
        return hierarchy

    def memberships(self, pid: int) -> dict[str, str]:
        """Where a process is, by hierarchy key, relative to the mount; what lies outside is left
        out.  Raises `RequestError` where there is no such process."""
        text = read_text(self.root, f"proc/{pid}/cgroup")
        if text is None:
            raise RequestError(
                f"there is no process {pid}", operation="find process", value=str(pid)
            )
        seen = parse.proc_cgroup(text)
        found = {h.key: _own(h.key, h.mount_root, seen) for h in self.hierarchies}
        return {key: path for key, path in found.items() if path is not None}

    def tree(self, hierarchy: Hierarchy) -> kernfs.Tree:
        """The hierarchy's files; opened once."""
        tree = self._trees.get(hierarchy.key)
        if tree is None:
            magic = None
            if self.root == "/":
                v1 = hierarchy.version == 1
                magic = linux.CGROUP_SUPER_MAGIC if v1 else linux.CGROUP2_SUPER_MAGIC
            tree = self._trees[hierarchy.key] = self.make_tree(hierarchy, magic)
        return tree

    def make_tree(self, hierarchy: Hierarchy, magic: int | None) -> kernfs.Tree:
        """How a tree is made; the seam for a tree that is not the kernel's."""
        return kernfs.Tree(hierarchy.mountpoint, magic)

    @property
    def facts(self) -> Facts:
        """What the controllers need to know; read on first use."""
        if self._facts is None:
            from cgmgr.facts import read

            self._facts = read(self.root)
        return self._facts

    @property
    def pid1(self) -> str:
        """The name of process 1: "systemd", "init", ..."""
        return (read_text(self.root, "proc/1/comm") or "").strip()

    @property
    def unknown_controllers(self) -> tuple[str, ...]:
        """Mounted v1 controllers that cgmgr does not know: reported, and left alone."""
        return tuple(
            name
            for h in self.hierarchies
            for name in h.controllers
            if name not in KNOWN and not name.startswith("name=")
        )

    def why_missing(self, controller: str) -> str:
        """Why no hierarchy holds a controller."""
        if controller in self.disabled:
            return f"the kernel was started with cgroup_disable={_v1_name(controller)}"
        known = controller in self.compiled
        if controller in ONLY_ON_V1 and self.mode == UNIFIED:
            beside = "a v1 hierarchy mounted beside it would hold it"
            return f"cgroup v2 has none; {beside if known else 'and neither has this kernel'}"
        if self._delegated and known and self.mode == UNIFIED:
            return f"it was not delegated to {self._delegated}"
        if not known:
            return "this kernel was built without it"
        return "the kernel has it, but no mounted hierarchy holds it"

    def fix_missing(self, controller: str) -> str | None:
        """What would make a hierarchy hold it; None where no command does."""
        v1 = _v1_name(controller)
        if controller in self.disabled:
            # a Raspberry Pi's firmware puts it there, and its kernel knows the opposite
            return f"cgroup_enable={v1} # on the kernel's command line, not cgroup_disable={v1}"
        unified = self.mode == UNIFIED
        if self._delegated and unified and controller in self._delegable:
            return DELEGATE if self.pid1 == "systemd" else None
        if controller not in self.compiled or (unified and controller not in ONLY_ON_V1):
            return None
        # a directory that is made in a cgroup2 mount would be a group
        where = f"/run/cgroup/{v1}" if unified else f"/sys/fs/cgroup/{v1}"
        return f"mkdir -p {where} && mount -t cgroup -o {v1} none {where}"

    @property
    def compiled(self) -> tuple[str, ...]:
        """The controllers in this kernel, by /proc/cgroups (not where a mount holds them)."""
        return tuple(V2_NAMES.get(row[0], row[0]) for row in self._proc_cgroups())

    @property
    def disabled(self) -> tuple[str, ...]:
        """The controllers that the kernel was told to leave out (cgroup_disable=)."""
        rows = self._proc_cgroups()
        return tuple(V2_NAMES.get(row[0], row[0]) for row in rows if row[3:] == ["0"])

    @property
    def _delegable(self) -> set[str]:
        """The controllers that a group of cgroup2 can be given."""
        return {name for name in self.compiled if name not in ONLY_ON_V1}

    def _proc_cgroups(self) -> list[list[str]]:
        """Name, hierarchy, number of groups, and whether it is enabled."""
        lines = (read_text(self.root, "proc/cgroups") or "").splitlines()
        return [line.split("\t") for line in lines if line and not line.startswith("#")]


def _v1_name(controller: str) -> str:
    return next((old for old, new in V2_NAMES.items() if new == controller), controller)


def _known(hierarchy: Hierarchy) -> bool:
    return hierarchy.version == 2 or any(
        name in KNOWN or name.startswith("name=") for name in hierarchy.controllers
    )


def read_text(root: str, path: str) -> str | None:
    """A file of /proc or /sys below `root`; None where it is absent or unreadable."""
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _hierarchy(
    root: str, mount: parse.Mount, memberships: list[parse.Membership]
) -> Hierarchy | None:
    if mount.fstype not in ("cgroup", "cgroup2") or (root == "/" and _hidden(mount)):
        return None
    mountpoint = os.path.join(root, mount.mountpoint.lstrip("/"))
    version = 2 if mount.fstype == "cgroup2" else 1
    if version == 2:
        key = ""
        listed = read_text(mountpoint, "cgroup.controllers") or ""
        controllers = tuple(listed.split())
    else:
        names = _v1_names(mount, memberships)
        key = ",".join(names)
        controllers = tuple(V2_NAMES.get(name, name) for name in names)
    own = _own(key, mount.root, memberships)
    delegated = own is not None and _delegated(mountpoint, own)
    return Hierarchy(
        key=key,
        version=version,
        controllers=controllers,
        mountpoint=mountpoint,
        mount_root=mount.root,
        own=own,
        base=own if delegated and own else "/",
        read_only="ro" in mount.options,
        options=mount.super_options,
    )


def _delegated(mountpoint: str, own: str) -> bool:
    """Whether our own group is ours to change, and the mount's root is not."""
    places = (mountpoint, os.path.join(mountpoint, own.strip("/")))
    root, ours = (os.access(os.path.join(place, "cgroup.procs"), os.W_OK) for place in places)
    return ours and not root


def _hidden(mount: parse.Mount) -> bool:
    """Whether something else is mounted over it, as containers do: the table lists it all the
    same."""
    try:
        device = os.stat(mount.mountpoint).st_dev
    except OSError:
        return True
    return f"{os.major(device)}:{os.minor(device)}" != mount.device


#: mount options of a v1 hierarchy that are no controllers (cgroup-v1/cgroups.rst)
_V1_OPTIONS = frozenset(
    {"rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods", "none"}
)


def _v1_names(mount: parse.Mount, memberships: list[parse.Membership]) -> tuple[str, ...]:
    """The controllers of a v1 mount, in the order of /proc/self/cgroup where that knows them."""
    options = [
        option
        for option in mount.super_options
        if option not in _V1_OPTIONS and not option.startswith("release_agent=")
    ]
    for membership in memberships:
        if set(membership.controllers) == set(options):
            return membership.controllers
    return tuple(options)


def _own(key: str, mount_root: str, memberships: list[parse.Membership]) -> str | None:
    """This process's group relative to the mount; None where it is not below the mounted part.

    Without a cgroup namespace a container's mount root is the group itself (moby#34584); inside one
    a path may begin with /.. and is then outside.
    """
    for membership in memberships:
        if ",".join(membership.controllers) == key:
            path = membership.path
            if mount_root == "/":
                return None if path.startswith("/..") else path
            if path == mount_root or path.startswith(mount_root + "/"):
                return path[len(mount_root) :] or "/"
    return None


def _better(new: Hierarchy, old: Hierarchy | None, root: str) -> bool:
    """Of several mounts of one hierarchy: below /sys/fs/cgroup first, the first of those."""
    top = os.path.join(root, "sys/fs/cgroup")
    return old is None or (new.mountpoint.startswith(top) and not old.mountpoint.startswith(top))


def _settle(found: dict[str, Hierarchy]) -> tuple[Hierarchy, ...]:
    """Give cgroup2 the implicit controllers that no v1 hierarchy holds, and order v1 first."""
    v1 = [h for h in found.values() if h.version == 1]
    held = {name for h in v1 for name in h.controllers}
    settled = list(v1)
    if "" in found:
        v2 = found[""]
        implicit = [name for name in IMPLICIT_ON_V2 if name not in held]
        settled.append(v2.replace(controllers=(*v2.controllers, *implicit)))
    return tuple(settled)
