"""`cgmgr group set`."""

from __future__ import annotations

from typing import Annotated

import typer

from .failing import UsageError
from .options import BestEffort, DryRun, Name, Policy, Property

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WORD=VALUE]...", help="Settings, such as memory=64M cpus=0.5.", show_default=False
    ),
]


def set_(
    name: Name,
    words: Settings = None,
    policy: Policy = None,
    properties: Property = None,
    best_effort: BestEffort = False,
    dry_run: DryRun = False,
) -> None:
    """Change settings of a group while it runs: all of them, or none."""
    from . import groups, settings

    if not words and policy is None and not properties:
        raise UsageError("nothing to set", hint=f"cgmgr group set {name} memory=64M")
    below = settings.policy(policy)
    asked, rest = settings.parted(settings.resources(words or [], below), properties)
    said = [*(words or []), *(properties or [])]
    with settings.about(said), groups.opened(name, warn=dry_run) as group:
        if dry_run:
            foretold = group.foresee(asked, best_effort=best_effort, properties=rest)
            groups.foretell(foretold, said)
            return
        groups.tell(group.update(asked, best_effort=best_effort, properties=rest), said)
