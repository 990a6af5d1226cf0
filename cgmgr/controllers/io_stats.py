"""What went to and from the disks, on v1 and on v2.

v1's schedulers and the throttling layer count each for itself, in files of their own; which of them
has seen a disk depends on the disk's scheduler and on whether anybody throttles it.  So they are
asked in turn, and for each disk the first that knows it counts.  From Linux 5.17 to 6.3 the
throttling layer counts only in groups that have a rule (commits a7b36ee6ba29, ad7c3b41e86b): what
is 0 there may be anything, and is left out; where that leaves nothing, nothing is known.

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

#: bytes and operations; cfq's are in kernels before 5.0 only
BFQ: Final = ("blkio.bfq.io_service_bytes", "blkio.bfq.io_serviced")
THROTTLE: Final = ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced")
#: from which version on the throttling layer counts only what it throttles, and up to which
UNRULED: Final = ((5, 17), (6, 4))
CFQ: Final = ("blkio.io_service_bytes", "blkio.io_serviced")
#: v1's operation -> the field of its bytes, the field of its count
OPERATIONS: Final = {
    "Read": ("rbytes", "rios"),
    "Write": ("wbytes", "wios"),
    "Discard": ("dbytes", "dios"),
}
_V2_FIELDS: Final = frozenset(("rbytes", "wbytes", "rios", "wios", "dbytes", "dios"))


def stats(read: Reader, version: int, facts: Facts) -> IoStats | None:
    if version == 2:
        text = read("io.stat", parse.nested_keyed)
        if text is None:
            return None
        return IoStats(devices=tuple(_v2(name, pairs) for name, pairs in text.items() if pairs))
    return _v1(read, UNRULED[0] <= facts.kernel < UNRULED[1])


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


def _v1(read: Reader, unruled: bool) -> IoStats | None:
    scheduled, throttled = _counts(read, BFQ), _counts(read, THROTTLE)
    if scheduled is None and throttled is None:
        scheduled = _counts(read, CFQ)
    if unruled and throttled is not None:
        throttled = {disk: counts for disk, counts in throttled.items() if any(counts.values())}
        if not throttled and not scheduled:
            return None
    if scheduled is None and throttled is None:
        return None
    found: dict[str, Any] = {**(scheduled or {})}
    for disk, counts in (throttled or {}).items():
        found.setdefault(disk, counts)
    return IoStats(devices=tuple(IoDeviceStats(device=disk, **found[disk]) for disk in found))


def _counts(read: Reader, files: tuple[str, str]) -> dict[str, dict[str, int]] | None:
    """By disk, what a source counted; None where there is no such source."""
    counted: dict[str, dict[str, int]] = {}
    known = False
    for place, file in enumerate(files):
        table = read(f"{file}_recursive", parse.blkio)
        if table is None:
            table = read(file, parse.blkio)
        known |= table is not None
        for device, counts in (table or {}).items():
            entry = counted.setdefault(device, {})
            for operation, count in counts.items():
                if operation in OPERATIONS:
                    entry[OPERATIONS[operation][place]] = count
    return counted if known else None
