"""`cgmgr group rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from cgmgr.errors import CgmgrError

from .options import DryRun, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cgmgr.manager import Manager

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Groups.", show_default=False)]


def rm(
    names: Names,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Kill the processes that are in it.")
    ] = False,
    timeout: Timeout = "10s",
    dry_run: DryRun = False,
) -> int:
    """Remove groups, with the groups below them.  One that holds processes stays, unless -f.

    What cannot be removed is told, and the others are removed all the same.  Exit status 1 when
    something could not be.
    """
    from . import failing, groups, settings

    limit = settings.seconds(timeout)
    manager = groups.manager()
    status = 0
    for name in names:
        try:
            _remove(manager, name, force, limit, dry_run)
        except CgmgrError as error:
            failing.say(error)
            status = 1
    return status


def _remove(manager: Manager, name: str, force: bool, limit: float, dry_run: bool) -> None:
    from cgmgr import unfinished

    from . import groups

    group = groups.find(manager, name)
    try:
        if not dry_run:
            group.delete(limit, kill=force)
            return
        if not force:
            unfinished.refuse_populated(group)
        print("\n".join(groups.removal(group)))
    finally:
        group.close()
