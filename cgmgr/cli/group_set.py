"""`cgmgr group set`."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import BestEffort, DryRun, Name

Settings = Annotated[
    list[str],
    typer.Argument(
        metavar="WORD=VALUE...", help="Settings, such as memory=64M cpus=0.5.", show_default=False
    ),
]


def set_(
    name: Name, words: Settings, best_effort: BestEffort = False, dry_run: DryRun = False
) -> None:
    """Change settings of a group while it runs: all of them, or none."""
    from . import groups, settings

    asked = settings.resources(words)
    with groups.opened(name) as group:
        if dry_run:
            for line in group.plan(asked, best_effort=best_effort):
                print(line)
            return
        groups.tell(group.update(asked, best_effort=best_effort))
