"""`cgmgr group freeze` and `cgmgr group thaw`."""

from __future__ import annotations

from .options import DryRun, Name, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.kernfs import Directory

#: the file of v1, then cgroup2's; what freezes and what thaws
FILES: Final = (("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0"))


def freeze(name: Name, timeout: Timeout = "10s", dry_run: DryRun = False) -> None:
    """Stop every process of a group, or of a container, and return once all stand still.

    When that does not happen in time, all run again. SIGKILL of cgmgr itself leaves the group
    frozen: cgmgr group thaw NAME.
    """
    from cgmgr import rights

    from . import groups, settings

    limit = settings.seconds(timeout)
    with groups.opened(name) as group:
        if dry_run:
            rights.demand(group.host)
            _say(group.directory("freezer"), 1)
            return
        group.freeze(limit)


def thaw(name: Name, timeout: Timeout = "10s", dry_run: DryRun = False) -> None:
    """Let every process of a frozen group, or container, run again."""
    from cgmgr import rights

    from . import groups, settings

    limit = settings.seconds(timeout)
    with groups.opened(name) as group:
        if dry_run:
            rights.demand(group.host)
            for directory in group.everywhere():
                _say(directory, 2)
            return
        group.thaw(limit)


def _say(directory: Directory, column: int) -> None:
    for row in FILES:
        if directory.has(row[0]):
            print(f"write {row[column]} > {directory.name_of(row[0])}")
            return
