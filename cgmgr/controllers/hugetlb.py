"""Huge pages by size: what may be touched, and what may be reserved.

Sources: cgroup-v1/hugetlb.rst, cgroup-v2.rst "HugeTLB"; mm/hugetlb_cgroup.c, which cuts limits down
to whole huge pages.
"""

from __future__ import annotations

import errno

from cgmgr import parse
from cgmgr.errors import LimitBelowUsage
from cgmgr.stats import HugetlbSizeStats, HugetlbStats
from cgmgr.units import Max, format_bytes, parse_bytes

from .base import NO_FACTS, Facts, Row, Scene
from .common import limit, unfit, where_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

    from .base import Read

NAME = "hugetlb"
V1 = "hugetlb"
ON_V2 = True
IMPLICIT_ON_V2 = False

#: the endings of the files hugetlb.SIZE.* and hugetlb.SIZE.rsvd.*
LIMIT = {1: "limit_in_bytes", 2: "max"}
USAGE = {1: "usage_in_bytes", 2: "current"}


def wants(resources: Resources) -> bool:
    return bool(resources.hugetlb)


def observe(version: int, facts: Facts = NO_FACTS) -> tuple[str, ...]:
    end = LIMIT[version]
    return tuple(
        f"hugetlb.{size}.{kind}{end}" for size in facts.hugepage_sizes for kind in ("", "rsvd.")
    )


def rows(resources: Resources, scene: Scene) -> list[Row]:
    planned: list[Row] = []
    for entry in resources.hugetlb:
        sizes = scene.facts.hugepage_sizes
        if entry.size not in sizes:
            have = ", ".join(sizes) or "none"
            raise unfit("hugetlb", entry.size, scene, f"the sizes here are {have}")
        for kind, value in (("", entry.max_bytes), ("rsvd.", entry.rsvd_max_bytes)):
            if value is not None:
                planned += _limit(f"hugetlb.{entry.size}.{kind}", entry.size, value, scene)
    return planned


def explain(error: CgmgrError, row: Row, read: Read) -> CgmgrError:
    """EBUSY: more is in use."""
    end = next((end for end in LIMIT.values() if row.file.endswith(end)), None)
    if error.errno != errno.EBUSY or end is None:
        return error
    base = row.file.removesuffix(end)
    used = next((int(text) for e in USAGE.values() if (text := read(base + e))), 0)
    return LimitBelowUsage(
        f"{row.file} {row.value} is below the {format_bytes(used)} in use",
        used=used,
        operation=error.operation,
        path=error.path,
        value=row.value,
        errno=error.errno,
    )


def stats(read: Reader, version: int, facts: Facts) -> HugetlbStats | None:
    one = _size_v1 if version == 1 else _size_v2
    sizes: list[HugetlbSizeStats] = []
    for size in facts.hugepage_sizes:
        used = read(f"hugetlb.{size}.{USAGE[version]}", int)
        if used is None:
            break  # the controller is off here: it is on for all sizes or for none
        sizes.append(one(read, size, used))
    return HugetlbStats(sizes=tuple(sizes)) if sizes else None


def _limit(base: str, size: str, value: int | Max, scene: Scene) -> list[Row]:
    row = Row(
        controller=NAME,
        file=base + LIMIT[scene.version],
        value=limit(value, scene.version),
        compare=f"bytes/{parse_bytes(size)}",
    )
    why = f"{base}* needs Linux 5.7" if "rsvd" in base else "no such file"
    return where_there(f"hugetlb of {size}", row, scene, why, neutral=isinstance(value, Max))


def _size_v1(read: Reader, size: str, used: int) -> HugetlbSizeStats:
    base = f"hugetlb.{size}"
    return HugetlbSizeStats(
        size=size,
        usage_bytes=used,
        peak_bytes=read(f"{base}.max_usage_in_bytes", int),
        max_bytes=read(f"{base}.limit_in_bytes", parse.limit),
        events_max=read(f"{base}.failcnt", int),
        rsvd_usage_bytes=read(f"{base}.rsvd.usage_in_bytes", int),
        rsvd_peak_bytes=read(f"{base}.rsvd.max_usage_in_bytes", int),
        rsvd_max_bytes=read(f"{base}.rsvd.limit_in_bytes", parse.limit),
    )


def _size_v2(read: Reader, size: str, used: int) -> HugetlbSizeStats:
    base = f"hugetlb.{size}"
    return HugetlbSizeStats(
        size=size,
        usage_bytes=used,
        max_bytes=read(f"{base}.max", parse.limit),
        events_max=(read(f"{base}.events", parse.flat_keyed) or {}).get("max"),
        rsvd_usage_bytes=read(f"{base}.rsvd.current", int),
        rsvd_max_bytes=read(f"{base}.rsvd.max", parse.limit),
    )
