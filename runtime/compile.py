"""From a config.json to the steps that make the container.

Law: pure.  What depends on the host was observed before (`layout.Facts`); what this runtime does
not do is refused by name, never left out.  The mounts are `cgmgr.runtime.layout`'s.

Source: config.md and config-linux.md of the OCI runtime specification 1.2.
"""

from __future__ import annotations

from cgmgr.record import Record
from cgmgr.resources.document import Node
from cgmgr.units import MAX_U32, MAX_U64

from . import capabilities, layout, namespaces, seccomp, sysctl
from .console import NewTerminal
from .devices import KINDS, MakeDevice
from .handshake import Program
from .identity import (
    OOM_SCORES,
    RLIMITS,
    BecomeUser,
    Hostname,
    LoopbackUp,
    OomScore,
    Rlimit,
    WorkingDirectory,
    above_hard,
)
from .layout import NAME, refused
from .steps import ChangeMount, Mask, Propagation, ReadOnly, Step, SwitchRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Final

    from .seccomp import Filter

_MOST_ID: Final = MAX_U32 - 1  # (uid_t) -1 means "leave it" in setresuid(2)
_MOST_ROWS: Final = 0xFFFF  # struct winsize, ioctl_tty(2)

#: what the specification knows and this runtime does not, by place: refused where it says anything.
#: What the specification does not know either is ignored, as it demands ("Extensibility").
_REFUSED: Final = {
    "": ("hooks", "solaris", "windows", "vm", "zos", "freebsd"),
    "process": (
        "apparmorProfile",
        "commandLine",
        "execCPUAffinity",
        "ioPriority",
        "scheduler",
        "selinuxLabel",
    ),
    "linux": (
        "gidMappings",
        "intelRdt",
        "memoryPolicy",
        "mountLabel",
        "netDevices",
        "personality",
        "timeOffsets",
        "uidMappings",
    ),
}
NOT_JOINED: Final = frozenset({"user", "mount", "time"})
NOT_YET_NEW: Final = frozenset({"user", "time"})
_PROPAGATION: Final = {
    "": "rslave",
    "slave": "rslave",
    "rslave": "rslave",
    "private": "rprivate",
    "rprivate": "rprivate",
}


class Setup(Record):
    """A container, compiled: the namespaces that its first process is cloned into (CLONE_NEW*), and
    those that it joins, by name and path; the steps that it takes, and what it executes then, under
    a `filter` of system calls.  `grouped` names what of the config.json only a group can hold, ""
    where it asks for none.  `about` is what somebody whom the filter asks is told of the container.
    """

    clone_flags: int
    steps: tuple[Step, ...]
    program: Program
    grouped: str = ""
    joined: tuple[tuple[str, str], ...] = ()
    filter: Filter | None = None
    about: dict[str, Any] = {}  # noqa: RUF012

    def describe(self) -> list[str]:
        """One line for each thing that is done, in their order."""
        made = [n.name for n in namespaces.TABLE if n.flag & self.clone_flags]
        return [
            f"clone a process into new namespaces: {', '.join(made)}",
            *(f"enter the {name} namespace {path}" for name, path in self.joined),
            *(step.describe() for step in self.steps),
            *([self.filter.describe()] if self.filter is not None else ()),
            f"exec {' '.join(self.program.argv)}",
        ]


def compile_config(document: Mapping[str, Any], bundle: str, facts: layout.Facts) -> Setup:
    """The steps for a config.json.  Raises `RequestError` for what cannot be done."""
    config = Node(document, NAME)
    _refuse_undone(document, config)
    process, linux = config.node("process"), config.node("linux")
    program = Program(argv=_args(process), env=_env(process))
    made, joined = _namespaces(linux)
    asked = seccomp.read(linux)
    read_only = bool(config.node("root").boolean("readonly"))
    steps = (
        Propagation(kind=_propagation(linux)),
        *_host_names(config, made, joined),
        *sysctl.steps(linux, {*made, *joined}),
        *_oom_score(process),
        *layout.root(config, bundle, facts),
        *layout.mounts_of(config, bundle, made, facts),
        *layout.devices(config),
        *_devices(linux),
        *layout.missing_directory(config),
        *_terminal(process),
        *(Mask(path=path) for path in linux.texts("maskedPaths")),
        *(ReadOnly(path=path) for path in linux.texts("readonlyPaths")),
        *((ChangeMount(path="/", options=("ro",)),) if read_only else ()),
        SwitchRoot(),
        *_rlimits(process),
        WorkingDirectory(path=layout.working_directory(process)),
        _user(process, filtered=asked is not None),
    )
    return Setup(
        clone_flags=namespaces.flags(made),
        joined=tuple(joined.items()),
        steps=steps,
        program=program,
        grouped=_of_a_group(linux),
        filter=asked,
        about=_about(document, bundle, "creating"),
    )


