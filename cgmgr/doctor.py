"""What this host can hold, what it cannot, why, and what to do about it.

Law: looks only, and says what it saw as `Finding`s; how they are shown is the CLI's.  Each check is
a function from the host to findings, and has its line in `CHECKS`.
"""

from __future__ import annotations

import os

from cgmgr import linux
from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.errors import CgmgrError
from cgmgr.features import has_file, probe
from cgmgr.host import IMPLICIT_ON_V2, UNIFIED, Hierarchy, read_text
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from cgmgr.host import Host

OK, NOTE, NO = "ok", "note", "no"
PART_OF_ON_V2: Final = {"cpuacct": "cpu"}


class Finding(Record):
    """One thing that was looked at.  `level` is "ok", "note" (works, but) or "no"; `fix` can be
    pasted."""

    subject: str
    level: str
    text: str
    fix: str | None = None


def examine(host: Host) -> list[Finding]:
    """Every finding about the host, in the order of `CHECKS`."""
    return [finding for check in CHECKS for finding in check(host)]


def _hierarchies(host: Host) -> Iterator[Finding]:
    yield Finding(subject="hierarchy", level=OK, text=f"{host.mode}, process 1 is {host.pid1}")
    for hierarchy in host.hierarchies:
        if hierarchy.read_only:
            yield Finding(
                subject="hierarchy",
                level=NO,
                text=f"{hierarchy.mountpoint} is mounted read-only",
                fix=f"mount -o remount,rw {hierarchy.mountpoint}",
            )
    for name in host.unknown_controllers:
        yield Finding(
            subject="hierarchy", level=NOTE, text=f"controller {name} is not known, and left alone"
        )


def _controllers(host: Host) -> Iterator[Finding]:
    for name in CONTROLLERS:
        whole = host.holder(PART_OF_ON_V2.get(name, ""))
        if whole is not None and whole.version == 2:
            text = f"part of {PART_OF_ON_V2[name]} on cgroup2"
            yield Finding(subject=name, level=OK, text=text)
            continue
        try:
            hierarchy = host.need(name)
        except CgmgrError as error:
            yield Finding(subject=name, level=NO, text=str(error), fix=error.hint)
            continue
        yield Finding(subject=name, level=OK, text=_held(host, name, hierarchy))


def _held(host: Host, name: str, hierarchy: Hierarchy) -> str:
    version = "cgroup2" if hierarchy.version == 2 else "v1"
    other = host.v2
    twin = (
        hierarchy.version == 1
        and other is not None
        and name in IMPLICIT_ON_V2
        and "; a group's cgroup2 side has one too"
    )
    return f"{version} at {hierarchy.mountpoint}{twin or ''}"


def _permission(host: Host) -> Iterator[Finding]:
    for hierarchy in host.managed:
        base = hierarchy.mountpoint + hierarchy.base.rstrip("/")
        if os.access(base, os.W_OK):
            continue
        where = f"no permission to make groups in {base}"
        if hierarchy.version == 2:
            yield Finding(subject="delegation", level=NO, text=where, fix=_DELEGATION)
        else:
            yield Finding(subject="delegation", level=NO, text=where, fix="run as root")


_DELEGATION: Final = """\
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' \\
    > /etc/systemd/system/user@.service.d/delegate.conf
systemctl daemon-reload"""


def _swap(host: Host) -> Iterator[Finding]:
    if host.holder("memory") is None:
        return
    if probe(host).swap is False:
        yield Finding(
            subject="memory",
            level=NO,
            text="swap is not counted by group: it cannot be limited",
            fix="add swapaccount=1 to the kernel's command line",
        )
    elif len((read_text(host.root, "proc/swaps") or "").splitlines()) < 2:
        yield Finding(subject="memory", level=NOTE, text="the machine has no swap")


