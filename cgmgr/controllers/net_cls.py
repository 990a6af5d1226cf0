"""The class of a group's packets, for tc and netfilter; v1 only.

Source: cgroup-v1/net_cls.rst.
"""

from __future__ import annotations

from cgmgr.stats import NetClsStats, some

from .base import NO_FACTS, Facts, Row, Scene
from .common import unheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

NAME = "net_cls"
V1 = "net_cls"
ON_V2 = False
IMPLICIT_ON_V2 = False

CLASSID = "net_cls.classid"


def wants(resources: Resources) -> bool:
    return resources.net_cls_classid is not None


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return (CLASSID,) if version == 1 else ()


def rows(resources: Resources, scene: Scene) -> list[Row]:
    classid = resources.net_cls_classid
    if classid is None or (classid == 0 and scene.version == 2):
        return []  # 0 is no class, which v2 has anyway
    if scene.version == 2:
        raise unheld(
            NAME,
            "net_classid",
            f"{classid:#x}",
            scene,
            "cgroup v2 has no net_cls; match the group's path instead",
            hint='nft add rule inet filter output socket cgroupv2 level 1 "cgmgr" meta mark set 1',
        )
    return [Row(controller=NAME, file=CLASSID, value=str(classid))]


def stats(read: Reader, version: int, _facts: Facts) -> NetClsStats | None:
    return some(NetClsStats, classid=read(CLASSID, int)) if version == 1 else None
