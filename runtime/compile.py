"""From a config.json to the steps that make the container.

Law: pure.  What depends on the host was observed before (`Facts`); what this runtime does not do is
refused by name, never left out.

Source: config.md and config-linux.md of the OCI runtime specification 1.2; the devices and links of
/dev are those of its "Default Devices" and "Dev symbolic links".
"""

from __future__ import annotations

import os
import posixpath
import stat

from cgmgr.errors import RequestError
from cgmgr.record import Record

from . import capabilities, cgroups, mounts, namespaces, overlay
from .cgroups import HierarchyMount
from .console import NewTerminal
from .document import flag, number, numbers, object_, objects, text, texts, wrong
from .handshake import Program
from .identity import (
    RLIMITS,
    BecomeUser,
    Hostname,
    LoopbackUp,
    OomScore,
    Rlimit,
    WorkingDirectory,
)
from .overlay import MountOverlay
from .root import clean
from .steps import (
    BindDevice,
    BindRoot,
    ChangeMount,
    MakeSymlink,
    Mask,
    MountBind,
    MountNew,
    Propagation,
    ReadOnly,
    Step,
    SwitchRoot,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from .document import Object

#: annotations by which a config.json asks for an overlay; the value of the first is a lowerdir=
LAYERS: Final = "cgmgr.overlay.lowerdir"
VOLATILE: Final = "cgmgr.overlay.volatile"

DEVICES: Final = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
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

#: what is understood, by place; the rest of the specification is refused
_KNOWN: Final = {
    "": (
        "ociVersion",
        "process",
        "root",
        "hostname",
        "domainname",
        "mounts",
        "linux",
        "annotations",
    ),
    "process": (
        "terminal",
        "consoleSize",
        "user",
        "args",
        "env",
        "cwd",
        "capabilities",
        "rlimits",
        "noNewPrivileges",
        "oomScoreAdj",
    ),
    "linux": (
        "namespaces",
        "maskedPaths",
        "readonlyPaths",
        "rootfsPropagation",
        "cgroupsPath",
        "resources",
    ),
}
_PROPAGATION: Final = {
    "": "rslave",
    "slave": "rslave",
    "rslave": "rslave",
    "private": "rprivate",
    "rprivate": "rprivate",
}


class Facts(Record):
    """What was observed: the cgroup hierarchies, and which sources of binds are no directories."""

    hierarchies: tuple[HierarchyMount, ...] = ()
    files: frozenset[str] = frozenset()


class Setup(Record):
    """A container, compiled: the namespaces that its first process is cloned into (CLONE_NEW*), the
    steps that it takes, and what it executes then."""

    clone_flags: int
    steps: tuple[Step, ...]
    program: Program

    def describe(self) -> list[str]:
        """One line for each thing that is done, in their order."""
        made = [n.name for n in namespaces.TABLE if n.flag & self.clone_flags]
        return [
            f"clone a process into new namespaces: {', '.join(made)}",
            *(step.describe() for step in self.steps),
            f"exec {' '.join(self.program.argv)}",
        ]


def observe(config: Object, bundle: str, hierarchies: tuple[HierarchyMount, ...]) -> Facts:
    """Look at the sources of the binds.  Raises `RequestError` for one that is not there."""
    files: set[str] = set()
    for mount in objects(config, "mounts"):
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
    return Facts(hierarchies=hierarchies, files=frozenset(files))


def compile_config(config: Object, bundle: str, facts: Facts) -> Setup:
    """The steps for a config.json.  Raises `RequestError` for what cannot be done."""
    _refuse_unknown(config)
    process, linux = object_(config, "process"), object_(config, "linux")
    made = _namespaces(linux)
    read_only = flag(object_(config, "root"), "readonly")
    steps = (
        Propagation(kind=_propagation(linux)),
        *_host_names(config, made),
        *_oom_score(process),
        *_root(config, bundle, facts),
        *_mounts(config, bundle, made, facts),
        *_devices(config),
        *_terminal(process),
        *(Mask(path=path) for path in texts(linux, "maskedPaths")),
        *(ReadOnly(path=path) for path in texts(linux, "readonlyPaths")),
        *((ChangeMount(path="/", options=("ro",)),) if read_only else ()),
        SwitchRoot(),
        *_rlimits(process),
        WorkingDirectory(path=_cwd(process)),
        _user(process),
    )
    return Setup(
        clone_flags=namespaces.flags(made),
        steps=steps,
        program=Program(argv=texts(process, "args"), env=_env(process)),
    )


def _refuse_unknown(config: Object) -> None:
    for place, known in _KNOWN.items():
        part = object_(config, place) if place else config
        unknown = sorted(key for key, value in part.items() if key not in known and value)
        if unknown:
            name = f"{place}.{unknown[0]}" if place else unknown[0]
            raise wrong(name, "it is not supported")
    if not texts(object_(config, "process"), "args"):
        raise wrong("process.args", "there is no command")


def _env(process: Object) -> tuple[str, ...]:
    env = texts(process, "env")
    malformed = [pair for pair in env if pair.find("=") < 1]
    if malformed:
        raise wrong("process.env", f"{malformed[0]!r} is not NAME=VALUE")
    return env


def _cwd(process: Object) -> str:
    cwd = text(process, "cwd")
    if not cwd.startswith("/"):
        raise wrong("process.cwd", "it must be an absolute path")
    return clean(cwd)


def _namespaces(linux: Object) -> tuple[str, ...]:
    made: list[str] = []
    for entry in objects(linux, "namespaces"):
        path = text(entry, "path")
        if path:
            raise wrong("linux.namespaces", f"joining one ({path}) is not supported")
        made.append(namespaces.named(text(entry, "type")).name)
    if "mount" not in made:
        raise wrong("linux.namespaces", "a mount namespace is needed")
    unsupported = sorted({"user", "time"} & set(made))
    if unsupported:
        raise wrong("linux.namespaces", f"{unsupported[0]} is not supported")
    return tuple(made)


def _propagation(linux: Object) -> str:
    asked = text(linux, "rootfsPropagation")
    if asked not in _PROPAGATION:
        raise wrong("linux.rootfsPropagation", f"{asked} is not supported")
    return _PROPAGATION[asked]


def _host_names(config: Object, made: tuple[str, ...]) -> Iterator[Step]:
    hostname, domainname = text(config, "hostname"), text(config, "domainname")
    if hostname or domainname:
        if "uts" not in made:
            raise wrong("hostname", "it needs a uts namespace of its own")
        yield Hostname(hostname=hostname, domainname=domainname)
    if "network" in made:
        yield LoopbackUp()


def _oom_score(process: Object) -> Iterator[Step]:
    value = number(process, "oomScoreAdj")
    if value is not None:
        yield OomScore(value=value)


def _root(config: Object, bundle: str, facts: Facts) -> Iterator[Step]:
    annotations = object_(config, "annotations")
    if LAYERS not in annotations:
        path = text(object_(config, "root"), "path")
        if not path:
            raise wrong("root.path", "it is missing")
        yield BindRoot(path=posixpath.join(bundle, path))
        return
    directories, files = _mount_points(config, bundle, facts)
    yield MountOverlay(
        bundle=bundle,
        lowers=overlay.split_layers(text(annotations, LAYERS)),
        volatile=text(annotations, VOLATILE) == "true",
        directories=directories,
        files=files,
    )


def _mount_points(
    config: Object, bundle: str, facts: Facts
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The directories and the files that must be there in the root file system itself."""
    directories: list[str] = []
    files: list[str] = []
    mounted: list[str] = []
    for mount in objects(config, "mounts"):
        path = _destination(mount)
        if not _below_any(path, mounted):
            is_file = _is_bind(mount) and _source(mount, bundle) in facts.files
            (files if is_file else directories).append(path)
        mounted.append(path)
    if not _below_any("/dev/null", mounted):
        files += [path for path, _, _ in DEVICES]
    cwd = _cwd(object_(config, "process"))
    if cwd != "/" and not _below_any(cwd, [*mounted, *directories]):
        directories.append(cwd)
    return tuple(directories), tuple(files)


def _below_any(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _is_bind(mount: Object) -> bool:
    return text(mount, "type") == "bind" or bool({"bind", "rbind"} & {*texts(mount, "options")})


def _source(mount: Object, bundle: str) -> str:
    """A bind's source; a relative one is below the bundle (config.md, "mounts")."""
    return posixpath.normpath(posixpath.join(bundle, text(mount, "source")))


def _destination(mount: Object) -> str:
    """A relative one starts at "/" (config.md 1.2, "mounts")."""
    destination = clean(text(mount, "destination"))
    if destination == "/":
        raise wrong("mounts", "a destination must be below /")
    return destination


def _mounts(config: Object, bundle: str, made: tuple[str, ...], facts: Facts) -> Iterator[Step]:
    for mount in objects(config, "mounts"):
        destination, options = _destination(mount), texts(mount, "options")
        fstype = text(mount, "type")
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
                source=text(mount, "source"),
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
    alone = facts.hierarchies[0]
    if not alone.name:
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


def _devices(config: Object) -> Iterator[Step]:
    """None into a /dev that is the host's."""
    if any(_destination(m) == "/dev" and _is_bind(m) for m in objects(config, "mounts")):
        return
    for path, major, minor in DEVICES:
        yield BindDevice(path=path, major=major, minor=minor)
    for target, path in LINKS:
        yield MakeSymlink(target=target, path=path)


def _terminal(process: Object) -> Iterator[Step]:
    if flag(process, "terminal"):
        size = object_(process, "consoleSize")
        yield NewTerminal(
            uid=number(object_(process, "user"), "uid") or 0,
            rows=number(size, "height") or 0,
            columns=number(size, "width") or 0,
        )


def _rlimits(process: Object) -> Iterator[Step]:
    for limit in objects(process, "rlimits"):
        kind = text(limit, "type")
        name = kind.removeprefix("RLIMIT_")
        if name not in RLIMITS:
            raise wrong("process.rlimits", f"unknown limit {kind!r}")
        yield Rlimit(name=name, soft=_limit(limit, "soft"), hard=_limit(limit, "hard"))


def _limit(limit: Object, key: str) -> int:
    """RLIM_INFINITY is all ones in config.json, -1 for setrlimit."""
    value = number(limit, key)
    if value is None:
        raise wrong("process.rlimits", f"{key} is missing")
    return -1 if value == (1 << 64) - 1 else value


def _user(process: Object) -> BecomeUser:
    user, sets = object_(process, "user"), object_(process, "capabilities")
    masks = {name: capabilities.mask_of(texts(sets, name)) for name in _SETS}
    umask = number(user, "umask")
    return BecomeUser(
        uid=number(user, "uid") or 0,
        gid=number(user, "gid") or 0,
        groups=numbers(user, "additionalGids"),
        umask=0o022 if umask is None else umask,
        no_new_privileges=flag(process, "noNewPrivileges"),
        **masks,
    )


_SETS: Final = ("bounding", "effective", "permitted", "inheritable", "ambient")