def _weights(host: Host) -> Iterator[Finding]:
    """bfq's files are there whatever the disk's scheduler is, and then hold a value without
    effect."""
    hierarchy = host.holder("io")
    if hierarchy is None:
        return
    file = "blkio.bfq.weight" if hierarchy.version == 1 else "io.bfq.weight"
    others = ("blkio.weight",) if hierarchy.version == 1 else ("io.weight",)
    if any(has_file(host, hierarchy, other) for other in others):
        return
    disks = [d for d in host.facts.block_devices if d.part_of is None and d.scheduler]
    for disk in disks:
        if disk.scheduler not in ("bfq", "none"):
            yield Finding(
                subject="io",
                level=NOTE,
                text=f"weights are held in {file} and have no effect on {disk.name}: "
                f"its scheduler is {disk.scheduler}",
                fix=f"echo bfq > /sys/block/{disk.name}/queue/scheduler",
            )


def _pressure(host: Host) -> Iterator[Finding]:
    if read_text(host.root, "proc/pressure/memory") is None:
        yield Finding(
            subject="pressure",
            level=NO,
            text="the kernel does not measure pressure",
            fix="add psi=1 to the kernel's command line",
        )
    elif host.v2 is None:
        yield Finding(
            subject="pressure", level=NO, text="measured for the host, by group on cgroup2 only"
        )
    else:
        yield Finding(subject="pressure", level=OK, text="measured by group")


def _verbs(host: Host) -> Iterator[Finding]:
    features = probe(host)
    if features.kill is False:
        text = "by freezing, signalling and thawing: there is no cgroup.kill"
        yield Finding(subject="kill", level=OK, text=text)
    else:
        yield Finding(subject="kill", level=OK, text="by cgroup.kill, which misses nobody")
    for works, text in (
        (features.peak, "the peak of memory is not known (Linux 5.19 has memory.peak)"),
        (features.peak_reset, "a peak of memory includes the start (Linux 6.12 can reset it)"),
        (features.clone_into_cgroup, "a process joins its group before it executes, not at birth"),
    ):
        if works is False:
            yield Finding(subject="run", level=NOTE, text=text)


def _hugepages(host: Host) -> Iterator[Finding]:
    if host.holder("hugetlb") is None:
        return
    reserved = read_text(host.root, "proc/sys/vm/nr_hugepages") or "0"
    if reserved.strip() == "0":
        yield Finding(
            subject="hugetlb",
            level=NOTE,
            text="limits are held, but no huge page of the default size is reserved",
            fix="echo 16 > /proc/sys/vm/nr_hugepages",
        )


def _process(_host: Host) -> Iterator[Finding]:
    """What this process may do.  CAP_SYS_ADMIN is 21, CAP_SYS_RESOURCE 24 (linux/capability.h)."""
    effective = linux.capget()[0]
    if not effective >> 21 & 1:
        text = "no CAP_SYS_ADMIN: containers and device filters need it"
        yield Finding(subject="capabilities", level=NO, text=text, fix="run as root")
    if not effective >> 24 & 1:
        yield Finding(
            subject="capabilities",
            level=NOTE,
            text="no CAP_SYS_RESOURCE: hard rlimits cannot be raised, oom_score_adj not lowered",
        )


def _containers(host: Host) -> Iterator[Finding]:
    filesystems = (read_text(host.root, "proc/filesystems") or "").split()
    if "overlay" not in filesystems:
        yield Finding(
            subject="containers",
            level=NO,
            text="the kernel has no overlay file system",
            fix="modprobe overlay",
        )
    if host.mode == UNIFIED and host.v2 is not None and host.v2.own is None:
        yield Finding(
            subject="containers", level=NOTE, text="our own cgroup is outside what is mounted here"
        )


CHECKS: Final[tuple[Callable[[Host], Iterator[Finding]], ...]] = (
    _hierarchies,
    _controllers,
    _permission,
    _swap,
    _weights,
    _hugepages,
    _pressure,
    _verbs,
    _process,
    _containers,
)
