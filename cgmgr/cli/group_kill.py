"""`cgmgr group kill`."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DryRun, Name, Timeout


def kill(
    name: Name,
    signal: Annotated[
        str, typer.Option("-s", "--signal", metavar="SIGNAL", help="Send this one instead.")
    ] = "KILL",
    timeout: Timeout = "10s",
    dry_run: DryRun = False,
) -> None:
    """Kill every process of a group, and of those below it, and return once none is left.

    Nobody gets away, however fast it forks.  Another signal than KILL is sent once to every process
    that is there, and not waited for.

    SIGKILL of cgmgr itself may leave some, standing still: the same command again ends them.
    """
    from cgmgr import rights

    from . import groups, settings

    number = settings.signal_number(signal)
    limit = settings.seconds(timeout)
    with groups.opened(name) as group:
        if dry_run:
            rights.demand(group.host)
            for pid in group.pids(recursive=True):
                print(f"kill -{settings.signal_name(number)} {pid}")
            return
        group.kill(number, limit)
