"""Which mounts a container gets, from its config.json, and in which order.

Law: pure but for `observe`, which looks at what is to be bound.  Everything else about a container
is `cgmgr.runtime.compile`'s.

Source: config.md and config-linux.md of the OCI runtime specification 1.2; the devices and links of
/dev are those of its "Default Devices" and "Dev symbolic links".
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from cgmgr.errors import RequestError
from cgmgr.record import Record
from cgmgr.resources.document import Node

from . import cgroups, mounts, overlay
from .cgroups import HierarchyMount
from .devices import MakeDevice
from .overlay import MountOverlay
from .root import NOT_ON_THE_HOST, clean
from .steps import (
    BindRoot,
    ChangeMount,
    MakeDirectory,
    MakeSymlink,
    MountBind,
    MountNew,
    Step,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Final

#: how the document is called in messages
NAME: Final = "config.json"
#: annotations by which a config.json asks for an overlay; the value of the first is a lowerdir=
LAYERS: Final = "cgmgr.overlay.lowerdir"
VOLATILE: Final = "cgmgr.overlay.volatile"

DEVICES: Final = tuple(
    MakeDevice(path=path, kind="c", major=major, minor=minor)
    for path, major, minor in (
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/random", 1, 8),
        ("/dev/urandom", 1, 9),
        ("/dev/tty", 5, 0),
    )
)
LINKS: Final = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)
#: a file system that must be found under its own name
_EXACT: Final = frozenset({"/proc", "/sys", "/dev"})


class Facts(Record):
    """What was observed: the cgroup hierarchies, and which sources of binds are no directories."""

    hierarchies: tuple[HierarchyMount, ...] = ()
    files: frozenset[str] = frozenset()


def observe(
    document: Mapping[str, Any], bundle: str, hierarchies: tuple[HierarchyMount, ...]
) -> Facts:
    """Look at the sources of the binds.  Raises `RequestError` for one that is not there, and for a
    place in one that is missing: it would have to be made on the host."""
    files: set[str] = set()
    config = Node(document, NAME)
    for mount in config.nodes("mounts"):
        if not _is_bind(mount):
            continue
        source = _source(mount, bundle)
        try:
            status = os.stat(source)
        except OSError as error:
            raise RequestError(
                f"mount {source!r}: {(error.strerror or '').lower()}",
                operation="mount",
                path=source,
                errno=error.errno,
                hint=f"mkdir -p {source}",
            ) from error
        if not stat.S_ISDIR(status.st_mode):
            files.add(source)
    _refuse_missing_on_host(config, bundle, files)
    return Facts(hierarchies=hierarchies, files=frozenset(files))


def _refuse_missing_on_host(config: Node, bundle: str, files: set[str]) -> None:
    above: list[tuple[str, str | None]] = []  # destinations, with the host's path under a bind
    for mount in config.nodes("mounts"):
        place = _destination(mount)
        source = _source(mount, bundle) if _is_bind(mount) else None
        make = "touch" if source in files else "mkdir -p"
        _refuse_missing_in(above, place, f"mount on {place}", make)
        above.append((place, source))
    cwd = working_directory(config.node("process"))
    _refuse_missing_in(above, cwd, f"working directory {cwd}", "mkdir -p")


def _refuse_missing_in(
    above: list[tuple[str, str | None]], path: str, what: str, make: str
) -> None:
    for place, source in reversed(above):
        if not _below_any(path, (place,)):
            continue
        if source is not None and _is_missing(source, path[len(place) :]):
            raise RequestError(
                f"{what}: {NOT_ON_THE_HOST}, which {place} is",
                operation="make container",
                path=source + path[len(place) :],
                value=path,
                errno=errno.ENOENT,
                hint=f"{make} {source}{path[len(place) :]}",
            )
        return


def _is_missing(source: str, below: str) -> bool:
    """What lies behind a link is left to `Root.ensure`, which refuses the same when it is there."""
    there = source
    for part in below.split("/")[1:]:
        there = f"{there}/{part}"
        if os.path.islink(there):
            return False
    return not os.path.lexists(there)


def root(config: Node, bundle: str, facts: Facts) -> Iterator[Step]:
    """The root file system: the layers that the annotations name, or a directory of the bundle."""
    annotations = config.node("annotations")
    if not annotations.has(LAYERS):
        directory = config.node("root")
        directory.required("path")
        path = directory.text("path") or ""
        yield BindRoot(path=posixpath.join(bundle, path))
        return
    directories, files = _mount_points(config, bundle, facts)
    yield MountOverlay(
        bundle=bundle,
        lowers=overlay.split_layers(annotations.text(LAYERS) or ""),
        volatile=annotations.text(VOLATILE) == "true",
        directories=directories,
        files=files,
    )


def _mount_points(
    config: Node, bundle: str, facts: Facts
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The directories and the files that must be there in the root file system itself."""
    directories: list[str] = []
    files: list[str] = []
    mounted: list[str] = []
    for mount in config.nodes("mounts"):
        path = _destination(mount)
        if not _below_any(path, mounted):
            is_file = _is_bind(mount) and _source(mount, bundle) in facts.files
            (files if is_file else directories).append(path)
        mounted.append(path)
    if not _below_any("/dev/null", mounted):
        files += [device.path for device in DEVICES]
    asked = [place_of(device, "path") for device in config.node("linux").nodes("devices")]
    files += [path for path in asked if not _below_any(path, mounted)]
    cwd = working_directory(config.node("process"))
    if cwd != "/" and not _below_any(cwd, [*mounted, *directories]):
        directories.append(cwd)
    return tuple(directories), tuple(files)


