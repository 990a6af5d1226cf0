"""Handles and objects of rdma devices; the same files on v1 and v2.

Sources: cgroup-v1/rdma.rst, cgroup-v2.rst "RDMA".
"""

from __future__ import annotations

import errno

from cgmgr import parse
from cgmgr.stats import RdmaDeviceStats, RdmaStats
from cgmgr.units import Max

from .base import NO_FACTS, Facts, Row, Scene
from .common import because, keyed_line, limit, unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import RdmaLimit, Resources
    from cgmgr.stats import Reader

    from .base import Read

NAME = "rdma"
V1 = "rdma"
ON_V2 = True
IMPLICIT_ON_V2 = False

LIMITS = "rdma.max"
INHERITED = (LIMITS,)
CURRENT = "rdma.current"
KINDS = ("hca_handle", "hca_object")


def wants(resources: Resources) -> bool:
    return bool(resources.rdma)


def observe(_version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return (LIMITS,)


def rows(resources: Resources, scene: Scene) -> list[Row]:
    return [_row(entry, scene) for entry in resources.rdma]


def explain(error: CgmgrError, _row: Row, _read: Read) -> CgmgrError:
    """EINVAL, ENODEV: the device is not there."""
    if error.errno in (errno.EINVAL, errno.ENODEV):
        return because(error, "is there such an rdma device?", hint="rdma link show")
    return error


def stats(read: Reader, _version: int, _facts: Facts) -> RdmaStats | None:
    used, limits = (read(file, parse.nested_keyed) for file in (CURRENT, LIMITS))
    if used is None:
        return None
    return RdmaStats(
        devices=tuple(_device(name, used[name], (limits or {}).get(name, {})) for name in used)
    )


def _device(name: str, used: dict[str, int | Max], limits: dict[str, int | Max]) -> RdmaDeviceStats:
    handle, object_ = (used.get(kind) for kind in KINDS)
    return RdmaDeviceStats(
        device=name,
        hca_handle=handle if isinstance(handle, int) else None,
        hca_object=object_ if isinstance(object_, int) else None,
        hca_handle_max=limits.get("hca_handle"),
        hca_object_max=limits.get("hca_object"),
    )


def _row(entry: RdmaLimit, scene: Scene) -> Row:
    # the root has no rdma.max, every other group names every device in it
    listed = scene.parent.get(LIMITS) if scene.new else scene.files.get(LIMITS)
    if listed is not None and keyed_line(listed, entry.device) is None:
        have = ", ".join(parse.nested_keyed(listed)) or "none"
        raise unfit(
            "rdma",
            entry.device,
            scene,
            f"the rdma devices here are: {have}",
            hint="rdma link show",
        )
    limits = {kind: getattr(entry, kind) for kind in KINDS}
    pairs = [f"{kind}={limit(value, 2)}" for kind, value in limits.items() if value is not None]
    was = keyed_line(scene.files.get(LIMITS), entry.device)
    return Row(
        controller=NAME,
        file=LIMITS,
        value=" ".join((entry.device, *pairs)),
        compare="line",
        undo=None if was is None else f"{entry.device} {was}",
    )
