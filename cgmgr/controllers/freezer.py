"""Standing still: freeze and thaw.

The rows say only what to write; that every task stands still is a matter of waiting, and no file
could be compared at once.  Sources: cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst "Freezer".
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.stats import FreezerStats, some

from .base import NO_FACTS, Facts, Row, Scene
from .common import flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

NAME = "freezer"
V1 = "freezer"
ON_V2 = True
IMPLICIT_ON_V2 = True

STATE = "freezer.state"
FREEZE = "cgroup.freeze"

FILES = {1: (STATE, "freezer.self_freezing"), 2: (FREEZE,)}


def wants(resources: Resources) -> bool:
    return resources.frozen is not None


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return FILES[version]


def rows(resources: Resources, scene: Scene) -> list[Row]:
    frozen = resources.frozen
    if frozen is None:
        return []
    if scene.version == 2:
        return [Row(controller=NAME, file=FREEZE, value=flag(frozen), compare="")]
    # FREEZING can be read and not written, and FROZEN may be an ancestor's doing
    asked = scene.files.get("freezer.self_freezing")
    undo = None if asked is None else _state(asked == "1")
    return [Row(controller=NAME, file=STATE, value=_state(frozen), compare="", undo=undo)]


def stats(read: Reader, version: int, _facts: Facts) -> FreezerStats | None:
    if version == 1:
        state = read(STATE, str.strip)
        return some(
            FreezerStats,
            asked=read("freezer.self_freezing", _switch),
            frozen=None if state is None else state == "FROZEN",
            by_ancestor=read("freezer.parent_freezing", _switch),
        )
    asked = read(FREEZE, _switch)
    events = (read("cgroup.events", parse.flat_keyed) or {}).get("frozen")
    local = read("cgroup.stat.local", parse.flat_keyed) or {}
    return some(
        FreezerStats,
        asked=asked,
        frozen=None if events is None else events == 1,
        by_ancestor=None if events is None or asked is None else events == 1 and not asked,
        frozen_usec=local.get("frozen_usec"),
    )


def _state(frozen: bool) -> str:
    return "FROZEN" if frozen else "THAWED"


def _switch(text: str) -> bool:
    return int(text) == 1
