"""`cgmgr group ls`."""

from __future__ import annotations

from typing import Annotated

import typer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgmgr.group import Group

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON: a list of {name, driver, paths (by hierarchy), state, processes (how "
        "many), memory_bytes, cpu_usec, asked (words)}.",
    ),
]

HEAD = ("NAME", "STATE", "PROCESSES", "MEMORY", "CPU TIME", "ASKED")


def ls(json: Json = False) -> None:
    """List the groups of cgmgr: all below /cgmgr, and those that it made elsewhere."""
    from . import groups, output

    manager = groups.manager()
    rows = groups.look(manager, groups.known(manager), _row)
    if json:
        print(output.to_json(rows))
        return
    for line in output.table(HEAD, [_cells(row) for row in rows], output.columns()):
        print(line)


def _row(group: Group) -> dict[str, Any]:
    from . import groups, usage

    stats = group.stats()
    return {
        "name": group.name,
        "driver": group.driver.name,
        "paths": group.paths,
        "state": groups.state(group),
        "processes": len(group.pids(recursive=True)),
        "memory_bytes": stats.memory.usage_bytes if stats.memory else None,
        "cpu_usec": stats.cpu.usage_usec if stats.cpu else None,
        "asked": usage.asked(group.resources),
    }


def shown(row: dict[str, Any]) -> str:
    """A name that can be typed; a unit's path is long, and has backslashes."""
    if row["driver"] != "systemd":
        return str(row["name"])
    from cgmgr.drivers import units

    return units.shown(row["name"])


def _cells(row: dict[str, Any]) -> list[str]:
    from cgmgr.units import format_bytes, format_usec

    from .output import printable

    memory, cpu = row["memory_bytes"], row["cpu_usec"]
    return [
        printable(shown(row)),
        row["state"],
        str(row["processes"]),
        "" if memory is None else format_bytes(memory),
        "" if cpu is None else format_usec(cpu),
        printable(" ".join(f"{word}={value}" for word, value in row["asked"].items())),
    ]
