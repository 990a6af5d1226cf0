"""Devices that a container gets beside the usual ones: what --device says, and their nodes.

Law: docker's grammar in; the file system is looked at for what the host has at a path.  A node says
what a device is; whether it may be used is the group's device filter's (`Device.rule`).  Which a
container gets without asking is `cgmgr.runtime.layout`'s.

Source: docker run(1), "--device"; config-linux.md "Devices" of the OCI specification.
"""

from __future__ import annotations

import os
import stat

from cgmgr.errors import RequestError
from cgmgr.record import Record

from . import mounts
from .root import clean
from .steps import Step, attach_closing, open_device, read_only_device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from .steps import Stage

FLAG: Final = "--device"
_ACCESS: Final = "rwm"
_DEV: Final = "/dev"
#: where a node is made that is to be seen elsewhere; gone before anything of the container runs
_WAITING: Final = ".waiting"
#: type of config.json -> file type; "u" is an unbuffered "c" (mknod(1))
KINDS: Final = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK}


class Device(Record):
    """A device: `kind` is "b" or "c"; `mode`, `uid` and `gid` are those of the node at `path`;
    `access` is what the device filter is to allow, some of r, w and m."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = _ACCESS

    def check(self) -> None:
        if not self.path.startswith("/") or clean(self.path) == "/":
            raise _refused(self.path, "the destination must be an absolute path below /")

    @property
    def rule(self) -> str:
        """In the device filter's words, as --device-cgroup-rule takes them."""
        return f"{self.kind} {self.major}:{self.minor} {self.access}"


def find_devices(text: str) -> tuple[Device, ...]:
    """PATH[:DESTINATION][:ACCESS]; all that are below PATH if that is a directory.

    Raises `RequestError` where nothing is there, or no device.
    """
    source, destination, access = _parse(text)
    try:
        status = os.stat(source)
        if not stat.S_ISDIR(status.st_mode):
            return (_device(text, status, destination, access),)
        found = tuple(_below(text, source, destination, access))
    except OSError as error:
        raise RequestError(
            f"{FLAG} {text!r}: {(error.strerror or str(error)).lower()}",
            operation=FLAG,
            path=source,
            value=text,
            errno=error.errno,
            hint=f"ls -lL {os.path.dirname(source)}",
        ) from error
    if not found:
        raise _refused(text, "there is no device in that directory")
    return found


def _parse(text: str) -> tuple[str, str, str]:
    source, *rest = text.split(":")
    access = rest.pop() if rest and _is_access(rest[-1]) else _ACCESS
    destination = rest.pop() if rest else source
    if rest or not source.startswith("/") or not destination.startswith("/") or "\0" in text:
        raise _refused(text, "write PATH[:DESTINATION][:rwm], with absolute paths")
    return source, clean(destination), access


def _is_access(word: str) -> bool:
    return word != "" and set(word) <= set(_ACCESS) and len(word) == len(set(word))


def _below(text: str, source: str, destination: str, access: str) -> Iterator[Device]:
    """No link is followed, as in docker: /dev/disk/by-id is full of them."""
    for folder, folders, names in os.walk(source, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            path = f"{folder}/{name}"
            status = os.lstat(path)
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                place = destination + path[len(source.rstrip("/")) :]
                yield _device(text, status, clean(place), access)


def _raise(error: OSError) -> None:
    raise error


def _device(text: str, status: os.stat_result, path: str, access: str) -> Device:
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise _refused(text, "that is no device", hint=f"-v {path}:{path}")
    return Device(
        path=path,
        kind=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )


def _refused(text: str, reason: str, hint: str | None = None) -> RequestError:
    return RequestError(f"{FLAG} {text!r}: {reason}", operation=FLAG, value=text, hint=hint)


class MakeDevice(Step):
    """A device node of the container's own.

    Where it may not be made (without CAP_MKNOD, or by the device filter), could not be used (nodev)
    or would be made on the host (a volume), a mount takes its place: of the host's node at the same
    path, or else of one that is made in /dev.
    """

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        owner = f" && chown {self.uid}:{self.gid} {self.path}" if self.uid or self.gid else ""
        node = f"{self.kind} {self.major} {self.minor}"
        return f"mknod -m {self.mode:03o} {self.path} {node}{owner}"

    def execute(self, stage: Stage) -> None:
        above, _, name = self.path.rpartition("/")
        parent = stage.root.ensure(above, directory=True)
        try:
            if stage.root.is_own(parent) and not os.fstatvfs(parent).f_flag & os.ST_NODEV:
                self._make(parent, name)
                return
        except PermissionError:
            pass
        finally:
            os.close(parent)
        self._bind(stage)

    def _make(self, folder: int, name: str) -> None:
        number = os.makedev(self.major, self.minor)
        try:
            os.mknod(name, KINDS[self.kind] | self.mode, number, dir_fd=folder)
        except OSError as error:
            error.filename = self.path
            raise
        if self.uid or self.gid:
            os.chown(name, self.uid, self.gid, dir_fd=folder, follow_symlinks=False)
        os.chmod(name, self.mode, dir_fd=folder)  # what umask took

    def _bind(self, stage: Stage) -> None:
        target = stage.root.ensure(self.path, directory=False)
        try:
            number, kind = (self.major, self.minor), KINDS[self.kind]
            device = open_device(self.path, number, kind)
        except OSError:
            self._bind_waiting(stage, target)
            return
        try:
            tree = read_only_device(device)
        finally:
            os.close(device)
        attach_closing(tree, target)

    def _bind_waiting(self, stage: Stage, target: int) -> None:
        dev = stage.root.open_exact(_DEV, os.O_PATH | os.O_DIRECTORY)
        try:
            stage.root.refuse_hosts(dev, self.path)
            self._make(dev, _WAITING)
            attach_closing(mounts.clone(dev, _WAITING, recursive=False), target)
            os.unlink(_WAITING, dir_fd=dev)
        finally:
            os.close(dev)
