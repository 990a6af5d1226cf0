"""Block IO: weights, rates and latency, by disk.

A weight is held by whatever scheduler a disk has: bfq has files and a scale of its own (1..1000),
v1's cfq shared them, iocost has v2's.  A new group shows only when it is made which of them the
kernel has, so its rows carry the other as an alternative.

Sources: cgroup-v1/blkio-controller.rst, cgroup-v2.rst "IO"; block/bfq-cgroup.c, blk-throttle.c,
blk-iolatency.c, blk-iocost.c.
"""

from __future__ import annotations

import errno

from cgmgr.resources.formulas import io_weight_to_bfq
from cgmgr.units import Max

from . import io_stats
from .base import NO_FACTS, Alternative, Facts, Row, Scene
from .common import because, keyed_line, lacks, limit, unfit, unheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import IoDevice, Resources

    from .base import BlockDevice, Read

NAME = "io"
V1 = "blkio"
ON_V2 = True
IMPLICIT_ON_V2 = False

#: bfq's file, and the other one
WEIGHTS = {1: ("blkio.bfq.weight", "blkio.weight"), 2: ("io.bfq.weight", "io.weight")}
DEVICE_WEIGHTS = {
    1: ("blkio.bfq.weight_device", "blkio.weight_device"),
    2: ("io.bfq.weight", "io.weight"),
}
THROTTLE = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}
LIMITS = "io.max"
LATENCY = "io.latency"

FILES = {
    1: (*WEIGHTS[1], *DEVICE_WEIGHTS[1], *THROTTLE.values()),
    2: (*WEIGHTS[2], LIMITS, LATENCY),
}
#: operations a second are 32 bits, of which the last stands for no limit (block/blk-throttle.h)
IOPS_MOST = (1 << 32) - 2

BFQ_HINT = "modprobe bfq"
TWO_SCHEDULERS = "which file there is depends on the kernel's schedulers"


def wants(resources: Resources) -> bool:
    return bool(resources.io)


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return FILES[version]


def rows(resources: Resources, scene: Scene) -> list[Row]:
    planned: list[Row] = []
    if resources.io.weight is not None:
        planned += _weight(resources.io.weight, scene)
    for device in resources.io.devices:
        disk = _disk(device.device, scene)
        if device.weight is not None:
            planned.append(_device_weight(device, device.weight, disk, scene))
        planned += _rates(device, scene)
        if device.latency_us is not None:
            planned += _latency(device.device, device.latency_us, scene)
    return planned


def explain(error: CgmgrError, row: Row, _read: Read) -> CgmgrError:
    """EOPNOTSUPP: what holds weights is not switched on for the disk.  ENODEV: no such disk."""
    if error.errno == errno.EOPNOTSUPP:
        device = row.value.split()[0]
        return because(
            error,
            f"the scheduler of disk {device} has no weights by group",
            hint=f'echo bfq > "$(readlink -f /sys/dev/block/{device})/queue/scheduler"',
        )
    if error.errno == errno.ENODEV:
        return because(error, "there is no such disk", hint="lsblk -o NAME,MAJ:MIN,TYPE")
    if error.errno == errno.EINVAL and row.file in WEIGHTS[1]:
        return because(error, "cfq takes weights from 10 to 1000")
    return error


stats = io_stats.stats


def _weight(weight: int, scene: Scene) -> list[Row]:
    """Into every file that there is: each belongs to another scheduler (systemd does the same)."""
    bfq, other = WEIGHTS[scene.version]
    rows = {
        bfq: _default(bfq, io_weight_to_bfq(weight), scene),
        other: _default(other, weight if scene.version == 2 else io_weight_to_bfq(weight), scene),
    }
    if scene.new:
        wanted = rows[other].replace(
            alternative=Alternative(errno=errno.ENOENT, rows=(rows[bfq],), why=TWO_SCHEDULERS)
        )
        too = rows[bfq].replace(alternative=Alternative(errno=errno.ENOENT, why=TWO_SCHEDULERS))
        return [wanted, too]
    there = [row for file, row in rows.items() if not lacks(scene, file)]
    if not there:
        why = f"this kernel has neither {bfq} nor {other}"
        raise unheld(NAME, "io_weight", weight, scene, why, BFQ_HINT)
    return there


