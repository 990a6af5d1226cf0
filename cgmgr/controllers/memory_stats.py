"""What the memory controller counts, on v1 and on v2, under v2's names.

Sources: cgroup-v1/memory.rst "stat file", cgroup-v2.rst "memory.stat".
"""

from __future__ import annotations

from cgmgr import parse
from cgmgr.stats import MemoryStats, some
from cgmgr.units import MAX, Max

from .base import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from cgmgr.stats import Reader

#: v2's name of what v1 counts; in bytes on both, but for the counts at the end.  v1 puts "total_"
#: before it for the group with all below.
V2_NAMES: Final = {
    "cache": "file",
    "rss": "anon",
    "rss_huge": "anon_thp",
    "shmem": "shmem",
    "mapped_file": "file_mapped",
    "dirty": "file_dirty",
    "writeback": "file_writeback",
    "swap": "swap",
    "swapcached": "swapcached",
    "inactive_anon": "inactive_anon",
    "active_anon": "active_anon",
    "inactive_file": "inactive_file",
    "active_file": "active_file",
    "unevictable": "unevictable",
    "workingset_refault_anon": "workingset_refault_anon",
    "workingset_refault_file": "workingset_refault_file",
    "pgpgin": "pgpgin",
    "pgpgout": "pgpgout",
    "pgfault": "pgfault",
    "pgmajfault": "pgmajfault",
}
_V2_TOTALS: Final = {f"total_{old}": new for old, new in V2_NAMES.items()}


def stats(read: Reader, version: int, facts: Facts) -> MemoryStats | None:
    return _v1(read, facts.page_size) if version == 1 else _v2(read)


def _v1(read: Reader, page_size: int) -> MemoryStats | None:
    counted = read("memory.stat", parse.flat_keyed) or {}
    stat = _renamed(counted, _V2_TOTALS)
    for key, file in (
        ("kernel", "memory.kmem.usage_in_bytes"),
        ("sock", "memory.kmem.tcp.usage_in_bytes"),
    ):
        value = read(file, int)
        if value is not None:
            stat[key] = value
    oom = read("memory.oom_control", parse.flat_keyed) or {}
    most = read("memory.limit_in_bytes", parse.limit)
    memsw_most = read("memory.memsw.limit_in_bytes", parse.limit)
    under_oom, disabled = oom.get("under_oom"), oom.get("oom_kill_disable")
    return some(
        MemoryStats,
        usage_bytes=read("memory.usage_in_bytes", int),
        peak_bytes=read("memory.max_usage_in_bytes", int),
        max_bytes=most,
        soft_limit_bytes=read("memory.soft_limit_in_bytes", parse.limit),
        swap_usage_bytes=stat.get("swap"),
        swap_max_bytes=_swap_max(most, memsw_most),
        stat=stat or None,
        local_stat=_renamed(counted, V2_NAMES) or None,
        local_events=_known(max=read("memory.failcnt", int), oom_kill=oom.get("oom_kill")) or None,
        swap_events=_known(max=read("memory.memsw.failcnt", int)) or None,
        numa_bytes=read("memory.numa_stat", lambda text: parse.numa_stat(text, page_size)),
        under_oom=None if under_oom is None else under_oom == 1,
        oom_kill_disable=None if disabled is None else disabled == 1,
    )


def _v2(read: Reader) -> MemoryStats | None:
    return some(
        MemoryStats,
        usage_bytes=read("memory.current", int),
        peak_bytes=read("memory.peak", int),
        max_bytes=read("memory.max", parse.limit),
        high_bytes=read("memory.high", parse.limit),
        low_bytes=read("memory.low", parse.limit),
        min_bytes=read("memory.min", parse.limit),
        swap_usage_bytes=read("memory.swap.current", int),
        swap_peak_bytes=read("memory.swap.peak", int),
        swap_max_bytes=read("memory.swap.max", parse.limit),
        stat=read("memory.stat", parse.flat_keyed),
        events=read("memory.events", parse.flat_keyed),
        local_events=read("memory.events.local", parse.flat_keyed),
        swap_events=read("memory.swap.events", parse.flat_keyed),
        numa_bytes=read("memory.numa_stat", parse.numa_stat),
    )


def _renamed(counted: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    return {new: counted[old] for old, new in names.items() if old in counted}


def _known(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


def _swap_max(most: int | Max | None, memsw: int | Max | None) -> int | Max | None:
    """What may be swapped out when memory is at its limit."""
    if isinstance(memsw, int):
        return memsw - most if isinstance(most, int) else None
    return MAX if isinstance(memsw, Max) else None
