"""How many tasks, processes and threads, a group may have.

Sources: cgroup-v1/pids.rst, cgroup-v2.rst "PID".
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.stats import PidsStats, some

from .base import NO_FACTS, Facts, Row, Scene
from .common import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

NAME = "pids"
V1 = "pids"
ON_V2 = True
IMPLICIT_ON_V2 = False

LIMIT = "pids.max"


def wants(resources: Resources) -> bool:
    return bool(resources.pids)


def observe(_version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return (LIMIT,)


def rows(resources: Resources, _scene: Scene) -> list[Row]:
    if resources.pids.max is None:
        return []
    # the file says "max" on v1 too
    return [Row(controller=NAME, file=LIMIT, value=limit(resources.pids.max, 2))]


def stats(read: Reader, _version: int, _facts: Facts) -> PidsStats | None:
    return some(
        PidsStats,
        current=read("pids.current", int),
        peak=read("pids.peak", int),
        max=read(LIMIT, parse.limit),
        events_max=(read("pids.events", parse.flat_keyed) or {}).get("max"),
    )