def _below_any(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _is_bind(mount: Node) -> bool:
    return mount.text("type") == "bind" or bool({"bind", "rbind"} & {*mount.texts("options")})


def _source(mount: Node, bundle: str) -> str:
    """A bind's source; a relative one is below the bundle (config.md, "mounts")."""
    return posixpath.normpath(posixpath.join(bundle, mount.text("source") or ""))


def _destination(mount: Node) -> str:
    return place_of(mount, "destination")


def place_of(node: Node, key: str) -> str:
    """A path below "/"; a relative one starts there (config.md 1.2, "mounts")."""
    place = clean(node.text(key) or "")
    if place == "/":
        raise refused(node.at(key), "it must be below /")
    return place


def mounts_of(config: Node, bundle: str, made: tuple[str, ...], facts: Facts) -> Iterator[Step]:
    """The mounts, in the order in which they are listed; `made` are the new namespaces."""
    for mount in config.nodes("mounts"):
        destination, options = _destination(mount), mount.texts("options")
        fstype = mount.text("type") or ""
        mounts.parse(options)
        if _is_bind(mount):
            source = _source(mount, bundle)
            yield MountBind(source=source, destination=destination, options=options)
        elif fstype in ("cgroup", "cgroup2"):
            yield from _cgroup_mounts(destination, options, "cgroup" in made, facts)
        else:
            yield MountNew(
                fstype=fstype or "none",
                destination=destination,
                options=options,
                source=mount.text("source") or "",
                exact=destination in _EXACT,
            )


def _cgroup_mounts(
    destination: str, options: tuple[str, ...], private: bool, facts: Facts
) -> Iterator[Step]:
    """In a cgroup namespace each hierarchy is mounted anew, which shows the container's group as
    its root; without one the host's own mounts are shown."""
    if not private:
        words = tuple("rro" if word == "ro" else word for word in options)
        words = tuple(word for word in words if word not in ("bind", "rbind"))
        source = cgroups.PLACE
        yield MountBind(source=source, destination=destination, options=("rbind", *words))
        return
    if not facts.hierarchies:
        return
    if not all(hierarchy.name for hierarchy in facts.hierarchies):
        yield MountNew(fstype="cgroup2", destination=destination, options=options, source="cgroup")
        return
    writable = tuple(word for word in options if word != "ro")
    yield MountNew(
        fstype="tmpfs",
        destination=destination,
        options=(*writable, "mode=755", "size=64k"),
        source="tmpfs",
    )
    for hierarchy in facts.hierarchies:
        yield MountNew(
            fstype=hierarchy.fstype,
            destination=f"{destination}/{hierarchy.name}",
            options=(*options, *hierarchy.options),
            source="cgroup",
        )
        for link in hierarchy.links:
            yield MakeSymlink(target=hierarchy.name, path=f"{destination}/{link}")
    if "ro" in options:
        yield ChangeMount(path=destination, options=("ro",))


def missing_directory(config: Node) -> Iterator[Step]:
    """The working directory, where `root` does not make it: in a mount, or without layers."""
    cwd = working_directory(config.node("process"))
    mounted = [_destination(mount) for mount in config.nodes("mounts")]
    in_mount = cwd not in mounted and _below_any(cwd, mounted)
    if cwd != "/" and (in_mount or not config.node("annotations").has(LAYERS)):
        yield MakeDirectory(path=cwd)


def devices(config: Node) -> Iterator[Step]:
    """The usual ones, but for those that are asked for; none into a /dev that is the host's."""
    if any(_destination(m) == "/dev" and _is_bind(m) for m in config.nodes("mounts")):
        return
    asked = {place_of(device, "path") for device in config.node("linux").nodes("devices")}
    yield from (device for device in DEVICES if device.path not in asked)
    for target, path in LINKS:
        yield MakeSymlink(target=target, path=path)


def working_directory(process: Node) -> str:
    """Where the program starts."""
    cwd = process.text("cwd") or ""
    if not cwd.startswith("/"):
        raise refused(process.at("cwd"), "it must be an absolute path")
    return clean(cwd)


def refused(place: str, reason: str) -> RequestError:
    """The error for a value of config.json that cannot be."""
    return RequestError(f"{place}: {reason}", operation=f"read {place}")
