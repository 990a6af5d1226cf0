"""`cgmgr group get`: what was asked, what the kernel holds, what is used."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json, Name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from cgmgr.stats import Stats

Wanted = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WORD]...", help="Only these settings, such as memory pids."),
]

HEAD: Final = ("SETTING", "ASKED", "HELD", "USED")
#: word -> where its use is in `Stats`
USED: Final = {
    "memory": ("memory", "usage_bytes"),
    "swap": ("memory", "swap_usage_bytes"),
    "pids": ("pids", "current"),
    "cpus": ("cpu", "usage_usec"),
    "cpu_quota": ("cpu", "usage_usec"),
}
#: limits that are shown although nobody asked for them here, when they limit
LIMITS: Final = ("memory", "memory_high", "swap", "cpus", "pids")


def get(name: Name, words: Wanted = None, json: Json = False) -> None:
    """Settings of a group: what was asked, what the kernel holds now, and what is used.

    A setting that is held otherwise than it was asked is marked with "!"; below, a line for each
    file that differs.

    With --json: {name, driver, state, paths, processes, asked, held, drift, use}.
    """
    from . import groups, output, usage

    with groups.opened(name) as group:
        stats = group.stats()
        answer: dict[str, Any] = {
            "name": group.name,
            "driver": group.driver.name,
            "state": groups.state(group),
            "paths": group.paths,
            "processes": group.pids(recursive=True),
            "asked": _chosen(usage.asked(group.resources), words),
            "held": _chosen(_held(stats), words),
            "drift": group.diff(),
            "use": stats,
        }
    if json:
        print(output.to_json(answer))
    else:
        print("\n".join(_lines(answer, stats, bool(words), output.columns())))


def _held(stats: Stats) -> dict[str, Any]:
    """What the kernel says of each word, where the group's files say it in the word's own terms."""
    from cgmgr.resources.words import SINGLE

    held: dict[str, Any] = {}
    for word, (section, field, _form) in SINGLE.items():
        value = getattr(getattr(stats, section, None), field, None)
        if value is not None:
            held[word] = value
    quota, period = held.get("cpu_quota"), held.get("cpu_period")
    if quota is not None and period:
        held["cpus"] = quota / period if isinstance(quota, int) else quota
    return held


def _chosen(values: dict[str, Any], words: list[str] | None) -> dict[str, Any]:
    """Those of the words that were named, or all.  Raises `RequestError` for what is no word."""
    if not words:
        return values
    from cgmgr.errors import RequestError
    from cgmgr.resources.words import NAMES

    wanted = [word if "." in word else word.replace("-", "_") for word in words]
    for word in wanted:
        if word not in NAMES and "." not in word:
            raise RequestError(
                f"unknown setting {word!r}",
                operation="read settings",
                value=word,
                hint=f"known: {', '.join(sorted(NAMES))}",
            )
    return {word: values[word] for word in wanted if word in values}


def _lines(answer: dict[str, Any], stats: Stats, everything: bool, width: int) -> Iterator[str]:
    from . import output, usage

    members = len(answer["processes"])
    many = "1 process" if members == 1 else f"{members} processes"
    about = f"{answer['state'] or 'no freezer'}, {many}, driver {answer['driver']}"
    yield output.clipped(f"{output.printable(answer['name'])}: {about}", width)
    rows = list(_rows(answer, stats, everything))
    if rows:
        yield from output.table(HEAD, rows, width)
    for drift in answer["drift"]:
        held = "is not there" if drift.held is None else f"holds {drift.held}"
        yield f"! {drift.path} {held}, asked was {drift.asked}"
    yield from output.wrapped("; ".join(usage.parts(stats)), width, "", "  ")
    for error in stats.errors:
        yield f"not read: {error.file}: {error.message}"


def _rows(answer: dict[str, Any], stats: Stats, everything: bool) -> Iterator[list[str]]:
    from cgmgr.units import Max

    asked, held = answer["asked"], answer["held"]
    others = [word for word in held if word not in asked]
    if not everything:
        others = [w for w in others if w in LIMITS and not isinstance(held[w], Max)]
    for word in [*asked, *others]:
        now = _spelled(word, held[word]) if word in held else ""
        mark = "! " if word in asked and now and now != asked[word] else ""
        yield [word, asked.get(word, ""), mark + now, _used(word, stats)]


def _spelled(word: str, value: Any) -> str:
    from cgmgr.resources.words import SINGLE

    if isinstance(value, float):
        return f"{value:g}"
    return SINGLE[word][2].spell(value) if word in SINGLE else str(value)


def _used(word: str, stats: Stats) -> str:
    from cgmgr.units import format_bytes, format_usec

    section, field = USED.get(word, ("", ""))
    value = getattr(getattr(stats, section, None), field, None) if section else None
    if value is None:
        return ""
    shown = {"bytes": format_bytes, "usec": format_usec}.get(field.rpartition("_")[2], str)
    return shown(value)
