"""`cgmgr group create`."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import BestEffort, Driver, DryRun, Name, Words


def create(
    name: Name,
    words: Words = None,
    threaded: Annotated[
        bool, typer.Option("--threaded", help="Make it a threaded group (cgroup2).")
    ] = False,
    best_effort: BestEffort = False,
    driver: Driver = "auto",
    dry_run: DryRun = False,
) -> None:
    """Make a group, in every hierarchy, with these settings: all of it or nothing."""
    from . import groups, settings

    asked = settings.resources(words or [])
    manager = groups.manager(driver)
    if dry_run or manager.driver.name == "dryrun":
        lines = manager.plan(name, asked, threaded=threaded, best_effort=best_effort)
        print("\n".join(lines))
        return
    group = manager.create(name, asked, threaded=threaded, best_effort=best_effort)
    group.close()
    groups.tell(group.report)
