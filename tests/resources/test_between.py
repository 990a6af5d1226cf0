"""From one vocabulary into another, and down to the files: nothing is lost on the way.

`cgmgr run` goes from docker's flags through the OCI specification to files, so that way in
particular.
"""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cgmgr.controllers.base import Facts, Row, Scene
from cgmgr.controllers.table import TABLE
from cgmgr.errors import CgmgrError
from cgmgr.resources import Cpu, Io, Memory, Resources
from cgmgr.resources.docker import from_docker, to_docker
from cgmgr.resources.files import V1_UNLIMITED, from_files
from cgmgr.resources.formulas import weight_to_shares
from cgmgr.resources.merge import settings
from cgmgr.resources.oci import from_oci, to_oci, unexpressed
from cgmgr.resources.systemd import as_held, from_properties, properties
from cgmgr.resources.words import resources_of, words_of
from cgmgr.units import MAX, MAX_ID, Max

from .requests import (
    classids,
    cpus,
    cpusets,
    hugetlbs,
    memories,
    miscs,
    priorities,
    rdmas,
    resources,
    tasks,
)
from .test_devices import resolve
from .test_docker import MEANING


@pytest.mark.parametrize("flags", [flags for flags, _ in MEANING], ids=str)
def test_a_container_s_flags_survive_its_config_json(flags: dict[str, Any]) -> None:
    request = from_docker(resolve=resolve, **flags)
    there = from_oci(to_oci(request))

    assert to_oci(there) == to_oci(request)
    if not request.unified:  # a raw memory.high comes back as the setting that it is
        assert there == request


@pytest.mark.parametrize("flags", [flags for flags, _ in MEANING], ids=str)
def test_a_container_s_flags_survive_its_record(flags: dict[str, Any]) -> None:
    request = from_docker(resolve=resolve, **flags)

    assert resources_of(**words_of(request)) == request


@given(resources)
def test_words_through_the_specification(request: Resources) -> None:
    lost = unexpressed(request)
    assume(not lost and not (request.memory.max_bytes is MAX and request.memory.swap_bytes is None))

    assert resources_of(**words_of(from_oci(to_oci(request)))) == request


@given(resources)
def test_flags_through_systemd(request: Resources) -> None:
    """What docker can say and systemd hold, both say the same of."""
    flags: dict[str, Any] = dict(to_docker(request))
    said = from_docker(fresh=False, **flags)
    held = from_properties((name, value) for name, _, value in properties(said))
    asked = settings(as_held(said))

    assert settings(held).items() <= asked.items() or said.devices is not None


# -- down to the files

#: a machine that has everything that a request below may name
EVERYTHING = Facts(
    cpus=tuple(range(MAX_ID + 1)),
    nodes=tuple(range(MAX_ID + 1)),
    hugepage_sizes=("64KB", "2MB", "32MB", "1GB", "16GB"),
)


def _rows(request: Resources, version: int) -> list[Row]:
    """The writes of a new group, and `assume` where a controller refuses, which its tests try."""
    names = tuple(entry.interface for entry in request.net_prio)
    scene = Scene(version=version, facts=EVERYTHING.replace(interfaces=names), where="/x")
    try:
        return [
            row
            for controller in TABLE.values()
            if controller.wants(request)
            for row in controller.rows(request, scene)
        ]
    except CgmgrError:
        assume(False)
        raise


#: files that take a line for each of their keys
TABLES = ("rdma.max", "misc.max", "net_prio.ifpriomap")


def _files(rows: list[Row]) -> dict[str, str]:
    """The texts of the files after these writes."""
    files: dict[str, str] = {}
    for row in rows:
        before = files.get(row.file, "") if row.file in TABLES else ""
        files[row.file] = f"{before}\n{row.value}".strip()
    return files


#: what each version can hold; a limit on swap alone is none of v1's
CPU = st.builds(Resources, cpu=cpus(), cpuset=cpusets)
MEMORY = st.builds(Resources, memory=memories, pids=tasks)
KEYED = st.builds(Resources, rdma=rdmas, hugetlb=hugetlbs)