def compile_process(
    document: Mapping[str, Any], entry: Step, of: Mapping[str, Any], bundle: str
) -> Setup:
    """The steps for a process that enters a container, by `entry`, which names what it enters.  Of
    the container's config.json, `of`, its system calls are filtered as the container's are."""
    process, config = Node(document, "process"), Node(of, NAME)
    asked = seccomp.read(config.node("linux"))
    _refuse_undone_of("process", document, process)
    steps = (
        *_oom_score(process),
        entry,
        *_terminal(process),
        *_rlimits(process),
        WorkingDirectory(path=layout.working_directory(process)),
        _user(process, filtered=asked is not None),
    )
    program = Program(argv=_args(process), env=_env(process))
    about = _about(of, bundle, "running")
    return Setup(clone_flags=0, steps=steps, program=program, filter=asked, about=about)


def _about(document: Mapping[str, Any], bundle: str, status: str) -> dict[str, Any]:
    """The state of a container, but for its id and process."""
    return {
        "ociVersion": document.get("ociVersion") or "",
        "status": status,
        "bundle": bundle,
        "annotations": document.get("annotations") or {},
    }


def _of_a_group(linux: Node) -> str:
    """What the group that the caller makes has to hold; what is empty asks for nothing."""
    if linux.text("cgroupsPath"):
        return linux.at("cgroupsPath")
    return linux.at("resources") if any(linux.node("resources").keys()) else ""


def _refuse_undone(document: Mapping[str, Any], config: Node) -> None:
    """What is empty asks for nothing."""
    for place in _REFUSED:
        node = config.node(place) if place else config
        part: Mapping[str, Any] = (document.get(place) or {}) if place else document
        _refuse_undone_of(place, part, node)


def _refuse_undone_of(place: str, part: Mapping[str, Any], node: Node) -> None:
    for key, value in part.items():
        if key in _REFUSED[place] and value:
            raise refused(node.at(key), "it is not supported")


def _args(process: Node) -> tuple[str, ...]:
    process.required("args", "cwd")
    args = process.texts("args")
    if not args or not args[0]:
        raise refused(process.at("args"), "there is no command")
    return args


def _env(process: Node) -> tuple[str, ...]:
    env = process.texts("env")
    malformed = [pair for pair in env if pair.find("=") < 1]
    if malformed:
        raise refused(process.at("env"), f"{malformed[0]!r} is not NAME=VALUE")
    return env


