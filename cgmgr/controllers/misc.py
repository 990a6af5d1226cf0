"""Scalar resources of the host, such as encrypted address space ids; the same files on v1 and v2.

Source: cgroup-v2.rst "Misc".
"""

from __future__ import annotations

import errno

from cgmgr import parse
from cgmgr.stats import MiscResourceStats, MiscStats

from .base import NO_FACTS, Facts, Row, Scene
from .common import because, keyed_line, limit, unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader
    from cgmgr.units import Max

    from .base import Read

NAME = "misc"
V1 = "misc"
ON_V2 = True
IMPLICIT_ON_V2 = False

#: only the root has the file, of whichever hierarchy holds the controller
SHOW_CAPACITY = "cat $(find /sys/fs/cgroup -maxdepth 2 -name misc.capacity)"
LIMITS = "misc.max"
CAPACITY = "misc.capacity"  # in the root only
INHERITED = (LIMITS, CAPACITY)


def wants(resources: Resources) -> bool:
    return bool(resources.misc)


def observe(_version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return (LIMITS, CAPACITY)


def rows(resources: Resources, scene: Scene) -> list[Row]:
    return [_row(entry.key, entry.max, scene) for entry in resources.misc if entry.max is not None]


def explain(error: CgmgrError, _row: Row, _read: Read) -> CgmgrError:
    """EINVAL: the host has not this resource."""
    if error.errno == errno.EINVAL:
        return because(error, "has this host that resource?", hint=SHOW_CAPACITY)
    return error


def stats(read: Reader, _version: int, _facts: Facts) -> MiscStats | None:
    used = read("misc.current", parse.flat_keyed)
    if used is None:
        return None
    limits = read(LIMITS, parse.keyed_limits) or {}
    peaks = read("misc.peak", parse.flat_keyed) or {}
    events = read("misc.events", parse.flat_keyed) or {}
    return MiscStats(
        resources=tuple(
            MiscResourceStats(
                key=key,
                current=current,
                peak=peaks.get(key),
                max=limits.get(key),
                events_max=events.get(f"{key}.max"),
            )
            for key, current in used.items()
        )
    )


def _row(key: str, most: int | Max, scene: Scene) -> Row:
    listed = scene.parent.get(CAPACITY)
    if listed is None:
        listed = scene.parent.get(LIMITS) if scene.new else scene.files.get(LIMITS)
    if listed is not None and keyed_line(listed, key) is None:
        have = ", ".join(parse.keyed_limits(listed)) or "none"
        raise unfit("misc", key, scene, f"the resources here are: {have}")
    was = keyed_line(scene.files.get(LIMITS), key)
    return Row(
        controller=NAME,
        file=LIMITS,
        value=f"{key} {limit(most, 2)}",
        compare="line",
        undo=None if was is None else f"{key} {was}",
    )
