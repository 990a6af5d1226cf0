"""What a group may use and does use, in a few words for people.

Law: `Stats` in, text out.  Every number has its name: "memory" is what the kernel charges, caches
included; what is unlimited is shown without a limit.
"""

from __future__ import annotations

from cgmgr.errors import RequestError
from cgmgr.units import Max, format_bytes, format_usec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cgmgr.resources import Resources
    from cgmgr.stats import CpuStats, IoStats, MemoryStats, Stats


def asked(resources: Resources) -> dict[str, str]:
    """The words of a request; a number of CPUs where that says the same as quota and period."""
    from cgmgr.resources.words import resources_of, words_of

    words = words_of(resources)
    quota, period = resources.cpu.quota_us, resources.cpu.period_us
    if isinstance(quota, int) and period:
        cpus = f"{quota / period:g}"
        try:
            same = resources_of(cpus=cpus).cpu
        except RequestError:  # fewer than can be said in this word
            return words
        if (same.quota_us, same.period_us) == (quota, period):
            words = {w: text for w, text in words.items() if w not in ("cpu_quota", "cpu_period")}
            words["cpus"] = cpus
    return words


def parts(stats: Stats) -> list[str]:
    """Use beside its limit, one text a controller."""
    return [part for part in _parts(stats) if part]


def _parts(stats: Stats) -> Iterator[str]:
    if stats.memory is not None:
        yield memory(stats.memory)
        yield from _memory_more(stats.memory)
    if stats.cpu is not None:
        yield cpu(stats.cpu)
        yield throttled(stats.cpu)
    if stats.pids is not None and stats.pids.current is not None:
        yield f"tasks {stats.pids.current}{_of(stats.pids.max)}"
    if stats.io is not None:
        yield io(stats.io)


def memory(stats: MemoryStats) -> str:
    """ "memory 12.0MiB of 64MiB" """
    if stats.usage_bytes is None:
        return ""
    limit = stats.max_bytes
    bounded = isinstance(limit, int) and limit < _UNLIMITED_V1
    return f"memory {format_bytes(stats.usage_bytes)}{_of_bytes(limit) if bounded else ''}"


#: what v1 shows as no limit: PAGE_COUNTER_MAX, LONG_MAX in whole pages (mm/page_counter.c)
_UNLIMITED_V1 = (1 << 63) - (1 << 16)


def _memory_more(stats: MemoryStats) -> Iterator[str]:
    if stats.peak_bytes:
        yield f"peak {format_bytes(stats.peak_bytes)}"
    if stats.swap_usage_bytes:
        yield f"swap {format_bytes(stats.swap_usage_bytes)}{_of_bytes(stats.swap_max_bytes)}"
    kills = stats.events.get("oom_kill") or stats.local_events.get("oom_kill")
    if kills:
        yield f"oom kills {kills}"


def cpu(stats: CpuStats) -> str:
    """ "cpu time 1.50s of 0.5 cpus" """
    if stats.usage_usec is None:
        return ""
    quota, period = stats.quota_us, stats.period_us
    limit = f", at most {quota / period:g} cpus" if isinstance(quota, int) and period else ""
    return f"cpu time {format_usec(stats.usage_usec)}{limit}"


def throttled(stats: CpuStats) -> str:
    """ "throttled 1.20s in 10 of 20 periods", or nothing when it never was."""
    if not stats.nr_throttled:
        return ""
    held_up = format_usec(stats.throttled_usec or 0)
    return f"throttled {held_up} in {stats.nr_throttled} of {stats.nr_periods} periods"


def io(stats: IoStats) -> str:
    """ "read 1.0MiB, written 12KiB", all disks together, or nothing when there was none."""
    read = sum(device.rbytes or 0 for device in stats.devices)
    written = sum(device.wbytes or 0 for device in stats.devices)
    if not read and not written:
        return ""
    return f"read {format_bytes(read)}, written {format_bytes(written)}"


def _of(limit: int | Max | None) -> str:
    return f" of {limit}" if isinstance(limit, int) else ""


def _of_bytes(limit: int | Max | None) -> str:
    return f" of {format_bytes(limit)}" if isinstance(limit, int) else ""
