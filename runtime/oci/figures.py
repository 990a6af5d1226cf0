"""`events`: the figures of a container, and that it ran out of memory, in runc's JSON.

Law: the kernel's figures in; runc's names and units out (nanoseconds, bytes), whose readers are
other people's programs.  What is not known is left out, never 0.

Source: runc's types/events.go.
"""

from __future__ import annotations

import os
import select
import time

from cgmgr.errors import CgmgrError, GroupGone
from cgmgr.oom_watch import listen
from cgmgr.units import MAX_U64, Max

from . import living
from .home import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from cgmgr.group import Group
    from cgmgr.stats import IoStats, MemoryStats, PressureStats, Stats

    from .home import Home

_OPERATIONS: Final = {"Read": "r", "Write": "w", "Discard": "d"}


def once(name: str, home: Home) -> dict[str, Any]:
    """The event of a container's present figures."""
    group = _group(name, home)
    return {"type": "stats", "id": name, "data": figures(group.stats())}


def stream(name: str, home: Home, interval_s: float) -> Iterator[dict[str, Any]]:
    """Figures every `interval_s` seconds, and each time that memory ran out, until it ends."""
    group = _group(name, home)
    record = home.need(name)
    with living.process(record.init) as pidfd:
        alarm, event = _alarm(group)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if alarm >= 0:
                poll.register(alarm, event)
            kills, due = _kills(group), time.monotonic()
            while True:
                if time.monotonic() >= due:
                    yield {"type": "stats", "id": name, "data": figures(group.stats())}
                    due = time.monotonic() + interval_s
                ready = dict(poll.poll(max(0.0, due - time.monotonic()) * 1000))
                if alarm in ready:
                    _drain(alarm, event)
                    if (now := _kills(group)) > kills:
                        kills = now
                        yield {"type": "oom", "id": name}
                if pidfd in ready:
                    return
        except GroupGone:
            return
        finally:
            if alarm >= 0:
                os.close(alarm)


def _group(name: str, home: Home) -> Group:
    record = home.need(name)
    group = living.group_of(record, home)
    if group is None or home.status(record) == STOPPED:
        raise living.refused("show", name, STOPPED, "container not running")
    return group


def _alarm(group: Group) -> tuple[int, int]:
    """What is ready when memory ran out, and for what it is polled; -1 where nothing says so."""
    try:
        hierarchy = group.host.need("memory")
        directory = group.directory("memory")
        if hierarchy.version == 2:
            return directory.open("memory.events", os.O_RDONLY), select.POLLPRI
        fd = listen(group.host.tree(hierarchy), group.paths[hierarchy.key])
    except (CgmgrError, KeyError):
        return -1, 0
    return (-1, 0) if fd is None else (fd, select.POLLIN)


def _drain(alarm: int, event: int) -> None:
    """So that it is not ready again for the same reason."""
    if event == select.POLLPRI:
        os.lseek(alarm, 0, os.SEEK_SET)
        os.read(alarm, 4096)
    else:
        os.read(alarm, 8)


def _kills(group: Group) -> int:
    memory = group.stats().memory
    return 0 if memory is None else memory.events.get("oom_kill", 0)


def figures(stats: Stats) -> dict[str, Any]:
    """The data of an event."""
    found: dict[str, Any] = {"cpu": _cpu(stats), "pids": {}}
    if stats.memory is not None:
        found["memory"] = _memory(stats.memory, stats)
    if stats.pids is not None:
        found["pids"] = _known(current=stats.pids.current, limit=_limit(stats.pids.max, 0))
    if stats.io is not None:
        found["blkio"] = _io(stats.io)
        _pressure(found["blkio"], None if stats.pressure is None else stats.pressure.io)
    if stats.hugetlb is not None:
        found["hugetlb"] = {
            size.size: _known(usage=size.usage_bytes, max=size.peak_bytes, failcnt=size.events_max)
            for size in stats.hugetlb.sizes
        }
    if stats.cpuset is not None:
        cpuset = stats.cpuset
        found["cpuset"] = _known(cpus=_ids(cpuset.cpus), mems=_ids(cpuset.mems))
    return found


def _cpu(stats: Stats) -> dict[str, Any]:
    cpu = stats.cpu
    if cpu is None:
        return {}
    percpu = None if cpu.percpu_usec is None else [usec * 1000 for usec in cpu.percpu_usec]
    found: dict[str, Any] = {
        "usage": _known(
            total=_nsec(cpu.usage_usec),
            percpu=percpu,
            kernel=_nsec(cpu.system_usec),
            user=_nsec(cpu.user_usec),
        ),
        "throttling": _known(
            periods=cpu.nr_periods,
            throttledPeriods=cpu.nr_throttled,
            throttledTime=_nsec(cpu.throttled_usec),
        ),
    }
    _pressure(found, None if stats.pressure is None else stats.pressure.cpu)
    return found


def _memory(memory: MemoryStats, stats: Stats) -> dict[str, Any]:
    found: dict[str, Any] = {
        "usage": _known(
            usage=memory.usage_bytes,
            max=memory.peak_bytes,
            limit=_limit(memory.max_bytes, MAX_U64),
            failcnt=memory.events.get("max", memory.local_events.get("max")),
        ),
        "swap": _known(
            usage=memory.swap_usage_bytes,
            max=memory.swap_peak_bytes,
            limit=_limit(memory.swap_max_bytes, MAX_U64),
        ),
        **_known(cache=memory.stat.get("file"), raw=dict(memory.stat)),
    }
    _pressure(found, None if stats.pressure is None else stats.pressure.memory)
    return found


def _io(io: IoStats) -> dict[str, Any]:
    bytes_: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    for device in io.devices:
        major, _, minor = device.device.partition(":")
        place: dict[str, Any] = (
            {"major": int(major), "minor": int(minor)} if minor.isdigit() else {}
        )
        for operation, letter in _OPERATIONS.items():
            for rows, value in (
                (bytes_, getattr(device, f"{letter}bytes")),
                (counts, getattr(device, f"{letter}ios")),
            ):
                if value is not None:
                    rows.append({**place, "op": operation, "value": value})
    return {"ioServiceBytesRecursive": bytes_, "ioServicedRecursive": counts}


def _pressure(part: dict[str, Any], pressure: PressureStats | None) -> None:
    if pressure is None:
        return
    lines = {"some": pressure.some, "full": pressure.full}
    part["psi"] = {
        kind: {
            "avg10": line.avg10,
            "avg60": line.avg60,
            "avg300": line.avg300,
            "total": line.total_usec,
        }
        for kind, line in lines.items()
        if line is not None
    }


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _nsec(usec: int | None) -> int | None:
    return None if usec is None else usec * 1000


def _limit(value: int | Max | None, unlimited: int) -> int | None:
    return unlimited if isinstance(value, Max) else value


def _ids(ids: tuple[int, ...] | None) -> list[int] | None:
    return None if ids is None else list(ids)
