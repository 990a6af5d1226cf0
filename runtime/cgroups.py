"""What a container sees of the host's cgroup hierarchies.

Law: pure; `Host` was detected before.  The steps that mount these come from
`cgmgr.runtime.compile`.
"""

from __future__ import annotations

from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.host import Host

PLACE: Final = "/sys/fs/cgroup"


class HierarchyMount(Record):
    """One hierarchy as a container mounts it.  `name` is the directory below /sys/fs/cgroup, empty
    for cgroup2 in its place alone; `options` name a v1 hierarchy to the kernel."""

    name: str
    fstype: str
    options: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


def hierarchies(host: Host) -> tuple[HierarchyMount, ...]:
    """The hierarchies that the host has below /sys/fs/cgroup, in the same places.

    One that is mounted elsewhere is somebody's own and is left out.
    """
    place = host.root.rstrip("/") + PLACE
    found: list[HierarchyMount] = []
    for hierarchy in host.hierarchies:
        folder, _, name = hierarchy.mountpoint.rpartition("/")
        if hierarchy.version == 2 and hierarchy.mountpoint == place:
            found.append(HierarchyMount(name="", fstype="cgroup2"))
        elif folder == place and hierarchy.version == 2:
            found.append(HierarchyMount(name=name, fstype="cgroup2"))
        elif folder == place:
            options = tuple(hierarchy.key.split(","))
            links = tuple(word for word in options if word != name and "=" not in word)
            if len(options) == 1:
                links = ()
            found.append(HierarchyMount(name=name, fstype="cgroup", options=options, links=links))
    return tuple(found)
