"""What a driver is, and where drivers are found.

Law: the protocol, what passes through it, and the one table that loads a driver, lazily, by dotted
name.  Entry points of the group `cgmgr.drivers` are read only for a name that the table has not,
because importlib.metadata costs more than everything else here.

A driver looks (`observe`), then says (`create`, `update`, `remove`, `attach`: pure, they return a
`Plan`), and the plan's steps do.  What is the same for every driver, such as stats, freeze and
kill, is not a driver's: it is in `cgmgr.group`, on the files of the group.
"""

from __future__ import annotations

import os

from cgmgr.controllers.base import Scene
from cgmgr.errors import DriverError, RequestError
from cgmgr.kernfs import check_path
from cgmgr.record import Record
from cgmgr.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final, Protocol

    from cgmgr.errors import CgmgrError
    from cgmgr.host import Host
    from cgmgr.plan import Plan

    class Driver(Protocol):
        """How groups are made, changed and removed on one host."""

        name: str
        host: Host
        """the machine as this driver's names see it: names count from each hierarchy's base"""
        parent: str
        """the group below which names are that are said without a path"""

        def full_name(self, said: str, /) -> str:
            """The one name of the group that a user means: "x" is "/cgmgr/x".  Pure.  Raises
            `RequestError`."""
            ...

        def observe(self, request: Request, /) -> Observed:
            """Every read that a plan for this request depends on.  Changes nothing."""
            ...

        def create(self, request: Request, observed: Observed, /) -> Plan:
            """Make the group, with its settings.  Pure.  `NameTaken` if it is there."""
            ...

        def update(self, request: Request, observed: Observed, /) -> Plan:
            """Change the settings of a group that is there.  Pure."""
            ...

        def remove(self, request: Request, observed: Observed, /) -> Plan:
            """Remove the group and what is below it, once no process is left.  Pure."""
            ...

        def attach(self, request: Request, observed: Observed, /) -> Plan:
            """Move the request's process into the group, in every hierarchy.  Pure."""
            ...

        def paths(self, group: str, /) -> dict[str, str]:
            """Where the group is, by hierarchy key; empty where it is nowhere."""
            ...

        def children(self, parent: str, /) -> list[str]:
            """The names of the groups directly below `parent`, sorted."""
            ...


class Request(Record):
    """What is asked of a driver for one group.

    `enable` names controllers to switch on although nothing is asked of them, so that they count.
    `threaded` makes the group a threaded one (cgroup2).  `best_effort` skips each setting that this
    host cannot hold, alone or beside those before it, and reports it, instead of refusing the
    whole; a request that contradicts itself is refused all the same.  `pid` is a process to move.

    `removal` asks for a look at what a removal depends on, and no more; `only_empty` for a removal
    that gives up, in every hierarchy, where a group or a process is in it in any.

    `remembered` is what was asked of the group before, for settings that share a file with one that
    is asked now.

    `properties` are what only a unit of systemd's has, "RuntimeMaxSec=1h"; a driver without units
    refuses them.
    """

    group: str
    resources: Resources = Resources()
    remembered: Resources = Resources()
    enable: tuple[str, ...] = ()
    threaded: bool = False
    best_effort: bool = False
    pid: int | None = None
    removal: bool = False
    only_empty: bool = False
    properties: tuple[str, ...] = ()


class Ancestor(Record):
    """A group above ours in cgroup2, as far as making groups below it is concerned.

    `root` is the hierarchy's real root, which may hold processes and controllers both.
    """

    name: str
    exists: bool = True
    root: bool = False
    kind: str = "domain"
    enabled: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    movable: bool = False


class Observed(Record):
    """What a driver saw of one group.

    `here` are the keys of the hierarchies in which it exists.  `missing` are the names of the
    groups above it that do not exist, by key, from the top.  `ancestors` are those of cgroup2, from
    the top.  `scenes` holds what each controller asked to see.  `fill` are groups above, in a v1
    cpuset hierarchy, that are empty or not there, from the top.  `origins` is where the request's
    process is now, by key.  `raw` holds the raw files that are asked for.  `place` is the name of
    the group that holds its processes, "" for itself.
    """

    group: str
    here: tuple[str, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = {}
    ancestors: tuple[Ancestor, ...] = ()
    scenes: Mapping[str, Scene] = {}
    fill: tuple[str, ...] = ()
    origins: Mapping[str, str] = {}
    raw: Mapping[str, str | None] = {}
    skipped: tuple[CgmgrError, ...] = ()
    place: str = ""


#: the group below which names without a leading / are
PARENT: Final = "/cgmgr"
#: where systemd says that it runs this machine (sd_booted(3))
BOOTED: Final = "run/systemd/system"

#: the drivers of this package; the value is MODULE:CLASS, the class takes the host
TABLE: Final[dict[str, str]] = {
    "cgroupfs": "cgmgr.drivers.cgroupfs:Cgroupfs",
    "dryrun": "cgmgr.drivers.dryrun:DryRun",
    "systemd": "cgmgr.drivers.systemd:Systemd",
}


def usual(host: Host) -> str:
    """The name of the driver that fits a host: where systemd is process 1, there is one writer."""
    booted = os.path.isdir(os.path.join(host.root, BOOTED))
    return "systemd" if booted else "cgroupfs"


def plain_name(said: str) -> str:
    """A group's name where names are paths: "x" is "/cgmgr/x", "/a/b" is itself."""
    if said.strip("/") == "":
        raise RequestError(
            f"invalid group name {said!r}: the root is not a group of ours",
            operation="name group",
            value=said,
        )
    return check_path(said if said.startswith("/") else f"{PARENT}/{said}")


def load(name: str, host: Host) -> Driver:
    """The driver of that name, for that host.  Raises `DriverError`, which lists what there is."""
    place = TABLE.get(name) or _entry_point(name)
    if place is None:
        known = ", ".join(sorted(TABLE))
        raise DriverError(
            f"no driver {name!r}: there are {known}", operation="load driver", value=name
        )
    from importlib import import_module

    module, _, attribute = place.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DriverError(
            f"load driver {name!r} from {place}: {error}", operation="load driver", value=name
        ) from error
    driver: Driver = factory(host)
    return driver


def _entry_point(name: str) -> str | None:
    from importlib.metadata import entry_points

    found = entry_points(group="cgmgr.drivers", name=name)
    return next((point.value for point in found), None)
