"""What this host can hold, what it cannot, why, and what to do about it.

Law: looks only, and says what it saw as `Finding`s; how they are shown is the CLI's.  Each check is
a function from the host to findings, and has its line in `CHECKS`.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr import linux
from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.driver import load, usual
from cgmgr.errors import CgmgrError
from cgmgr.features import has_file, probe
from cgmgr.host import DELEGATE, IMPLICIT_ON_V2, UNIFIED, Hierarchy, read_text
from cgmgr.record import Record
from cgmgr.rights import ROOT, refusal
from cgmgr.rundir import default_root, way_to_a_root

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
    kernel = (read_text(host.root, "proc/sys/kernel/osrelease") or "").strip()
    text = f"{host.mode}, Linux {kernel}, process 1 is {host.pid1}"
    yield Finding(subject="hierarchy", level=OK, text=text)
    for hierarchy in host.hierarchies:
        if hierarchy.read_only:
            yield Finding(
                subject="hierarchy",
                level=NO,
                text=f"{hierarchy.mountpoint} is mounted read-only",
                fix=f"mount -o remount,bind,rw {hierarchy.mountpoint}",
            )
    for name in host.unknown_controllers:
        yield Finding(
            subject="hierarchy", level=NOTE, text=f"controller {name} is not known, and left alone"
        )


def _controllers(host: Host) -> Iterator[Finding]:
    for name in CONTROLLERS:
        whole = host.holder(PART_OF_ON_V2.get(name, ""))
        hierarchy = host.holder(name)
        if whole is not None and whole.version == 2:
            text = f"part of {PART_OF_ON_V2[name]} on cgroup2"
            yield Finding(subject=name, level=OK, text=text)
        elif hierarchy is None:
            text = f"not available: {host.why_missing(name)}"
            yield Finding(subject=name, level=NO, text=text, fix=host.fix_missing(name))
        else:
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


def _rights(host: Host) -> Iterator[Finding]:
    refused = refusal(host)
    if refused is not None:
        yield Finding(subject="rights", level=NO, text=str(refused), fix=refused.hint)
    yield from _records(host, refused)
    base = "/" if host.v2 is None else host.v2.base
    if refused is None and host.v2 is not None and base != "/":
        yield from _delegation(host, host.v2)


def _records(host: Host, refused: object) -> Iterator[Finding]:
    """A user who may make groups needs a directory that root has without being asked."""
    where = os.path.dirname(default_root())
    if host.root != "/" or refused is not None or os.access(where, os.W_OK):
        return
    yield Finding(
        subject="rights",
        level=NO,
        text=f"no permission to keep records of groups in {where}",
        fix=way_to_a_root(host.pid1, os.geteuid()),
    )


def _delegation(host: Host, v2: Hierarchy) -> Iterator[Finding]:
    """A group that was delegated to us has the controllers that those above it pass on."""
    place = f"{v2.mountpoint}{v2.base}"
    passed = (read_text(place, "cgroup.controllers") or "").split()
    missing = [name for name in v2.controllers if name in CONTROLLERS and name not in passed]
    missing = [name for name in missing if name not in IMPLICIT_ON_V2]
    if missing:
        yield Finding(
            subject="rights",
            level=NOTE,
            text=f"{place} is delegated to you without {', '.join(missing)}",
            fix=DELEGATE if host.pid1 == "systemd" else None,
        )


#: controller, file on v1, file on cgroup2, what cannot be held without it
PARTS: Final = (
    ("cpu", "cpu.cfs_quota_us", "cpu.max", "CPU time cannot be limited (CONFIG_CFS_BANDWIDTH)"),
    (
        "io",
        "blkio.throttle.read_bps_device",
        "io.max",
        "rates of disks cannot be limited (CONFIG_BLK_DEV_THROTTLING)",
    ),
)


def _parts(host: Host) -> Iterator[Finding]:
    """What a controller can be built without."""
    for name, v1, v2, text in PARTS:
        hierarchy = host.holder(name)
        if hierarchy is None:
            continue
        if has_file(host, hierarchy, v1 if hierarchy.version == 1 else v2) is False:
            yield Finding(subject=name, level=NO, text=f"this kernel was built so that {text}")
    if host.holder("cpu") is not None and probe(host).rt_groups:
        text = "a new group has no realtime: its threads get none until cpu_rt_runtime is set"
        yield Finding(subject="cpu", level=NOTE, text=text)


def _swap(host: Host) -> Iterator[Finding]:
    if host.holder("memory") is None:
        return
    if probe(host).swap is False:
        yield Finding(
            subject="memory",
            level=NO,
            text="swap is not counted by group: it cannot be limited",
            fix="swapaccount=1 # on the kernel's command line",
        )
    elif len((read_text(host.root, "proc/swaps") or "").splitlines()) < 2:
        yield Finding(subject="memory", level=NOTE, text="the machine has no swap to limit")


#: majors of what nobody shares by weight: ram disks, floppies, loops, CD-ROMs (linux/major.h)
_NO_DISKS: Final = ("1", "2", "7", "11")


def _weights(host: Host) -> Iterator[Finding]:
    """A weight is kept whatever the disk's scheduler is, and has an effect where bfq is, or where
    iocost is switched on (cgroup-v2.rst "IO"); v1's cfq was for every disk."""
    hierarchy = host.holder("io")
    if hierarchy is None:
        return
    v1 = hierarchy.version == 1
    if v1 and has_file(host, hierarchy, "blkio.weight"):
        return
    qos = read_text(hierarchy.mountpoint, "io.cost.qos")
    costed = [line.split()[0] for line in (qos or "").splitlines() if "enable=1" in line]
    plain = [
        disk
        for disk in host.facts.block_devices
        if disk.part_of is None
        and disk.scheduler not in ("", "bfq")
        and disk.number.partition(":")[0] not in _NO_DISKS
        and disk.number not in costed
    ]
    if not plain:
        return
    why = "bfq is not their scheduler" if v1 or qos is None else "neither bfq nor iocost is on"
    yield Finding(
        subject="io",
        level=NOTE,
        text=f"weights have no effect on {', '.join(disk.name for disk in plain)}: {why}",
        fix="\n".join(_weighing(host, disk.name) for disk in plain),
    )


