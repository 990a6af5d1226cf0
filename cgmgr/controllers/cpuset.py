"""Which CPUs and memory nodes tasks may use.

A new v1 cpuset is empty, and takes neither tasks nor groups below until it has CPUs and nodes: its
rows come from the request or else from the group above, so `rows` is asked for every v1 group,
wanted or not.  On v2 an empty cpuset inherits, and one outside what the group above has falls back
to that in silence: here it is refused.

Sources: cgroup-v1/cpusets.rst, cgroup-v2.rst "Cpuset".
"""

from __future__ import annotations

import errno

from cgmgr.errors import GroupBusy
from cgmgr.stats import CpusetStats, some
from cgmgr.units import format_id_list, parse_id_list

from .base import NO_FACTS, Facts, Row, Scene
from .common import because, unfit, unheld, where_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import Resources
    from cgmgr.stats import Reader

    from .base import Read

NAME = "cpuset"
V1 = "cpuset"
ON_V2 = True
IMPLICIT_ON_V2 = False

CPUS = "cpuset.cpus"
MEMS = "cpuset.mems"
PARTITION = "cpuset.cpus.partition"

#: what a group has by itself and in effect; the first two of each are what can be set
FILES = {
    1: (CPUS, MEMS, "cpuset.effective_cpus", "cpuset.effective_mems"),
    2: (CPUS, MEMS, "cpuset.cpus.effective", "cpuset.mems.effective", PARTITION),
}
EFFECTIVE = {
    1: {CPUS: "cpuset.effective_cpus", MEMS: "cpuset.effective_mems"},
    2: {CPUS: "cpuset.cpus.effective", MEMS: "cpuset.mems.effective"},
}
INHERITED = (*FILES[1], *FILES[2])
WORDS = {CPUS: "cpuset", MEMS: "mems"}
THINGS = {CPUS: "CPUs", MEMS: "memory nodes"}


def wants(resources: Resources) -> bool:
    return bool(resources.cpuset)


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return FILES[version]


def rows(resources: Resources, scene: Scene) -> list[Row]:
    cpuset = resources.cpuset
    planned: list[Row] = []
    for file, ids in ((CPUS, cpuset.cpus), (MEMS, cpuset.mems)):
        if ids is not None:
            _check(file, ids, scene)
            planned.append(_row(file, ids, scene))
        elif scene.version == 1 and not scene.files.get(file):
            planned.append(_row(file, _above(file, scene), scene))
    if cpuset.partition is not None:
        partition = _partition(cpuset.partition, scene)
        # what is no partition any more may have any CPUs, what becomes one needs them first
        planned = partition + planned if cpuset.partition == "member" else planned + partition
    return planned


def explain(error: CgmgrError, row: Row, _read: Read) -> CgmgrError:
    """EBUSY: a group below uses what would be taken away.  EACCES: the group above has it not."""
    if error.errno == errno.EBUSY:
        busy = because(error, "a group below, or a task here, still needs what would be taken away")
        return GroupBusy(
            busy.message,
            operation=busy.operation,
            path=busy.path,
            value=busy.value,
            errno=errno.EBUSY,
            hint=f"grep -r . --include={row.file} {(error.path or '').rpartition('/')[0]}",
        )
    if error.errno == errno.EACCES and row.file in THINGS:
        return because(error, f"the group above has not all these {THINGS[row.file]}")
    return error


def stats(read: Reader, version: int, _facts: Facts) -> CpusetStats | None:
    return some(
        CpusetStats,
        cpus=read(CPUS, parse_id_list),
        mems=read(MEMS, parse_id_list),
        effective_cpus=read(EFFECTIVE[version][CPUS], parse_id_list),
        effective_mems=read(EFFECTIVE[version][MEMS], parse_id_list),
        partition=read(PARTITION, str.strip) if version == 2 else None,
    )


def _row(file: str, ids: tuple[int, ...], scene: Scene) -> Row:
    # the kernel does nothing on a write of no bytes: what was empty is emptied by a newline
    undo = "\n" if scene.files.get(file) == "" else None
    return Row(controller=NAME, file=file, value=format_id_list(ids), compare="ids", undo=undo)


def _above(file: str, scene: Scene) -> tuple[int, ...]:
    """What the group above has, or the whole machine where that is not known or still empty."""
    names = (file, EFFECTIVE[1][file]) if scene.version == 1 else (EFFECTIVE[2][file],)
    for name in names:
        ids = parse_id_list(scene.parent.get(name) or "")
        if ids:
            return ids
    return scene.facts.cpus if file == CPUS else scene.facts.nodes


def _check(file: str, ids: tuple[int, ...], scene: Scene) -> None:
    machine = scene.facts.cpus if file == CPUS else scene.facts.nodes
    asked = format_id_list(ids)
    if machine and not set(ids) <= set(machine):
        have = format_id_list(machine)
        raise unfit(WORDS[file], asked, scene, f"this machine has {THINGS[file]} {have}")
    above = _above(file, scene)
    if above and not set(ids) <= set(above):
        where = scene.where.rpartition("/")[0] or "the group above"
        have = format_id_list(above)
        raise unfit(
            WORDS[file],
            asked,
            scene,
            f"{where} has only {THINGS[file]} {have}",
            hint=f"echo {format_id_list((*above, *ids))} > {where}/{file}",
        )


def _partition(kind: str, scene: Scene) -> list[Row]:
    neutral = kind == "member"
    if scene.version == 1:
        if neutral:
            return []
        raise unheld(
            NAME,
            "cpuset_partition",
            kind,
            scene,
            "cgroup v1 has no partitions, only the nearest to one, cpuset.cpu_exclusive",
            hint=f"echo 1 > {scene.where}/cpuset.cpu_exclusive",
        )
    # an invalid partition reads "root invalid (REASON)", which cannot be written back
    held = (scene.files.get(PARTITION) or "").split()
    undo = held[0] if held else None
    row = Row(controller=NAME, file=PARTITION, value=kind, undo=undo)
    return where_there("cpuset_partition", row, scene, "partitions need Linux 5.0", neutral=neutral)
