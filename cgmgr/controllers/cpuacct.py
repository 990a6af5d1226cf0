"""CPU time as v1 counts it; nothing can be set.  v2 counts it in cpu.stat.

Source: cgroup-v1/cpuacct.rst.
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.stats import CpuStats, some

from .base import NO_FACTS, Facts, Row, Scene

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

NAME = "cpuacct"
V1 = "cpuacct"
ON_V2 = False
IMPLICIT_ON_V2 = False


def wants(_resources: Resources) -> bool:
    return False


def observe(_version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return ()


def rows(_resources: Resources, _scene: Scene) -> list[Row]:
    return []


def stats(read: Reader, version: int, facts: Facts) -> CpuStats | None:
    if version == 2:
        return None
    usage = read("cpuacct.usage", int)
    modes = read("cpuacct.stat", parse.flat_keyed) or {}
    ticks = facts.clock_ticks
    user, system = read("cpuacct.usage_all", parse.usage_all) or (None, None)
    return some(
        CpuStats,
        usage_usec=None if usage is None else usage // 1000,
        user_usec=_from_ticks(modes.get("user"), ticks),
        system_usec=_from_ticks(modes.get("system"), ticks),
        percpu_usec=_from_nsec(read("cpuacct.usage_percpu", parse.numbers)),
        percpu_user_usec=_from_nsec(user),
        percpu_system_usec=_from_nsec(system),
    )


def _from_nsec(values: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple([value // 1000 for value in values])


def _from_ticks(value: int | None, ticks: int) -> int | None:
    """USER_HZ, which the kernel prints cpuacct.stat in, into microseconds."""
    return None if value is None else value * 1_000_000 // ticks