def _namespaces(linux: Node) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those that are new, and those that are there already, with their paths."""
    made: list[str] = []
    joined: dict[str, str] = {}
    for entry in linux.nodes("namespaces"):
        name = namespaces.named(entry.text("type") or "").name
        if name in made or name in joined:
            raise refused(entry.at("type"), f"{name} is there twice")
        path = entry.text("path") or ""
        if not path:
            made.append(name)
        elif name in NOT_JOINED:
            raise refused(entry.at("path"), f"joining a {name} namespace is not supported")
        elif not path.startswith("/"):
            raise refused(entry.at("path"), f"{path!r} is not an absolute path")
        else:
            joined[name] = path
    if "mount" not in made:
        raise refused(linux.at("namespaces"), "a mount namespace is needed")
    unsupported = sorted(NOT_YET_NEW & set(made))
    if unsupported:
        raise refused(linux.at("namespaces"), f"{unsupported[0]} is not supported")
    return tuple(made), joined


def _propagation(linux: Node) -> str:
    asked = linux.text("rootfsPropagation") or ""
    if asked not in _PROPAGATION:
        raise refused(linux.at("rootfsPropagation"), f"{asked} is not supported")
    return _PROPAGATION[asked]


def _devices(linux: Node) -> Iterator[Step]:
    for device in linux.nodes("devices"):
        device.required("path", "type", "major", "minor")
        kind = device.text("type") or ""
        if kind not in KINDS:
            raise refused(device.at("type"), f"{kind!r} is not supported")
        mode = device.whole("fileMode", 0, 0o7777)
        yield MakeDevice(
            path=layout.place_of(device, "path"),
            kind=kind,
            major=device.whole("major", 0, MAX_U32) or 0,
            minor=device.whole("minor", 0, MAX_U32) or 0,
            mode=0o666 if mode is None else mode,
            uid=device.whole("uid", 0, _MOST_ID) or 0,
            gid=device.whole("gid", 0, _MOST_ID) or 0,
        )


def _host_names(config: Node, made: tuple[str, ...], joined: Mapping[str, str]) -> Iterator[Step]:
    hostname, domainname = config.text("hostname") or "", config.text("domainname") or ""
    if hostname or domainname:
        if "uts" not in made and "uts" not in joined:
            raise refused(config.at("hostname"), "it needs a uts namespace of its own")
        yield Hostname(hostname=hostname, domainname=domainname)
    if "network" in made:
        yield LoopbackUp()


def _oom_score(process: Node) -> Iterator[Step]:
    value = process.whole("oomScoreAdj", *OOM_SCORES)
    if value is not None:
        yield OomScore(value=value)


def _terminal(process: Node) -> Iterator[Step]:
    if process.boolean("terminal"):
        size = process.node("consoleSize")
        yield NewTerminal(
            uid=process.node("user").whole("uid", 0, _MOST_ID) or 0,
            rows=size.whole("height", 0, _MOST_ROWS) or 0,
            columns=size.whole("width", 0, _MOST_ROWS) or 0,
        )


def _rlimits(process: Node) -> Iterator[Step]:
    for limit in process.nodes("rlimits"):
        kind = limit.text("type") or ""
        name = kind.removeprefix("RLIMIT_")
        if name not in RLIMITS:
            raise refused(limit.at("type"), f"unknown limit {kind!r}")
        soft, hard = _limit(limit, "soft"), _limit(limit, "hard")
        if above_hard(soft, hard):
            raise refused(limit.at("soft"), "it is above the hard limit")
        yield Rlimit(name=name, soft=soft, hard=hard)


def _limit(limit: Node, key: str) -> int:
    """RLIM_INFINITY is all ones in config.json, -1 for setrlimit."""
    limit.required(key)
    value = limit.whole(key, 0, MAX_U64)
    return -1 if value is None or value == MAX_U64 else value


def _user(process: Node, *, filtered: bool = False) -> BecomeUser:
    new_privileges = not process.boolean("noNewPrivileges")
    user, sets = process.node("user"), process.node("capabilities")
    masks = {name: capabilities.mask_of(sets.texts(name)) for name in _SETS}
    # the kernel takes no other (capabilities(7)); `runc spec` and `crun spec` ask for some
    masks["ambient"] &= masks["permitted"] & masks["inheritable"]
    umask = user.whole("umask", 0, 0o777)
    return BecomeUser(
        uid=user.whole("uid", 0, _MOST_ID) or 0,
        gid=user.whole("gid", 0, _MOST_ID) or 0,
        groups=user.wholes("additionalGids", 0, _MOST_ID),
        umask=0o022 if umask is None else umask,
        no_new_privileges=not new_privileges,
        # a filter is loaded last, which without no_new_privs takes this (seccomp(2))
        until_exec=capabilities.mask_of(("SYS_ADMIN",)) if filtered and new_privileges else 0,
        **masks,
    )


_SETS: Final = ("bounding", "effective", "permitted", "inheritable", "ambient")
