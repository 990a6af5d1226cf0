"""The controllers in the order in which settings are applied, and the raw map behind them.

Law: the one place that imports every controller.  cpuset comes first, since a v1 group without CPUs
takes no task, and the freezer last, since a frozen group takes no more.
"""

from __future__ import annotations

from . import (
    cpu,
    cpuacct,
    cpuset,
    devices,
    freezer,
    hugetlb,
    io,
    memory,
    misc,
    net_cls,
    net_prio,
    perf_event,
    pids,
    rdma,
)
from .base import Row, Scene
from .common import unheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.resources import Resources

    from .base import Controller

IN_ORDER: tuple[Controller, ...] = (
    cpuset,
    cpu,
    cpuacct,
    memory,
    io,
    pids,
    hugetlb,
    rdma,
    misc,
    net_cls,
    net_prio,
    perf_event,
    devices,
    freezer,
)
TABLE: dict[str, Controller] = {controller.NAME: controller for controller in IN_ORDER}


def raw_rows(resources: Resources, scene: Scene) -> list[Row]:
    """The raw v2 map: one write a line, after everything else.

    Raises `ControllerUnavailable` in a v1 hierarchy, whose files are others.
    """
    planned: list[Row] = []
    for raw in resources.unified:
        if scene.version == 1:
            why = "raw files are cgroup v2's, and this hierarchy is v1"
            controller = raw.file.partition(".")[0]
            raise unheld(controller, raw.file, raw.value, scene, why)
        held = scene.files.get(raw.file)
        undo = held if held is not None and "\n" not in held else None
        planned += [
            Row(
                controller=raw.file.partition(".")[0],
                file=raw.file,
                value=line,
                compare="raw",
                undo=undo,
            )
            for line in raw.value.splitlines() or [""]
        ]
    return planned
