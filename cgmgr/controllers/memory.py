"""Memory and swap.

v2 limits memory and swap each for itself, v1 memory, and memory and swap together ("memsw"), of
which memory must never be more.  Requests are in v2's terms; here they become v1's.

Sources: cgroup-v1/memory.rst, cgroup-v2.rst "Memory"; mm/memcontrol.c, mm/memcontrol-v1.c.
"""

from __future__ import annotations

import errno

from cgmgr import parse
from cgmgr.errors import LimitBelowUsage
from cgmgr.resources.formulas import swap_to_memory_swap
from cgmgr.units import MAX, Max, format_bytes

from . import memory_stats
from .base import NO_FACTS, Facts, Row, Scene
from .common import because, flag, lacks, limit, unfit, unheld, where_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.errors import CgmgrError
    from cgmgr.resources import Memory, Resources

    from .base import Read

NAME = "memory"
V1 = "memory"
ON_V2 = True
IMPLICIT_ON_V2 = False

LIMIT = "memory.limit_in_bytes"
MEMSW = "memory.memsw.limit_in_bytes"
INHERITED = (MEMSW,)
SOFT = "memory.soft_limit_in_bytes"
SWAPPINESS = "memory.swappiness"
OOM_CONTROL = "memory.oom_control"
USAGE = "memory.usage_in_bytes"
MEMSW_USAGE = "memory.memsw.usage_in_bytes"

MAX_V2 = "memory.max"
HIGH = "memory.high"
LOW = "memory.low"
MIN = "memory.min"
SWAP = "memory.swap.max"
OOM_GROUP = "memory.oom.group"
CURRENT = "memory.current"

FILES = {
    1: (LIMIT, MEMSW, SOFT, SWAPPINESS, OOM_CONTROL),
    2: (MAX_V2, HIGH, LOW, MIN, SWAP, OOM_GROUP, CURRENT),
}

NO_SWAP_ACCOUNTING = "the kernel does not count swap by group"
SWAP_HINT = "swapaccount=1 # on the kernel's command line"
RECLAIMED = "what the kernel reclaims, or kills, to get below it"

UNPROTECTED = (
    "cgroup v1 protects no memory from reclaim; its soft limit, memory_soft, is the nearest"
)
#: words that v1 has not: the field, what it means when it is not there, why not, the nearest word
V2_ONLY: dict[str, tuple[str, object, str, str]] = {
    "memory_high": ("high_bytes", MAX, "cgroup v1 cannot throttle, only limit: memory", "memory"),
    "memory_low": ("low_bytes", 0, UNPROTECTED, "memory_soft"),
    "memory_min": ("min_bytes", 0, UNPROTECTED, "memory_soft"),
    "oom_group": ("oom_group", False, "cgroup v1 kills one process at a time", ""),
}


def wants(resources: Resources) -> bool:
    return bool(resources.memory)


def observe(version: int, _facts: Facts = NO_FACTS) -> tuple[str, ...]:
    return FILES[version]


def rows(resources: Resources, scene: Scene) -> list[Row]:
    page = scene.facts.page_size
    for word, field in (("memory", "max_bytes"), ("memory_high", "high_bytes")):
        value = getattr(resources.memory, field)
        if isinstance(value, int) and value < page:
            # the kernel would cut it down to nothing, and kill everything there is
            raise unfit(word, value, scene, f"one page, {page} bytes, is the least")
    return (_rows_v1 if scene.version == 1 else _rows_v2)(resources.memory, scene)


def explain(error: CgmgrError, row: Row, read: Read) -> CgmgrError:
    """EBUSY of v1's limits: the kernel could not reclaim enough."""
    if error.errno == errno.EBUSY and row.file in (LIMIT, MEMSW):
        used = int(read(USAGE if row.file == LIMIT else MEMSW_USAGE) or 0)
        word = "memory" if row.file == LIMIT else "swap"
        return _below_usage(word, int(row.value), used, error.path)
    if error.errno == errno.EINVAL and row.file == SWAPPINESS and int(row.value) > 100:
        return because(error, "kernels before 5.15 take at most 100")
    return error