def _weighing(host: Host, disk: str) -> str:
    file = f"/sys/block/{disk}/queue/scheduler"
    known = "bfq" in (read_text(host.root, file[1:]) or "").split()
    return f"{'' if known else 'modprobe bfq && '}echo bfq > {file}"


def _pressure(host: Host) -> Iterator[Finding]:
    if read_text(host.root, "proc/pressure/memory") is None:
        yield Finding(
            subject="pressure",
            level=NO,
            text="the kernel does not measure pressure",
            fix="psi=1 # on the kernel's command line",
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
    sizes = os.path.join(host.root, "sys/kernel/mm/hugepages")
    with contextlib.suppress(OSError):
        for size in os.listdir(sizes):
            for file in ("nr_hugepages", "nr_overcommit_hugepages"):
                if (read_text(sizes, f"{size}/{file}") or "0").strip() != "0":
                    return
    yield Finding(
        subject="hugetlb",
        level=NOTE,
        text="limits are held, but no huge page is reserved",
        fix="echo 16 > /proc/sys/vm/nr_hugepages",
    )


def _process(host: Host) -> Iterator[Finding]:
    """What this process may do.  CAP_SYS_ADMIN is 21, CAP_SYS_RESOURCE 24 (linux/capability.h)."""
    if host.root != "/":
        return
    effective = linux.capget()[0]
    if not effective >> 21 & 1:
        text = "no CAP_SYS_ADMIN: containers and device filters need it"
        yield Finding(subject="rights", level=NO, text=text, fix=ROOT)
    elif not effective >> 24 & 1:
        yield Finding(
            subject="rights",
            level=NOTE,
            text="no CAP_SYS_RESOURCE: hard rlimits cannot be raised, oom_score_adj not lowered",
        )


def _containers(host: Host) -> Iterator[Finding]:
    for file, text, fix in (
        ("overlay", "the kernel has no overlay file system", "modprobe overlay"),
        ("tmpfs", "the kernel has no tmpfs", None),
    ):
        if file not in (read_text(host.root, "proc/filesystems") or "").split():
            yield Finding(subject="containers", level=NO, text=text, fix=fix)
    missing = [name for name in CALLS if getattr(probe(host), name) is False]
    if missing:
        text = f"the kernel has no {', '.join(missing)}: containers need Linux 5.12"
        yield Finding(subject="containers", level=NO, text=text)
    devices = host.holder("devices")
    if devices is not None and devices.version == 2 and probe(host).device_filter is False:
        text = "the kernel cannot filter devices by group (CONFIG_CGROUP_BPF)"
        yield Finding(subject="devices", level=NO, text=text)
    if host.mode == UNIFIED and host.v2 is not None and host.v2.own is None:
        yield Finding(
            subject="containers", level=NOTE, text="our own cgroup is outside what is mounted here"
        )


#: what every container is started with (docs/adr/0010)
CALLS: Final = ("openat2", "pidfd", "open_tree", "mount_setattr")
NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
#: file below /proc/sys, the value that closes the door, what opens it
_USER_NAMESPACES: Final = (
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def _namespaces(host: Host) -> Iterator[Finding]:
    """Which there are shows in /proc/self/ns, which no recording has."""
    there = os.path.join(host.root, "proc/self/ns")
    if os.path.isdir(there):
        missing = [name for name in NAMESPACES if name not in os.listdir(there)]
        if missing:
            text = f"the kernel has no namespaces for {', '.join(missing)}"
            yield Finding(subject="namespaces", level=NO, text=text)
    for file, closed, fix in _USER_NAMESPACES:
        if (read_text(host.root, f"proc/sys/{file}") or "").strip() == closed:
            everybody = file.startswith("user/")
            text = "nobody" if everybody else "only root"
            yield Finding(
                subject="namespaces",
                level=NOTE,
                text=f"{text} can make a user namespace (cgmgr unshare --user)",
                fix=fix,
            )


def _driver(host: Host) -> Iterator[Finding]:
    """Which driver makes groups here, and whether whom it talks to answers."""
    name = os.environ.get("CGMGR_DRIVER") or "auto"
    name = usual(host) if name == "auto" else name
    try:
        driver = load(name, host)
        about: Callable[[], str] | None = getattr(driver, "about", None)
        text = f"{name}: {about()}" if about is not None else name
    except CgmgrError as error:
        yield Finding(subject="driver", level=NO, text=f"{name}: {error}", fix=error.hint)
        return
    yield Finding(subject="driver", level=OK, text=text)
    if driver.host is host:
        return
    lacking = [c for c in ("cpu", "cpuset", "io", "memory", "pids") if not driver.host.holder(c)]
    if lacking:
        yield Finding(
            subject="driver",
            level=NOTE,
            text=f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not delegated to "
            "the user's systemd",
            fix=driver.host.fix_missing(lacking[0]),
        )


CHECKS: Final[tuple[Callable[[Host], Iterator[Finding]], ...]] = (
    _hierarchies,
    _driver,
    _controllers,
    _rights,
    _process,
    _parts,
    _swap,
    _weights,
    _hugepages,
    _pressure,
    _verbs,
    _containers,
    _namespaces,
)
