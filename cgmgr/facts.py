"""What the controllers need to know of a machine beside its hierarchies.

Law: reads /sys and /proc below a root that is an argument; nothing is kept here, and no group is
looked at.
"""

from __future__ import annotations

import os
import stat

from cgmgr.controllers.base import BlockDevice, Facts
from cgmgr.errors import RequestError
from cgmgr.host import read_text
from cgmgr.units import parse_id_list


def read(root: str) -> Facts:
    """CPUs, memory nodes, huge pages, disks, interfaces and the kernel, as /sys and /proc below
    `root` have them."""
    cpus = read_text(root, "sys/devices/system/cpu/online") or "0"
    nodes = read_text(root, "sys/devices/system/node/online") or "0"
    return Facts(
        page_size=os.sysconf("SC_PAGE_SIZE"),
        cpus=parse_id_list(cpus),
        nodes=parse_id_list(nodes),
        clock_ticks=os.sysconf("SC_CLK_TCK"),
        hugepage_sizes=_hugepage_sizes(root),
        block_devices=_block_devices(root),
        interfaces=tuple(_names(root, "sys/class/net")),
        kernel=_kernel(read_text(root, "proc/sys/kernel/osrelease") or ""),
    )


def device_number(path: str) -> tuple[str, int, int]:
    """Kind ("b" or "c"), major and minor of a device of this machine.  Raises `RequestError`."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            f"device {path}: {reason.lower()}",
            operation="find device",
            path=path,
            errno=getattr(error, "errno", None),
            hint="lsblk -o PATH,MAJ:MIN,TYPE",
        ) from error
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c" if stat.S_ISCHR(status.st_mode) else ""
    if not kind:
        raise RequestError(f"{path} is not a device", operation="find device", path=path)
    return kind, os.major(status.st_rdev), os.minor(status.st_rdev)


def _kernel(release: str) -> tuple[int, ...]:
    """The two numbers that a release such as "6.1.0-13-amd64" begins with."""
    found = release.split("-")[0].split(".")[:2]
    return tuple(int(part) for part in found) if all(part.isdigit() for part in found) else ()


def _names(root: str, path: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(root, path)))
    except OSError:
        return []


def _hugepage_sizes(root: str) -> tuple[str, ...]:
    """Sizes as the kernel's cgroup files spell them: "2MB", "1GB" (mm/hugetlb_cgroup.c,
    mem_fmt)."""
    sizes: list[int] = []
    for name in _names(root, "sys/kernel/mm/hugepages"):
        kib = name.removeprefix("hugepages-").removesuffix("kB")
        if kib.isdigit():
            sizes.append(int(kib))
    units = ((20, "GB"), (10, "MB"), (0, "KB"))
    return tuple(
        next(f"{kib >> power}{unit}" for power, unit in units if kib >= 1 << power)
        for kib in sorted(sizes)
    )


def _block_devices(root: str) -> tuple[BlockDevice, ...]:
    """Whole disks and their partitions, from /sys/block."""
    devices: list[BlockDevice] = []
    for name in _names(root, "sys/block"):
        base = f"sys/block/{name}"
        number = (read_text(root, f"{base}/dev") or "").strip()
        schedulers = read_text(root, f"{base}/queue/scheduler") or ""
        chosen = schedulers.partition("[")[2].partition("]")[0]
        devices.append(BlockDevice(number=number, name=name, scheduler=chosen))
        for part in _names(root, base):
            if read_text(root, f"{base}/{part}/partition") is not None:
                dev = (read_text(root, f"{base}/{part}/dev") or "").strip()
                devices.append(BlockDevice(number=dev, name=part, part_of=number))
    return tuple(devices)
