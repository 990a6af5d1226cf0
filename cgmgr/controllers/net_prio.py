"""The priority of a group's packets by network interface; v1 only.

The interfaces are those of the network namespace of whoever writes.

Source: cgroup-v1/net_prio.rst.
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.stats import NetPrioStats, some

from .base import NO_FACTS, Facts, Row, Scene
from .common import keyed_line, unfit, unheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.resources import NetPrio, Resources
    from cgmgr.stats import Reader

NAME = "net_prio"
V1 = "net_prio"
ON_V2 = False
IMPLICIT_ON_V2 = False

MAP = "net_prio.ifpriomap"


def wants(resources: Resources) -> bool:
    return bool(resources.net_prio)


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return (MAP,) if version == 1 else ()


def rows(resources: Resources, scene: Scene) -> list[Row]:
    if scene.version == 2:
        asked = next((entry for entry in resources.net_prio if entry.priority), None)
        if asked is None:
            return []  # 0 is the kernel's own, which v2 has anyway
        raise unheld(
            NAME,
            "net_prio",
            f"{asked.interface} {asked.priority}",
            scene,
            "cgroup v2 has no net_prio; set the priority where the group's path matches",
            hint='nft add rule inet filter output socket cgroupv2 level 1 "cgmgr" '
            "meta priority set 1:1",
        )
    return [_row(entry, scene) for entry in resources.net_prio]


def stats(read: Reader, version: int, _facts: Facts) -> NetPrioStats | None:
    if version == 2:
        return None
    return some(
        NetPrioStats,
        prioidx=read("net_prio.prioidx", int),
        priorities=read(MAP, parse.flat_keyed),
    )


def _row(entry: NetPrio, scene: Scene) -> Row:
    known = scene.facts.interfaces
    if known and entry.interface not in known:
        raise unfit(
            "net_prio", entry.interface, scene, f"the interfaces here are {', '.join(known)}"
        )
    was = keyed_line(scene.files.get(MAP), entry.interface)
    return Row(
        controller=NAME,
        file=MAP,
        value=f"{entry.interface} {entry.priority}",
        compare="line",
        undo=None if scene.new else f"{entry.interface} {was or 0}",
    )
