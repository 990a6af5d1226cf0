"""`cgmgr group create`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import BestEffort, Driver, DryRun, Name, Policy, Property, Words


def create(
    name: Name,
    words: Words = None,
    threaded: Annotated[
        bool, typer.Option("--threaded", help="Make it a threaded group (cgroup2).")
    ] = False,
    policy: Policy = None,
    properties: Property = None,
    best_effort: BestEffort = False,
    driver: Driver = "auto",
    dry_run: DryRun = False,
) -> None:
    """Make a group, in every hierarchy, with these settings: all of it or nothing.

    A policy also says below which group a NAME without a leading / is, which driver makes it, and
    which controllers count for it.
    """
    from . import groups, settings

    below = settings.policy(policy)
    asked, rest = settings.parted(settings.resources(words or [], below), properties)
    manager = groups.manager(settings.driver(driver, below))
    how: dict[str, Any] = {"policy": below, "threaded": threaded, "best_effort": best_effort}
    how["properties"] = rest
    said = [*(words or []), *(properties or [])]
    with settings.about(said):
        if dry_run or manager.driver.name == "dryrun":
            groups.foretell(manager.foresee(name, asked, **how), said)
            return
        group = manager.create(name, asked, **how)
    group.close()
    groups.tell(group.report, said)
