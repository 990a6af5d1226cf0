"""`cgmgr gc`: clear up after killed processes."""

from __future__ import annotations

from .options import DryRun


def gc(dry_run: DryRun = False) -> int:
    """Clear up after killed commands: what they had half made or half removed goes, groups with
    every process in them, and containers; a group that they had half changed gets its old settings
    back.

    One line for each.  Exit status 1 when something could not be done.
    """
    from . import groups
    from .failing import complain

    manager = groups.manager()
    if dry_run:
        for what in groups.foreseen(manager):
            print(what)
        return 0
    done, failed = groups.collect(manager)
    for what in done:
        print(what)
    for what, reason in failed:
        complain(f"cgmgr: {what}: {reason}")
    return 1 if failed else 0