stats = memory_stats.stats


def _rows_v1(memory: Memory, scene: Scene) -> list[Row]:
    for word, (field, neutral, why, nearest) in V2_ONLY.items():
        value = getattr(memory, field)
        if value is not None and value != neutral:
            raise unheld(NAME, word, value, scene, why, _instead(nearest, value))
    planned: list[Row] = []
    if memory.soft_limit_bytes is not None:
        planned.append(_limit(SOFT, memory.soft_limit_bytes, 1))
    if memory.swappiness is not None:
        planned.append(Row(controller=NAME, file=SWAPPINESS, value=str(memory.swappiness)))
    planned += _limits_v1(memory, scene)
    if memory.oom_kill_disable is not None:
        was = parse.flat_keyed((scene.files.get(OOM_CONTROL) or "") + "\n")
        planned.append(
            Row(
                controller=NAME,
                file=OOM_CONTROL,
                value=flag(memory.oom_kill_disable),
                compare="second",
                # the file prints more than it takes
                undo=None if scene.new else str(was.get("oom_kill_disable", 0)),
            )
        )
    return planned


def _instead(word: str, size: int | Max) -> str | None:
    return f"{word}={_spelled(size)}" if word else None


def _spelled(size: int | Max) -> str:
    from cgmgr.resources.forms import spell_bytes

    return spell_bytes(size)


def _limits_v1(memory: Memory, scene: Scene) -> list[Row]:
    """memory <= memsw must hold after every single write, and when they are undone."""
    limit_was = parse.limit(scene.files.get(LIMIT) or str(parse.UNLIMITED_V1))
    memsw_was = parse.limit(scene.files.get(MEMSW) or str(parse.UNLIMITED_V1))
    memsw = _memsw(memory, limit_was, memsw_was, scene)
    planned: list[Row] = []
    if memory.max_bytes is not None:
        planned.append(_limit(LIMIT, memory.max_bytes, 1))
    if memsw is not None:
        planned += _row_of_memsw(memsw, scene)
    if memory.max_bytes is not None and _more(memory.max_bytes, memsw_was):
        planned.reverse()
    return planned


def _memsw(
    memory: Memory, limit_was: int | Max, memsw_was: int | Max, scene: Scene
) -> int | Max | None:
    """What memory and swap together may be; None to leave it.

    Without a word on swap, what was asked of it before is held on; where nothing was, as much as
    was allowed stays allowed while memory changes.
    """
    will_be = limit_was if memory.max_bytes is None else memory.max_bytes
    swap = memory.swap_bytes if memory.swap_bytes is not None else _remembered(memory, scene)
    if swap is None:
        if memory.max_bytes is None or isinstance(memsw_was, Max):
            return None
        swap = 0 if isinstance(limit_was, Max) else memsw_was - limit_was
        return MAX if isinstance(will_be, Max) else will_be + swap
    memsw = swap_to_memory_swap(will_be, swap)
    if memsw is not None:
        return memsw
    if isinstance(will_be, Max):
        if memory.swap_bytes is None:
            why = f"swap={_spelled(swap)} was asked, and cgroup v1 limits both together"
            raise unfit("memory", "max", scene, why, hint="swap=max")
        why = "cgroup v1 limits memory and swap together, and memory has no limit"
        raise unfit("swap", swap, scene, why, hint="memory=1G")
    why = f"with as much swap, {swap}, it is more than cgroup v1 counts"
    raise unfit("memory", will_be, scene, why, hint="swap=max")


def _remembered(memory: Memory, scene: Scene) -> int | Max | None:
    """The swap that was asked before, when memory changes; None where it cannot be held at all."""
    if memory.max_bytes is None or lacks(scene, MEMSW):
        return None
    return scene.remembered.memory.swap_bytes


