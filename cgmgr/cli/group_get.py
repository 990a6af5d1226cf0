"""`cgmgr group get`: what was asked, what the kernel holds, what is used."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from cgmgr.group import Group
    from cgmgr.stats import Stats

Wanted = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WORD]...", help="Only these settings, such as memory pids."),
]

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON: {name, driver, state, paths (by hierarchy), processes (their ids), asked "
        "and held (words), drift (a list of {path, asked, held}), use (all that the kernel counts, "
        "in bytes and microseconds)}.",
    ),
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
    """
    from . import groups, held, output, usage

    chosen = _known(words or [])
    with groups.opened(name) as group:
        stats = group.stats()
        asked = usage.asked(group.resources)
        drifted = held.drifted(group, asked)
        answer: dict[str, Any] = {
            "name": group.name,
            "driver": group.driver.name,
            "state": groups.state(group),
            "paths": group.paths,
            "processes": group.pids(recursive=True),
            "asked": _chosen(asked, chosen),
            "held": _held(group, drifted, chosen or [*asked, *_limiting(group, asked)]),
            "drift": group.diff(),
            "use": stats,
        }
    if json:
        print(output.to_json(answer))
    else:
        print("\n".join(_lines(answer, stats, drifted, output.columns())))


def _held(group: Group, drifted: set[str], words: list[str]) -> dict[str, Any]:
    """What the kernel holds of these words."""
    from . import held

    found, raw = held.held(group, drifted), held.raw(group)
    values = {
        word: raw.get(word) if "." in word else held.value_of(word, found, group.resources)
        for word in words
    }
    return {word: value for word, value in values.items() if value is not None}


def _limiting(group: Group, asked: dict[str, str]) -> list[str]:
    """The limits that nobody asked for here, and that limit."""
    from cgmgr.units import Max

    others = [word for word in LIMITS if word not in asked]
    if {"cpu_quota", "cpu_period"} & set(asked):
        others.remove("cpus")
    held = _held(group, set(), others)
    return [word for word, value in held.items() if not isinstance(value, Max)]


def _known(words: list[str]) -> list[str]:
    """Words as they are in tables.  Raises `RequestError` for what is no word."""
    from cgmgr.resources.aliases import FLAGS, TOGETHER, unknown
    from cgmgr.resources.words import NAMES

    known: list[str] = []
    for said in words:
        word = said if "." in said else said.replace("-", "_")
        if word in FLAGS or word == TOGETHER:
            word = FLAGS[word][0] if word in FLAGS else "swap"
        if word not in NAMES and "." not in word:
            raise unknown(word, None, NAMES)
        known.append(word)
    return known


def _chosen(values: dict[str, str], words: list[str]) -> dict[str, str]:
    """Those of the words that were named, or all."""
    return {word: values[word] for word in words if word in values} if words else values


def _lines(answer: dict[str, Any], stats: Stats, drifted: set[str], width: int) -> Iterator[str]:
    from . import output, usage

    members = len(answer["processes"])
    many = "1 process" if members == 1 else f"{members} processes"
    about = f"{answer['state'] or 'no freezer'}, {many}, driver {answer['driver']}"
    yield output.clipped(f"{output.printable(answer['name'])}: {about}", width)
    rows = list(_rows(answer, stats, drifted))
    if rows:
        yield from output.table(HEAD, rows, width)
    for drift in answer["drift"]:
        lines = None if drift.held is None else ", ".join(drift.held.splitlines())
        held = "is not there" if lines is None else f"holds {lines}"
        yield f"! {drift.path} {held}, asked was {drift.asked}"
    yield from output.wrapped("; ".join(usage.parts(stats)), width, "", "  ")
    for error in stats.errors:
        yield f"not read: {error.file}: {error.message}"


def _rows(answer: dict[str, Any], stats: Stats, drifted: set[str]) -> Iterator[list[str]]:
    from . import held as reading

    asked, held = answer["asked"], answer["held"]
    for word in [*asked, *(word for word in held if word not in asked)]:
        now = reading.spelled(word, held[word]) if word in held else ""
        mark = "! " if word in drifted else ""
        yield [word, asked.get(word, ""), mark + now, _used(word, stats)]


def _used(word: str, stats: Stats) -> str:
    from cgmgr.units import format_bytes, format_usec

    section, field = USED.get(word, ("", ""))
    value = getattr(getattr(stats, section, None), field, None) if section else None
    if value is None:
        return ""
    shown = {"bytes": format_bytes, "usec": format_usec}.get(field.rpartition("_")[2], str)
    return shown(value)
