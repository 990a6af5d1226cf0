"""`cgmgr group rm`."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from cgmgr.errors import GroupBusy, NoSuchGroup

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
        with groups.opened(name, manager) as group:
            if not force:
                _refuse_populated(group)
            if dry_run:
                print("\n".join(groups.removal(group)))
                continue
            if force:
                group.kill(timeout=limit)
            top = group.name
        for below in reversed(list(groups.below(manager, top))):
            # removing the last one below may have removed one that was there only for it
            with contextlib.suppress(NoSuchGroup):
                manager.open(below).delete(limit, kill=force)


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
