"""What all the controllers of a group count, put together.

Law: which files there are is the controllers' business, how one is read the caller's.
"""

from __future__ import annotations

from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.stats import Reader, Stats, StatsError, pressure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any, Final

    from cgmgr.host import Host
    from cgmgr.record import Record

    Read = Callable[[str], str | None]

#: controllers whose counts are part of another's: v1's cpuacct counts what v2's cpu does
STATS_FIELDS: Final = {"cpuacct": "cpu"}


def counted(host: Host, keys: Container[str], reading: Callable[[str], Read]) -> Stats:
    """The statistics of a group that is in the hierarchies `keys`.

    `reading` gives what reads a file there: its text, None where it is absent.  What cannot be read
    or understood is an entry of `Stats.errors`; only `GroupGone` is raised.
    """
    fields: dict[str, Any] = {}
    errors: list[StatsError] = []
    facts = host.facts
    for name, controller in CONTROLLERS.items():
        hierarchy = host.holder(name)
        if hierarchy is None or hierarchy.key not in keys:
            continue
        reader = Reader(reading(hierarchy.key))
        record = controller.stats(reader, hierarchy.version, facts)
        errors += reader.errors
        if record is not None:
            field = STATS_FIELDS.get(name, name)
            fields[field] = _filled(fields[field], record) if field in fields else record
    v2 = host.v2
    if v2 is not None and v2.key in keys:
        reader = Reader(reading(v2.key))
        fields["pressure"] = pressure(reader)
        errors += reader.errors
    return Stats(errors=tuple(errors), **fields)


def _filled(record: Record, more: Record) -> Record:
    """One record of two that know different fields."""
    return record.replace(**more.set_fields())