@given(CPU | MEMORY | KEYED | st.builds(Resources, misc=miscs))
def test_what_is_written_to_v2_reads_as_what_was_asked(request: Resources) -> None:
    memory = request.memory.replace(swappiness=None, oom_kill_disable=None)
    cpu = request.cpu.replace(rt_runtime_us=None, rt_period_us=None, shares=None)
    request = request.replace(cpu=cpu, memory=memory)
    held = settings(from_files(2, _files(_rows(request, 2))))
    asked = settings(request)
    soft = asked.pop("memory.soft_limit_bytes", None)
    if soft is not None:
        asked.setdefault("memory.low_bytes", soft)

    assert {name: held.get(name) for name in asked} == asked


def _quarter(limit: int | Max | None) -> int | Max | None:
    """A limit of which a sum with another is below what v1 calls no limit."""
    return min(limit, 1 << 61) if isinstance(limit, int) else limit


def _on_v1(name: str, value: Any) -> Any:
    """v1 counts bytes up to a bound that it calls no limit, to v2 that is "max"."""
    huge = isinstance(value, int) and value >= V1_UNLIMITED
    return MAX if huge and name.endswith("_bytes") else value


@given(CPU | MEMORY | KEYED | st.builds(Resources, net_prio=priorities, net_cls_classid=classids))
def test_what_is_written_to_v1_reads_as_what_was_asked(request: Resources) -> None:
    memory = request.memory
    swap = memory.swap_bytes if isinstance(memory.max_bytes, int) else None
    none = dict.fromkeys(("high_bytes", "low_bytes", "min_bytes", "oom_group", "oom_kill_disable"))
    memory = memory.replace(**none, max_bytes=_quarter(memory.max_bytes), swap_bytes=_quarter(swap))
    cpuset = request.cpuset.replace(partition=None)
    request = request.replace(memory=memory, cpuset=cpuset)
    held = settings(from_files(1, _files(_rows(request, 1))))
    asked = {name: _on_v1(name, value) for name, value in settings(request).items()}
    # 0 is what a group has that was never given a class or a priority
    asked = {n: v for n, v in asked.items() if v != 0 or not n.startswith("net_")}

    assert {name: held.get(name) for name in asked} == asked


def test_an_old_memory_and_swap_limit_becomes_swap_alone() -> None:
    """v1 -> v2: what a v1 group holds, written to a v2 one."""
    held = from_files(
        1,
        {
            "memory.limit_in_bytes": "67108864\n",
            "memory.memsw.limit_in_bytes": "134217728\n",
            "cpu.shares": "512\n",
            "cpu.cfs_quota_us": "50000\n",
            "cpu.cfs_period_us": "100000\n",
            "pids.max": "100\n",
            "blkio.bfq.weight": "500\n",
        },
    )

    assert held == Resources(
        memory=Memory(max_bytes=64 << 20, swap_bytes=64 << 20),
        cpu=Cpu(weight=59, shares=512, quota_us=50_000, period_us=100_000),
        pids=resources_of(pids=100).pids,
        io=Io(weight=4_500),
    )
    assert _files(_rows(held.replace(io=Io()), 2)) == {
        "cpu.weight": "59",
        "cpu.max": "50000 100000",
        "memory.max": "67108864",
        "memory.swap.max": "67108864",
        "pids.max": "100",
    }


def test_a_v2_group_becomes_a_v1_one() -> None:
    held = from_files(
        2,
        {
            "memory.max": "67108864\n",
            "memory.swap.max": "0\n",
            "cpu.weight": "59\n",
            "cpu.max": "50000 100000\n",
            "pids.max": "max\n",
        },
    )

    assert _files(_rows(held, 1)) == {
        "cpu.shares": str(weight_to_shares(59)),
        "cpu.cfs_quota_us": "50000",
        "cpu.cfs_period_us": "100000",
        "memory.limit_in_bytes": "67108864",
        "memory.memsw.limit_in_bytes": "67108864",
        "pids.max": "max",
    }
