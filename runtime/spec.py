"""A container as it is asked for, and the OCI config.json that describes it.

Law: `build` is pure but for the user database and the directory that the root file system names,
and the file of a seccomp profile; it makes nothing.  Whatever is wrong with a request is a
`RequestError` from here, before anything is made.  From config.json on, nothing looks at the
request again.

The defaults are the secure ones: see `DEFAULT_MOUNTS`, `MASKED` and `READ_ONLY`, which are runc's,
`capabilities.DEFAULT`, `namespaces.DEFAULT` and `seccomp_profile.builtin`.

Source: config.md, config-linux.md of the OCI runtime specification 1.2.
"""

from __future__ import annotations

import os
import re

from cgmgr import kernfs, names
from cgmgr.errors import RequestError
from cgmgr.record import Record

from . import capabilities, namespaces, overlay, seccomp_profile, users
from .identity import OOM_SCORES, RLIMITS, above_hard
from .layout import LAYERS, VOLATILE
from .root import clean
from .volumes import Tmpfs, Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from cgmgr.resources import Resources

    from .devices import Device
    from .users import Identity

OCI_VERSION: Final = "1.2.0"
#: the built-in image: this machine's own root
HOST: Final = "host"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_BYTES: Final = 64 << 20

#: type, source, destination, options; as `runc spec` writes them, but /dev is noexec too
DEFAULT_MOUNTS: Final = (
    ("proc", "proc", "/proc", ("nosuid", "noexec", "nodev")),
    ("tmpfs", "tmpfs", "/dev", ("nosuid", "noexec", "strictatime", "mode=755", "size=65536k")),
    (
        "devpts",
        "devpts",
        "/dev/pts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("mqueue", "mqueue", "/dev/mqueue", ("nosuid", "noexec", "nodev")),
    ("sysfs", "sysfs", "/sys", ("nosuid", "noexec", "nodev", "ro")),
    ("cgroup", "cgroup", "/sys/fs/cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)
#: for the image `host` also: what runs there belongs to the host
HOST_RUN: Final = ("tmpfs", "tmpfs", "/run", ("nosuid", "nodev", "mode=755", "size=65536k"))

MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

#: RLIM_INFINITY (asm-generic/resource.h): -1 as a number of 64 bits
_RLIM_INFINITY: Final = (1 << 64) - 1

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_HOSTNAME: Final = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?\Z")
_HOST_NAME_MAX: Final = 64


class Ulimit(Record):
    """A resource limit of the container's processes: `name` as in RLIMIT_NAME, -1 is no limit."""

    name: str
    soft: int
    hard: int

    def check(self) -> None:
        if self.name.upper() not in RLIMITS:
            reason = f"unknown limit {self.name!r}, there are {', '.join(RLIMITS).lower()}"
        elif above_hard(self.soft, self.hard):
            reason = "the soft limit is above the hard one"
        else:
            return
        raise _refused("--ulimit", f"{self.name}={self.soft}:{self.hard}", reason)


class ContainerRequest(Record):
    """A container as it is asked for.

    `rootfs` is `HOST` or a directory; `env` holds NAME=VALUE; `namespaces` are those of its own, so
    without "cgroup" it sees the host's groups.  With `writable_cgroups` root may make groups below
    the container's own.  `cgroups_path` is the group's name.  `cwd` is made
    if it is missing.  `console_size` is rows and columns.  `devices` are nodes: what may be done
    with them is for the rules among `resources` (`Device.rule`).  `seccomp` is "builtin",
    "unconfined" or the path of a profile in docker's format.
    """

    id: str
    rootfs: str
    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    hostname: str = ""
    volumes: tuple[Volume, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    devices: tuple[Device, ...] = ()
    read_only: bool = False
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    capabilities: tuple[str, ...] = capabilities.DEFAULT
    no_new_privileges: bool = True
    seccomp: str = seccomp_profile.BUILTIN
    namespaces: tuple[str, ...] = namespaces.DEFAULT
    writable_cgroups: bool = False
    cgroups_path: str = ""
    resources: Resources | None = None
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int | None = None
    shm_bytes: int = SHM_BYTES

    def check(self) -> None:
        check_id(self.id)
        for name in ("argv", "env"):
            for text in getattr(self, name):
                _no_nul(name, text)
        if not self.argv or not self.argv[0]:
            raise _refused("command", "", "there is none")
        for pair in self.env:
            if pair.partition("=")[0] == "" or "=" not in pair:
                raise _refused("--env", pair, "write NAME=VALUE")
        _no_nul("--security-opt", self.seccomp)
        _no_nul("--workdir", self.cwd)
        if not self.cwd.startswith("/"):
            raise _refused("--workdir", self.cwd, "it must be an absolute path")
        if self.hostname and (
            not _HOSTNAME.match(self.hostname) or len(self.hostname) > _HOST_NAME_MAX
        ):
            raise _refused(
                "--hostname", self.hostname, "letters, digits, - and ., at most 64 characters"
            )
        for name in self.capabilities:
            capabilities.plain_name(name)
        for name in self.namespaces:
            namespaces.named(name)
        if "mount" not in self.namespaces:
            raise _refused("namespaces", " ".join(self.namespaces), "mount must be among them")
        if self.writable_cgroups and "cgroup" not in self.namespaces:
            raise _refused(
                "--security-opt",
                "writable-cgroups",
                "all groups of the host would be its own, leave out --cgroupns host",
            )
        if self.shm_bytes < 0:
            raise _refused("--shm-size", str(self.shm_bytes), "it must not be negative")
        least, most = OOM_SCORES
        if self.oom_score_adj is not None and not least <= self.oom_score_adj <= most:
            raise _refused(
                "--oom-score-adj", str(self.oom_score_adj), f"write one of {least} to {most}"
            )
        self._check_destinations()

    def _check_destinations(self) -> None:
        seen: set[str] = set()
        places: tuple[Volume | Tmpfs, ...] = (*self.volumes, *self.tmpfs)
        for place in places:
            path = clean(place.destination)
            if path in seen:
                raise _refused("--volume", path, "two mounts have this destination")
            seen.add(path)


def check_id(name: str) -> str:
    """A container's name: letters, digits, `_`, `.` and `-`, not one of these first; at most 255
    bytes; and what a group may be called (`cgmgr.names`).  Raises `RequestError`."""
    if len(name) > kernfs.NAME_MAX:
        raise _refused("--name", name[:40] + "...", f"more than {kernfs.NAME_MAX} characters")
    if not _NAME.match(name):
        raise _refused("--name", name, "letters, digits, _ . -, the first a letter or a digit")
    return names.check_name(name, "--name")


def new_id() -> str:
    """A name for a container that was given none: 12 random hexadecimal digits, as many
    as docker shows of its ids."""
    return os.urandom(6).hex()


def layers(request: ContainerRequest) -> tuple[str, ...]:
    """The directories below the container's own layer.  Raises `RequestError` where the root file
    system is not there, or is no directory."""
    if request.rootfs == HOST:
        return ("/",)
    _no_nul("--rootfs", request.rootfs)
    if not request.rootfs:
        raise _refused("--rootfs", "", "it is empty")
    path = os.path.abspath(request.rootfs)
    if not os.path.isdir(path):
        there = os.path.lexists(path)
        reason = "it is no directory" if there else "there is no such directory"
        raise _refused("--rootfs", request.rootfs, reason)
    return (path,)


def build(request: ContainerRequest, store: str) -> dict[str, Any]:
    """The config.json of a request.  `store` is hidden from a container in whose root it lies.

    Raises `RequestError` for a root file system, a user or a group that is not there.
    """
    lowers = layers(request)
    identity = users.resolve(lowers[0], request.user)
    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(request, identity),
        "root": {"path": overlay.MERGED, "readonly": request.read_only},
        "mounts": _mounts(request),
        "linux": _linux(request, _within(lowers[0], store)) | _seccomp(request),
        "annotations": {LAYERS: overlay.join_layers(lowers), VOLATILE: "true"},
    }
    if "uts" in request.namespaces:
        config["hostname"] = _hostname(request)
    return config


def _hostname(request: ContainerRequest) -> str:
    return request.hostname or request.id[:12].rstrip("-._").replace("_", "-")


def _process(request: ContainerRequest, identity: Identity) -> dict[str, Any]:
    process: dict[str, Any] = {
        "terminal": request.terminal,
        "user": {
            "uid": identity.uid,
            "gid": identity.gid,
            "additionalGids": list(identity.groups),
            "umask": 0o022,
        },
        "args": list(request.argv),
        "env": _env(request, identity),
        "cwd": clean(request.cwd),
        "capabilities": _capabilities(request, identity),
        "rlimits": [
            {
                "type": f"RLIMIT_{u.name.upper()}",
                "soft": u.soft & _RLIM_INFINITY,
                "hard": u.hard & _RLIM_INFINITY,
            }
            for u in request.ulimits
        ],
        "noNewPrivileges": request.no_new_privileges,
    }
    if request.console_size:
        rows, columns = request.console_size
        process["consoleSize"] = {"height": rows, "width": columns}
    if request.oom_score_adj is not None:
        process["oomScoreAdj"] = request.oom_score_adj
    return process


def _env(request: ContainerRequest, identity: Identity) -> list[str]:
    """Nothing is inherited.  What is asked for comes last, and overrides."""
    values = {"PATH": PATH, "HOSTNAME": _hostname(request), "HOME": identity.home}
    if "uts" not in request.namespaces:
        del values["HOSTNAME"]
    if request.terminal:
        values["TERM"] = "xterm"
    for pair in request.env:
        name, _, value = pair.partition("=")
        values[name] = value
    return [f"{name}={value}" for name, value in values.items()]


def _capabilities(request: ContainerRequest, identity: Identity) -> dict[str, list[str]]:
    """For a user who is not root only the bounding set, which is what exec would leave him."""
    names = [f"CAP_{capabilities.plain_name(name)}" for name in request.capabilities]
    held = names if identity.uid == 0 else []
    return {
        "bounding": names,
        "effective": held,
        "permitted": held,
        "inheritable": [],
        "ambient": [],
    }


def _mounts(request: ContainerRequest) -> list[dict[str, Any]]:
    """From the shallowest to the deepest, so that none hides another.  One that is asked for
    replaces a default one in the same place."""
    asked = [
        _mount("bind", v.source, v.destination, ("rbind", *v.options)) for v in request.volumes
    ]
    asked += [_mount("tmpfs", "tmpfs", t.destination, t.options) for t in request.tmpfs]
    taken = {mount["destination"] for mount in asked}
    default = [_mount(*mount) for mount in _default_mounts(request) if mount[2] not in taken]
    return sorted((*default, *asked), key=lambda mount: mount["destination"].count("/"))


def _default_mounts(
    request: ContainerRequest,
) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    for fstype, source, place, options in DEFAULT_MOUNTS:
        refused = "ro" if fstype == "cgroup" and request.writable_cgroups else ""
        yield fstype, source, place, tuple(word for word in options if word != refused)
    size = f"size={request.shm_bytes}"
    yield "tmpfs", "shm", "/dev/shm", ("nosuid", "noexec", "nodev", "mode=1777", size)
    if request.rootfs == HOST:
        yield HOST_RUN


def _mount(fstype: str, source: str, path: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {
        "destination": clean(path),
        "type": fstype,
        "source": source,
        "options": list(options),
    }


def _within(root: str, store: str) -> tuple[str, ...]:
    """The store as a container with that root sees it; nothing where it does not."""
    top, place = os.path.realpath(root), os.path.realpath(store)
    if os.path.commonpath((top, place)) != top:
        return ()
    return (clean(os.path.relpath(place, top)),)


def _linux(request: ContainerRequest, hidden: tuple[str, ...]) -> dict[str, Any]:
    masked = [*MASKED, *hidden]
    linux: dict[str, Any] = {
        "namespaces": [{"type": name} for name in request.namespaces],
        "maskedPaths": masked,
        "readonlyPaths": [*READ_ONLY],
    }
    if request.devices:
        linux["devices"] = [_device(device) for device in request.devices]
    if request.cgroups_path:
        linux["cgroupsPath"] = request.cgroups_path
    if request.resources is not None:
        from cgmgr.resources.oci import to_oci

        linux["resources"] = to_oci(request.resources)
    return linux


def _seccomp(request: ContainerRequest) -> dict[str, Any]:
    """The whole of the profile, as it is for this container on this machine."""
    if request.seccomp == seccomp_profile.UNCONFINED:
        return {}
    held = tuple(capabilities.plain_name(name) for name in request.capabilities)
    situation = seccomp_profile.Situation.here(held)
    if request.seccomp == seccomp_profile.BUILTIN:
        return {"seccomp": seccomp_profile.builtin(situation)}
    found = seccomp_profile.from_file(request.seccomp, situation)
    return {"seccomp": found} if found is not None else {}


def _device(device: Device) -> dict[str, Any]:
    return {
        "path": clean(device.path),
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


def _no_nul(what: str, text: str) -> None:
    if "\0" in text:
        raise _refused(what, text, "it contains a NUL")


def _refused(what: str, text: str, reason: str) -> RequestError:
    shown = f" {text!r}" if text else ""
    return RequestError(f"{what}{shown}: {reason}", operation=what, value=text)
