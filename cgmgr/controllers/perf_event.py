"""Membership for perf: there is nothing to set and nothing to count.

A group's directory descriptor goes to perf_event_open(2) with PERF_FLAG_PID_CGROUP.
"""

from __future__ import annotations

from .base import NO_FACTS, Facts, Row, Scene

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

NAME = "perf_event"
V1 = "perf_event"
ON_V2 = True
IMPLICIT_ON_V2 = True


def wants(resources: Resources) -> bool:
    return bool(resources.perf_event)


def observe(_version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return ()


def rows(_resources: Resources, _scene: Scene) -> list[Row]:
    return []


def stats(_read: Reader, _version: int, _facts: Facts) -> None:
    return None
