"""Cgroup files: the only module that opens them.

Law: a `Tree` is one mounted hierarchy, a `Directory` one open group in it.  Paths are resolved
beneath the tree's root by openat2 without symbolic links, so no name can lead out; files are opened
relative to a directory descriptor, are never created or truncated, and a value is one write(2).
What the kernel says no to becomes one of `cgmgr.errors`, with path and value.  What a file means is
not known here, nor is any retry.
"""

from __future__ import annotations

import errno
import os

from cgmgr import linux, shelf
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    GroupBusy,
    GroupGone,
    HostError,
    NotDelegated,
    RequestError,
    kernel_error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_BENEATH = (
    linux.RESOLVE_BENEATH
    | linux.RESOLVE_NO_SYMLINKS
    | linux.RESOLVE_NO_MAGICLINKS
    | linux.RESOLVE_NO_XDEV
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW

#: how much is read at once
CHUNK = 65536
#: A seq_file fills at least half a page before it stops between records (fs/seq_file.c), and no
#: record of a cgroup file is that long: a shorter answer is the whole file, and saves a read(2).
WHOLE = 2048

#: What an optional file says when it is not to be had: absent, switched off (PSI without psi=1
#: answers EOPNOTSUPP), or gone between open and read.
ABSENT = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL})

NAME_MAX = 255


def wrong_with(name: str) -> str:
    """Why the kernel can have no group of that name, or would look elsewhere; "" where it can.

    What a group that we make may be called is a narrower matter: `cgmgr.names`.
    """
    reasons = (
        (not name, "it is empty"),
        (name in (".", ".."), "it is no name"),
        ("/" in name, "it contains /"),
        ("\0" in name or "\n" in name, "it contains a control character"),
        (len(os.fsencode(name)) > NAME_MAX, f"it is longer than {NAME_MAX} bytes"),
    )
    return next((text for wrong, text in reasons if wrong), "")


def check_path(path: str) -> str:
    """A group's path as "/a/b"; "/" is the tree's root.  Raises `RequestError` for one that leads
    anywhere else."""
    inside = path.strip("/")
    parts = inside.split("/") if inside else []
    for name in parts:
        if reason := wrong_with(name):
            shown = name if len(name) <= 60 else name[:57] + "..."
            raise RequestError(
                f"invalid group name {shown!r}: {reason}", operation="name group", value=name
            )
    return "/" + "/".join(parts)


def parent_of(path: str) -> str:
    """ "/a/b" is below "/a", "/a" below "/"."""
    return path.rpartition("/")[0] or "/"


def ancestors_of(path: str) -> list[str]:
    """Every group above `path`, the root first: of "/a/b" they are "/" and "/a"."""
    parts = path.strip("/").split("/")
    return ["/", *("/" + "/".join(parts[:end]) for end in range(1, len(parts)))] if parts[0] else []


def top_of(path: str) -> str:
    """The first group on the way down: "/a" of "/a/b/c"."""
    return "/" + path.strip("/").partition("/")[0]


def join(base: str, *names: str) -> str:
    """`names` below the group `base`."""
    path = base.rstrip("/")
    for name in names:
        if inside := name.strip("/"):
            path = f"{path}/{inside}"
    return path or "/"


def translate(operation: str, path: str, error: OSError, value: str | None = None) -> CgmgrError:
    """The error of ours for an errno of the kernel's."""
    number = error.errno or 0
    plain = kernel_error(operation, path, error, value=value)
    details = {"operation": operation, "path": path, "value": value, "errno": number}
    if number in (errno.EACCES, errno.EPERM):
        hint = None if os.geteuid() == 0 else "cgmgr doctor # what this user may do"
        return NotDelegated(plain.message, hint=hint, **details)  # type: ignore[arg-type]
    if number == errno.EROFS:
        hint = f"mount -o remount,bind,rw {path.rpartition('/')[0]}"
        return HostError(plain.message, hint=hint, **details)  # type: ignore[arg-type]
    if number == errno.EBUSY and operation in ("remove", "attach", "enable"):
        return GroupBusy(plain.message, operation=operation, path=path, value=value, errno=number)
    if number == errno.ENODEV:
        return GroupGone(plain.message, **details)  # type: ignore[arg-type]
    return plain


