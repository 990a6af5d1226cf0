"""What this kernel can do beyond what is mounted, found out by trying.

Law: every feature is probed, none is guessed from a version number, because distributions carry
features back and forth.  A probe changes nothing: a system call is made with arguments that no
kernel accepts, and the errno tells whether it is known; a file is looked for in a group that
exists. None is a question that nobody can answer here, for example of a recorded host.
"""

from __future__ import annotations

import errno
import os
import sys

from cgmgr import kernfs, linux
from cgmgr.errors import CgmgrError
from cgmgr.host import read_text
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from cgmgr.host import Hierarchy, Host


class Features(Record):
    """Of the kernel: `openat2` to `mount_setattr` are system calls, `clone_into_cgroup` starts a
    process in its group, `device_filter` attaches a BPF program for devices to a group (cgroup2),
    `pressure` is measured for the host.

    Of groups: the rest.  `peak_reset` lets the peak of one run be told from what was before it.
    `delegate` are the files that belong to whom a group is delegated to, `nsdelegate` makes a
    cgroup namespace's root a border of delegation.
    """

    openat2: bool | None = None
    clone_into_cgroup: bool | None = None
    pidfd: bool | None = None
    open_tree: bool | None = None
    mount_setattr: bool | None = None
    device_filter: bool | None = None
    pressure: bool | None = None
    group_pressure: bool | None = None
    kill: bool | None = None
    swap: bool | None = None
    peak: bool | None = None
    peak_reset: bool | None = None
    cpu_burst: bool | None = None
    cpu_idle: bool | None = None
    rt_groups: bool | None = None
    reclaim: bool | None = None
    delegate: tuple[str, ...] = ()
    nsdelegate: bool = False


#: feature -> controller ("" is cgroup2 itself), file on v1, file on v2; no file is "never"
FILES: Final[dict[str, tuple[str, str, str]]] = {
    "group_pressure": ("", "", "memory.pressure"),
    "kill": ("", "", "cgroup.kill"),
    "swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "peak": ("memory", "memory.max_usage_in_bytes", "memory.peak"),
    "cpu_burst": ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
    "cpu_idle": ("cpu", "cpu.idle", "cpu.idle"),
    "rt_groups": ("cpu", "cpu.rt_runtime_us", ""),
    "reclaim": ("memory", "", "memory.reclaim"),
}


def probe(host: Host) -> Features:
    """Try everything.  Takes well under a millisecond; changes nothing."""
    found: dict[str, bool | None] = {name: _file(host, *place) for name, place in FILES.items()}
    if host.root == "/":
        found |= {name: known(call) for name, call in CALLS.items()}
    v2 = host.v2
    return Features(
        **found,
        pressure=read_text(host.root, "proc/pressure/memory") is not None,
        peak_reset=_peak_reset(host),
        delegate=tuple((read_text(host.root, "sys/kernel/cgroup/delegate") or "").split()),
        nsdelegate=v2 is not None and "nsdelegate" in v2.options,
    )


def has_file(host: Host, hierarchy: Hierarchy, file: str) -> bool | None:
    """Whether groups of the hierarchy have a file: asked of the root, then of any group there is.

    None where nobody can say: many files exist in groups other than the root only, and there is no
    group but the root.
    """
    mode = _mode(host, hierarchy, file)
    return None if mode is None else mode != 0


def known(call: Callable[[], object]) -> bool:
    """Whether the kernel knows a call that cannot succeed."""
    try:
        call()
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EINVAL, errno.E2BIG)
    return True


_NO_FD: Final = -100_000
#: enum bpf_cmd and enum bpf_attach_type of linux/bpf.h
_BPF_PROG_QUERY: Final = 16
_BPF_CGROUP_DEVICE: Final = 6


def _query_devices() -> None:
    """BPF_PROG_QUERY of no group: EINVAL without CONFIG_CGROUP_BPF."""
    attribute = _NO_FD.to_bytes(4, sys.byteorder, signed=True)
    attribute += _BPF_CGROUP_DEVICE.to_bytes(4, sys.byteorder) + bytes(248)
    linux.syscall(linux.SYS_bpf, _BPF_PROG_QUERY, attribute, len(attribute))


#: each with a descriptor that no process has: EBADF says that the kernel came as far as looking at
#: it
CALLS: Final[dict[str, Callable[[], object]]] = {
    "openat2": lambda: linux.openat2(_NO_FD, "x", os.O_PATH, linux.RESOLVE_BENEATH),
    "clone_into_cgroup": lambda: linux.clone3(linux.CLONE_INTO_CGROUP, cgroup=1 << 20),
    "pidfd": lambda: os.pidfd_open(1 << 30),
    "open_tree": lambda: linux.open_tree(_NO_FD, "x", 0),
    "device_filter": _query_devices,
    "mount_setattr": lambda: linux.mount_setattr(_NO_FD, "x", 0, attr_set=linux.MOUNT_ATTR_RDONLY),
}


def _file(host: Host, controller: str, v1: str, v2: str) -> bool | None:
    hierarchy = host.holder(controller) if controller else host.v2
    if hierarchy is None:
        return False
    file = v1 if hierarchy.version == 1 else v2
    return has_file(host, hierarchy, file) if file else False


def _peak_reset(host: Host) -> bool | None:
    """v1's can always be written; memory.peak is writable where a write resets it (6.12)."""
    hierarchy = host.holder("memory")
    if hierarchy is None:
        return False
    if hierarchy.version == 1:
        return True
    mode = _mode(host, hierarchy, "memory.peak")
    return None if mode is None else bool(mode & 0o200)


def _is_on(group: kernfs.Directory, controller: str) -> bool:
    on = (group.try_read("cgroup.controllers") or "").split()
    return controller == "cgroup" or controller in on


def _mode(host: Host, hierarchy: Hierarchy, file: str) -> int | None:
    """The file's mode in the root or in the first group that has the controller, 0 where that has
    no such file: on cgroup2 a controller that is not switched on has none."""
    tree = host.tree(hierarchy)
    with tree.open("/") as root:
        if root.has(file):
            return root.mode_of(file)
        children = root.children()
    for name in children:
        try:
            with tree.open(kernfs.join("/", name)) as group:
                if group.has(file):
                    return group.mode_of(file)
                if hierarchy.version == 1 or _is_on(group, file.partition(".")[0]):
                    return 0
        except CgmgrError:
            continue
    return None