def _row_of_memsw(memsw: int | Max, scene: Scene) -> list[Row]:
    row = _limit(MEMSW, memsw, 1)
    missing = lacks(scene, MEMSW) or (scene.new and scene.parent.get(MEMSW, "") is None)
    if not isinstance(memsw, Max):
        if missing:
            raise unheld(NAME, "swap", memsw, scene, NO_SWAP_ACCOUNTING, SWAP_HINT)
        return [row]
    return [] if missing else where_there("swap", row, scene, NO_SWAP_ACCOUNTING, neutral=True)


def _rows_v2(memory: Memory, scene: Scene) -> list[Row]:
    if memory.swappiness is not None:
        raise unheld(
            NAME,
            "swappiness",
            memory.swappiness,
            scene,
            "cgroup v2 has no swappiness by group; limit swap instead, or set it for the host",
            hint=f"sysctl vm.swappiness={memory.swappiness}",
        )
    if memory.oom_kill_disable:
        why = "cgroup v2 cannot switch the OOM killer off; memory_high throttles instead"
        raise unheld(NAME, "oom_kill_disable", 1, scene, why)
    low = memory.low_bytes if memory.low_bytes is not None else memory.soft_limit_bytes
    planned: list[Row] = []
    if memory.oom_group is not None:
        row = Row(controller=NAME, file=OOM_GROUP, value=flag(memory.oom_group))
        why = "killing whole groups needs Linux 4.19"
        planned += where_there("oom_group", row, scene, why, neutral=not memory.oom_group)
    for file, value in ((MIN, memory.min_bytes), (LOW, low), (HIGH, memory.high_bytes)):
        if value is not None:
            planned.append(_shrinking(_limit(file, value, 2), value, scene))
    if memory.swap_bytes is not None:
        planned += _swap_v2(memory.swap_bytes, scene)
    if memory.max_bytes is not None:
        row = _shrinking(_limit(MAX_V2, memory.max_bytes, 2), memory.max_bytes, scene)
        planned.append(_check_usage(row, memory.max_bytes, scene))
    return planned


def _swap_v2(swap: int | Max, scene: Scene) -> list[Row]:
    row = _limit(SWAP, swap, 2)
    if lacks(scene, SWAP) and not isinstance(swap, Max):
        raise unheld(NAME, "swap", swap, scene, NO_SWAP_ACCOUNTING, SWAP_HINT)
    return where_there("swap", row, scene, NO_SWAP_ACCOUNTING, neutral=isinstance(swap, Max))


def _shrinking(row: Row, value: int | Max, scene: Scene) -> Row:
    """Lowering max or high makes the kernel reclaim at once, and max kill."""
    was = scene.files.get(row.file)
    if row.file in (MAX_V2, HIGH) and was is not None and _more(parse.limit(was), value):
        return row.replace(irreversible=RECLAIMED)
    return row


def _check_usage(row: Row, value: int | Max, scene: Scene) -> Row:
    """v1 refuses a limit below usage, v2 kills in silence (runc#3509): refused here, before
    anything is written.  By nature it can still rise until the limit is there."""
    used = int(scene.files.get(CURRENT) or 0)
    if row.irreversible and isinstance(value, int) and value < used:
        raise _below_usage("memory", value, used, scene.where or None)
    return row


def _below_usage(word: str, value: int, used: int, path: str | None) -> LimitBelowUsage:
    return LimitBelowUsage(
        f"{word} cannot be {format_bytes(value)}: {format_bytes(used)} are in use",
        used=used,
        operation=f"set {word}",
        path=path,
        value=str(value),
        errno=errno.EBUSY,
    )


def _limit(file: str, value: int | Max, version: int) -> Row:
    return Row(controller=NAME, file=file, value=limit(value, version), compare="bytes")


def _more(one: int | Max, other: int | Max) -> bool:
    if isinstance(other, Max):
        return False
    return isinstance(one, Max) or one > other