def _default(file: str, weight: int, scene: Scene) -> Row:
    """The weight for all disks.  The file prints a table where disks have weights of their own."""
    held = (scene.files.get(file) or "").splitlines()[:1]
    undo = held[0].split()[-1] if held else None
    return Row(controller=NAME, file=file, value=str(weight), compare="default", undo=undo)


def _device_weight(device: IoDevice, weight: int, disk: BlockDevice | None, scene: Scene) -> Row:
    """Into the file of the disk's scheduler; the kernel refuses the other one."""
    bfq, other = DEVICE_WEIGHTS[scene.version]
    other_weight = weight if scene.version == 2 else io_weight_to_bfq(weight)
    rows = {
        bfq: _line(bfq, device.device, str(io_weight_to_bfq(weight)), "default", scene),
        other: _line(other, device.device, str(other_weight), "default", scene),
    }
    first, second = (bfq, other) if disk is not None and disk.scheduler == "bfq" else (other, bfq)
    if scene.new:
        return rows[first].replace(
            alternative=Alternative(errno=errno.ENOENT, rows=(rows[second],), why=TWO_SCHEDULERS)
        )
    if lacks(scene, first) and lacks(scene, second):
        why = f"this kernel has neither {bfq} nor {other}"
        raise unheld(NAME, f"io_device_weight of {device.device}", weight, scene, why, BFQ_HINT)
    return rows[second if lacks(scene, first) else first]


def _rates(device: IoDevice, scene: Scene) -> list[Row]:
    planned: list[Row] = []
    for name, file in THROTTLE.items():
        value: int | Max | None = getattr(device, name)
        if value is None:
            continue
        if name.endswith("iops") and isinstance(value, int) and value > IOPS_MOST:
            why = f"the kernel counts operations up to {IOPS_MOST}"
            raise unfit(f"io_{name} of {device.device}", value, scene, why)
        if scene.version == 2:
            planned.append(_pair(LIMITS, device.device, name, limit(value, 2), "max", scene))
        else:
            # v1's tables take no "max": 0 takes the line out
            text = "0" if isinstance(value, Max) else str(value)
            planned.append(_line(file, device.device, text, "0", scene))
    return planned


def _latency(device: str, latency_us: int, scene: Scene) -> list[Row]:
    lacking = scene.version == 1 or lacks(scene, LATENCY)
    if lacking and latency_us == 0:
        return []
    if lacking:
        why = (
            "cgroup v1 has no latency targets"
            if scene.version == 1
            else "this kernel was built without CONFIG_BLK_CGROUP_IOLATENCY"
        )
        raise unheld(NAME, f"io_latency of {device}", latency_us, scene, why)
    row = _pair(LATENCY, device, "target", str(latency_us), "0", scene)
    if scene.new and latency_us == 0:
        why = "a kernel without CONFIG_BLK_CGROUP_IOLATENCY has no targets"
        row = row.replace(alternative=Alternative(errno=errno.ENOENT, why=why))
    return [row]


def _line(file: str, device: str, value: str, none: str, scene: Scene) -> Row:
    """A line of a table with one value by disk; `none` takes it out."""
    was = keyed_line(scene.files.get(file), device)
    undo = None if scene.new else f"{device} {was or none}"
    return Row(controller=NAME, file=file, value=f"{device} {value}", compare="line", undo=undo)


def _pair(file: str, device: str, key: str, value: str, none: str, scene: Scene) -> Row:
    """One key=value of a disk's line."""
    words = (keyed_line(scene.files.get(file), device) or "").split()
    was = next((word for word in words if word.startswith(f"{key}=")), f"{key}={none}")
    return Row(
        controller=NAME,
        file=file,
        value=f"{device} {key}={value}",
        compare="line",
        undo=None if scene.new else f"{device} {was}",
    )


def _disk(number: str, scene: Scene) -> BlockDevice | None:
    """The whole disk of that number; None where the host's disks are not known."""
    disks = {disk.number: disk for disk in scene.facts.block_devices}
    if not disks:
        return None
    disk = disks.get(number)
    if disk is None:
        have = ", ".join(f"{d.number} ({d.name})" for d in disks.values() if d.part_of is None)
        raise unfit("io device", number, scene, f"the disks here are {have}")
    if disk.part_of is not None:
        whole = disks.get(disk.part_of)
        name = f"{disk.part_of} ({whole.name})" if whole else disk.part_of
        raise unfit("io device", number, scene, f"{disk.name} is a part of the disk {name}")
    return disk
