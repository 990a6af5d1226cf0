"""`cgmgr group rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from cgmgr.errors import GroupBusy

from .options import DryRun, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.group import Group

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Groups.", show_default=False)]


def rm(
    names: Names,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Kill the processes that are in it.")
    ] = False,
    timeout: Timeout = "10s",
    dry_run: DryRun = False,
) -> None:
    """Remove groups, with the groups below them.  One that holds processes stays, unless -f."""
    from . import groups, settings

    limit = settings.seconds(timeout)
    manager = groups.manager()
    for name in names:
        group = manager.open(name)
        try:
            if not force:
                _refuse_populated(group)
            if dry_run:
                print("\n".join(groups.removal(group)))
            else:
                group.delete(limit)
        finally:
            group.close()


def _refuse_populated(group: Group) -> None:
    members = group.pids(recursive=True)
    if members:
        some = "a process" if len(members) == 1 else f"{len(members)} processes"
        raise GroupBusy(
            f"group {group.name} holds {some}",
            operation="remove group",
            path=group.name,
            hint=f"cgmgr group rm -f {group.name}",
        )
