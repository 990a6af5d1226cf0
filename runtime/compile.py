"""From a config.json to the steps that make the container.

Law: pure.  What depends on the host was observed before (`layout.Facts`); what this runtime does
not do is refused by name, never left out.  The mounts are `cgmgr.runtime.layout`'s.

Source: config.md and config-linux.md of the OCI runtime specification 1.2.
"""

from __future__ import annotations

from cgmgr.record import Record

from . import capabilities, layout, namespaces
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
from .steps import ChangeMount, Mask, Propagation, ReadOnly, Step, SwitchRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from .document import Object

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


def compile_config(config: Object, bundle: str, facts: layout.Facts) -> Setup:
    """The steps for a config.json.  Raises `RequestError` for what cannot be done."""
    _refuse_unknown(config)
    process, linux = object_(config, "process"), object_(config, "linux")
    made = _namespaces(linux)
    read_only = flag(object_(config, "root"), "readonly")
    steps = (
        Propagation(kind=_propagation(linux)),
        *_host_names(config, made),
        *_oom_score(process),
        *layout.root(config, bundle, facts),
        *layout.mounts_of(config, bundle, made, facts),
        *layout.devices(config),
        *_terminal(process),
        *(Mask(path=path) for path in texts(linux, "maskedPaths")),
        *(ReadOnly(path=path) for path in texts(linux, "readonlyPaths")),
        *((ChangeMount(path="/", options=("ro",)),) if read_only else ()),
        SwitchRoot(),
        *_rlimits(process),
        WorkingDirectory(path=layout.working_directory(process)),
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
