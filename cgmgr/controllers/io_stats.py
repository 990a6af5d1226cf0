"""What went to and from the disks, on v1 and on v2.

v1's schedulers and the throttling layer count each for itself, in files of their own; which of them
has seen a disk depends on the disk's scheduler and on whether anybody throttles it.  So they are
asked in turn, and for each disk the first that knows it counts.

Sources: cgroup-v1/blkio-controller.rst, cgroup-v2.rst "io.stat".
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.stats import IoDeviceStats, IoStats

from .base import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from cgmgr.stats import Reader
    from cgmgr.units import Max

#: bytes and operations, the best source first; cfq's are in kernels before 5.0 only
SOURCES: Final = (
    ("blkio.bfq.io_service_bytes", "blkio.bfq.io_serviced"),
    ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced"),
)
CFQ: Final = ("blkio.io_service_bytes", "blkio.io_serviced")
#: v1's operation -> the field of its bytes, the field of its count
OPERATIONS: Final = {
    "Read": ("rbytes", "rios"),
    "Write": ("wbytes", "wios"),
    "Discard": ("dbytes", "dios"),
}
_V2_FIELDS: Final = frozenset(("rbytes", "wbytes", "rios", "wios", "dbytes", "dios"))


def stats(read: Reader, version: int, _facts: Facts) -> IoStats | None:
    if version == 2:
        text = read("io.stat", parse.nested_keyed)
        if text is None:
            return None
        return IoStats(devices=tuple(_v2(name, pairs) for name, pairs in text.items() if pairs))
    return _v1(read)


def _v2(device: str, pairs: dict[str, int | Max]) -> IoDeviceStats:
    fields: dict[str, Any] = {}
    cost: dict[str, int] = {}
    for key, value in pairs.items():
        if not isinstance(value, int):
            continue
        if key in _V2_FIELDS:
            fields[key] = value
        elif key.startswith("cost."):
            cost[key[5:]] = value
    return IoDeviceStats(device=device, cost=cost, **fields)


def _v1(read: Reader) -> IoStats | None:
    found: dict[str, dict[str, Any]] = {}
    known = False
    for pair in SOURCES:
        known |= _take(read, pair, found)
    if not known:
        known = _take(read, CFQ, found)
    if not known:
        return None
    return IoStats(
        devices=tuple(IoDeviceStats(device=device, **fields) for device, fields in found.items())
    )


def _take(read: Reader, files: tuple[str, str], found: dict[str, dict[str, Any]]) -> bool:
    """Add the disks that only this source knows; whether there is such a source."""
    new: dict[str, dict[str, int]] = {}
    known = False
    for place, file in enumerate(files):
        table = read(f"{file}_recursive", parse.blkio)
        if table is None:
            table = read(file, parse.blkio)
        known |= table is not None
        for device, counts in (table or {}).items():
            entry = new.setdefault(device, {})
            for operation, count in counts.items():
                if operation in OPERATIONS:
                    entry[OPERATIONS[operation][place]] = count
    for device, entry in new.items():
        found.setdefault(device, entry)
    return known
