"""`cgmgr gc`: remove what killed processes left behind."""

from __future__ import annotations

from .options import DryRun


def gc(dry_run: DryRun = False) -> int:
    """Remove what killed commands left behind: groups, with every process in them, and containers.

    One line for each that was removed.  Exit status 1 when something could not be.
    """
    from . import groups
    from .failing import complain

    manager = groups.manager()
    if dry_run:
        for what in groups.orphans(manager):
            print(f"remove {what}")
        return 0
    removed, failed = groups.collect(manager)
    for what in removed:
        print(f"removed {what}")
    for what, reason in failed:
        complain(f"cgmgr: {what}: {reason}")
    return 1 if failed else 0