class Directory:
    """One open group.  Use as a context manager, or close it.

    Every method raises `GroupGone` when the group was removed, `NotDelegated` for EACCES and EPERM,
    `HostError` for a read-only mount, `KernelError` for the rest; errno is always set.
    """

    __slots__ = ("fd", "path", "tree")

    def __init__(self, tree: Tree, path: str, fd: int) -> None:
        self.tree = tree
        self.path = path
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        """Close the descriptor; twice does no harm."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def name_of(self, file: str) -> str:
        """The file's absolute path, for messages and for people."""
        return self.tree.absolute(join(self.path, file))

    def read(self, file: str) -> str:
        """The file's text, read to its end."""
        try:
            fd = shelf.opened(file, _READ, self.fd)
        except OSError as error:
            raise self._failed("read", file, error) from error
        try:
            data = os.read(fd, CHUNK)
            if len(data) >= WHOLE:
                while more := os.read(fd, CHUNK):
                    data += more
        except OSError as error:
            raise self._failed("read", file, error) from error
        finally:
            os.close(fd)
        return data.decode("utf-8", "surrogateescape")

    def try_read(self, file: str) -> str | None:
        """The file's text, or None where it is absent or switched off (`ABSENT`)."""
        try:
            return self.read(file)
        except CgmgrError as error:
            # ENODEV: the file alone may have gone, with its controller
            if isinstance(error, GroupGone) and not self.has("cgroup.procs"):
                raise
            if error.errno in ABSENT:
                return None
            raise

    def write(self, file: str, value: str) -> None:
        """Write the value, in one write(2)."""
        try:
            self.tree.write_file(self, file, value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            operation = _OPERATIONS.get(file, "write")
            raise self._failed(operation, file, error, value) from error

    def open(self, file: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a file, for poll, eventfd or a child process.  The caller closes it."""
        try:
            return shelf.opened(file, flags | os.O_CLOEXEC | os.O_NOFOLLOW, self.fd)
        except OSError as error:
            raise self._failed("open", file, error) from error

    def has(self, file: str) -> bool:
        """Whether the file is there."""
        return os.access(file, os.F_OK, dir_fd=self.fd, follow_symlinks=False)

    def mode_of(self, file: str) -> int:
        """The file's permission bits: some say what the kernel lets one do (memory.peak)."""
        try:
            return os.stat(file, dir_fd=self.fd, follow_symlinks=False).st_mode & 0o777
        except OSError as error:
            raise self._failed("stat", file, error) from error

    def files(self) -> list[str]:
        """The names of the kernel's files here, sorted."""
        with os.scandir(self.fd) as entries:
            return sorted(e.name for e in entries if not e.is_dir(follow_symlinks=False))

    def children(self) -> list[str]:
        """The names of the groups directly below, sorted; none if this group is gone."""
        try:
            with os.scandir(self.fd) as entries:
                return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return []
            raise translate("list", self.tree.absolute(self.path), error) from error

    def _failed(
        self, operation: str, file: str, error: OSError, value: str | None = None
    ) -> CgmgrError:
        path = self.name_of(file)
        if error.errno == errno.ENOENT:
            if not self.has("cgroup.procs"):
                return GroupGone(
                    f"{operation} {path}: the group is gone",
                    operation=operation,
                    path=path,
                    value=value,
                    errno=errno.ENOENT,
                )
            controller = file.partition(".")[0]
            return ControllerUnavailable(
                f"{operation} {path}: this group has no such file",
                controller=controller,
                missing_at=self.tree.absolute(self.path),
                operation=operation,
                path=path,
                value=value,
                errno=errno.ENOENT,
            )
        return translate(operation, path, error, value)


#: files whose write has a name of its own, for messages and for `GroupBusy`
_OPERATIONS = {
    "cgroup.procs": "attach",
    "cgroup.threads": "attach",
    "tasks": "attach",
    "cgroup.subtree_control": "enable",
}


class Tree:
    """One mounted hierarchy, or the visible part of it: `mountpoint` and everything below.

    `magic` None skips the check that this is a cgroup file system, for a recorded tree of another
    host.  Raises `HostError` when the mount point is not what it should be.
    """

    def __init__(self, mountpoint: str, magic: int | None = None) -> None:
        self.mountpoint = mountpoint
        self._parent: Directory | None = None
        try:
            self._root = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise translate("open", mountpoint, error) from error
        if magic is not None and linux.fstatfs_type(self._root) != magic:
            self.close()
            raise HostError(
                f"open {mountpoint}: not a cgroup file system", operation="open", path=mountpoint
            )

    def close(self) -> None:
        """Close the root's descriptor; twice does no harm."""
        self._parent = None
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __del__(self) -> None:
        if hasattr(self, "_root"):
            self.close()

    def absolute(self, path: str) -> str:
        """The path as seen from outside, for messages and for people."""
        return self.mountpoint + (path if path != "/" else "")

    def open(self, path: str) -> Directory:
        """The group at `path`; `GroupGone` where there is none."""
        return Directory(self, path, self._open(path))

    def exists(self, path: str) -> bool:
        """Whether there is a group at `path`.  No descriptor is made of it, so a link matters
        not."""
        try:
            os.stat(path.strip("/") or ".", dir_fd=self._root, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
                return False
            raise translate("find", self.absolute(path), error) from error
        return True

    def mkdir(self, path: str) -> None:
        """Make one group.  EEXIST and the rest as `KernelError`, with errno."""
        self._in_parent("create", path, os.mkdir)

    def rmdir(self, path: str) -> None:
        """Remove one group: rmdir(2), never its files.  `GroupBusy` while it is in use."""
        self._in_parent("remove", path, os.rmdir)

    def write_file(self, directory: Directory, file: str, data: bytes) -> None:
        """The one place that writes.  Raises `OSError`; `Directory.write` gives it its words."""
        fd = shelf.opened(file, _WRITE, directory.fd)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def _open(self, path: str) -> int:
        inside = (check_path(path) if ".." in path else path).strip("/") or "."
        try:
            return shelf.with_room(lambda: linux.openat2(self._root, inside, _DIRECTORY, _BENEATH))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
                raise GroupGone(
                    f"open {self.absolute(path)}: no such group",
                    operation="open",
                    path=self.absolute(path),
                    errno=error.errno,
                ) from error
            if error.errno in (errno.ENOSYS,):
                return self._open_by_steps(path)
            raise translate("open", self.absolute(path), error) from error

    def _open_by_steps(self, path: str) -> int:
        """As openat2 beneath, for kernels before 5.6: one component at a time, no links."""
        fd = os.open(".", _DIRECTORY, dir_fd=self._root)
        for name in check_path(path).strip("/").split("/") if path.strip("/") else ():
            try:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                raise GroupGone(
                    f"open {self.absolute(path)}: no such group",
                    operation="open",
                    path=self.absolute(path),
                    errno=error.errno,
                ) from error
            finally:
                os.close(fd)
            fd = below
        return fd

    def _in_parent(self, operation: str, path: str, act: Callable[..., None]) -> None:
        name = path.rpartition("/")[2]
        try:
            parent = self._open_parent(path)
            try:
                act(name, dir_fd=parent.fd)
            except FileNotFoundError:
                # the parent may have been removed, and made again, since it was opened
                self._parent = None
                parent = self._open_parent(path)
                act(name, dir_fd=parent.fd)
        except OSError as error:
            if isinstance(error, CgmgrError):
                raise
            if operation == "remove" and error.errno in (errno.ENOENT, errno.ENODEV):
                raise GroupGone(
                    f"remove {self.absolute(path)}: no such group",
                    operation=operation,
                    path=self.absolute(path),
                    errno=error.errno,
                ) from error
            raise translate(operation, self.absolute(path), error) from error

    def _open_parent(self, path: str) -> Directory:
        """The directory that a group is made in, kept open: groups are made where others were.

        Another thread may put another one in its place; this one is open as long as you hold it.
        """
        wanted = parent_of(path)
        parent = self._parent
        if parent is None or parent.path != wanted:
            parent = self._parent = Directory(self, wanted, self._open(wanted))
        return parent
