"""Whether a group stands still, who holds it so, and the command that lets it go.

Law: one group, on both sides of a hybrid host.  How one directory of it is frozen is
`cgmgr.freezer`'s.
"""

from __future__ import annotations

from functools import partial

from cgmgr import freezer, kernfs
from cgmgr.errors import ControllerUnavailable, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cgmgr.group import Group
    from cgmgr.kernfs import Directory


def freezers(group: Group) -> dict[str, Directory]:
    """The group's directories that can be frozen, by the hierarchy's key: that of the freezer, and
    cgroup2's.  Raises `ControllerUnavailable`."""
    keys = {h.key for h in (group.host.holder("freezer"), group.host.v2) if h is not None}
    held = {key: group.at(key) for key in sorted(keys & set(group.paths))}
    if not held:
        raise ControllerUnavailable(
            f"group {group.name} has no freezer",
            controller="freezer",
            operation="freeze",
            path=group.name,
        )
    return held


def state(group: Group) -> str:
    """See `Group.state`."""
    states = [freezer.state(directory) for directory in freezers(group).values()]
    order = (freezer.FROZEN, freezer.BY_ANCESTOR, freezer.FREEZING)
    return next((state for state in order if state in states), freezer.THAWED)


def thaw(group: Group, deadline: float) -> None:
    """See `Group.thaw`."""
    for key, directory in freezers(group).items():
        freezer.thaw(directory, deadline, partial(thawing, group, key))


def refuse_start(group: Group) -> None:
    """A program started in a frozen group would stand still before its first instruction, and
    neither a signal nor a limit of time would end it.  Raises `HostError`, which names the group
    that is frozen."""
    try:
        held = freezers(group)
    except ControllerUnavailable:
        return
    for key, directory in held.items():
        found = freezer.state(directory)
        if found == freezer.THAWED:
            continue
        culprit, by = directory.path, ""
        if found == freezer.BY_ANCESTOR:
            above = freezer.frozen_ancestor(directory)
            if above is None:  # thawed meanwhile
                continue
            culprit, by = above, f", {directory.tree.absolute(above)}"
        raise HostError(
            f"group {group.name} is {found}{by}: nothing can be started in it",
            operation="start",
            path=group.name,
            hint=thawing(group, key, culprit),
        )


def way_out(group: Group) -> Callable[[str], str] | None:
    """For `members.kill_all`: what thaws a path of v1's freezer, where there is one."""
    holder = group.host.holder("freezer")
    return None if holder is None else partial(thawing, group, holder.key)


def thawing(group: Group, key: str, path: str) -> str:
    """The command that thaws the directory at `path` in a hierarchy: what is no group, as the scope
    around one, has a file only."""
    if path == group.paths[key]:
        return f"cgmgr group thaw {group.name}"
    hierarchy = group.host.by_key(key)
    base = hierarchy.base.rstrip("/")
    if path.startswith(f"{base}/"):
        name = path.removeprefix(base)
        if name != "/" and group.driver.paths(name).get(key) == path:
            return f"cgmgr group thaw {name}"
    file, text = freezer.THAW[hierarchy.version]
    return f"echo {text} > {kernfs.join(group.host.tree(hierarchy).absolute(path), file)}"
