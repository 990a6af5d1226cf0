"""The directory that becomes a container's "/", open, and paths in it.

Law: every path is resolved by the kernel within the open directory (openat2, RESOLVE_IN_ROOT): an
absolute link starts at that directory, `..` stops there, and magic links of /proc are refused, so
nothing that a root file system holds can lead out of it.  Failures are `OSError` whose filename is
the path as the container sees it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from cgmgr import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_INSIDE: Final = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
_EXACT: Final = _INSIDE | linux.RESOLVE_NO_SYMLINKS
#: why something in a volume stays missing
NOT_ON_THE_HOST: Final = "it is missing, and nothing is made in a directory of the host"
#: path_resolution(7)
_MAX_LINKS: Final = 40


class Root:
    """An open root directory.  Descriptors that methods return are the caller's to close.

    What is missing is made in the mount of the directory itself and in file systems that were added
    by `own`; all else may be the host's, where nothing is made.
    """

    __slots__ = ("_mount", "_own", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._own: set[int] = set()
        self._mount = -1

    def own(self, fd: int) -> None:
        """The file system is the container's alone: no mount of the host's is of the same one."""
        self._own.add(os.fstat(fd).st_dev)

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """A descriptor of what is there, links followed inside the root."""
        return self._openat2(path, flags, _INSIDE)

    def open_exact(self, path: str, flags: int = os.O_PATH) -> int:
        """As `open`, but ELOOP where any component is a symbolic link."""
        return self._openat2(path, flags, _EXACT)

    def kind(self, path: str) -> int | None:
        """The file type (stat.S_IFMT) of what is there, links followed; None where nothing is."""
        try:
            fd = self.open(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return stat.S_IFMT(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def ensure(self, path: str, *, directory: bool) -> int:
        """An O_PATH descriptor of a directory or of a file, made where it is missing.

        Links are resolved inside the root, dangling ones too: their target is made.  Raises ENOTDIR
        or EISDIR where something of the other kind is there.
        """
        try:
            fd = self.open(path)
        except FileNotFoundError:
            fd = self._make_below(path, directory)
        wrong = stat.S_ISDIR(os.fstat(fd).st_mode) != directory
        if wrong:
            os.close(fd)
            number = errno.ENOTDIR if directory else errno.EISDIR
            raise OSError(number, os.strerror(number), path)
        return fd

    def _make_below(self, path: str, directory: bool) -> int:
        """Where only the last component is missing, as nearly always, make that alone."""
        above, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return self._make(path, directory)
        try:
            parent = self.open(above, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            return self._make(path, directory)
        try:
            self._make_in(parent, name, path, directory)
            return linux.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, _EXACT)
        except FileExistsError:
            return self._make(path, directory)  # a link, which leads nowhere yet
        finally:
            os.close(parent)

    def _make(self, path: str, directory: bool) -> int:
        """Walk as path_resolution(7) does, making what is missing on the way."""
        pending = _components(path)[::-1]
        done: list[str] = []
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                del done[-1:]
                continue
            target = self._link_at(done, name, path, last_is_directory=directory or bool(pending))
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done.clear()
            pending += _components(target)[::-1]
        return self._openat2("/".join(done), os.O_PATH, _EXACT)

    def _link_at(
        self, done: list[str], name: str, path: str, *, last_is_directory: bool
    ) -> str | None:
        """The link's target if `name` is one; else None, after making it where it is missing."""
        try:
            fd = self._openat2("/".join((*done, name)), os.O_PATH | os.O_NOFOLLOW, _EXACT)
        except FileNotFoundError:
            parent = self._openat2("/".join(done), os.O_PATH | os.O_DIRECTORY, _EXACT)
            try:
                self._make_in(parent, name, path, last_is_directory)
            finally:
                os.close(parent)
            return None
        try:
            return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link, and the directories above it where they are missing."""
        above, _, name = path.rpartition("/")
        parent = self.ensure(above, directory=True)
        try:
            self.refuse_hosts(parent, path)
            os.symlink(target, name, dir_fd=parent)
        finally:
            os.close(parent)

    def _make_in(self, parent: int, name: str, path: str, directory: bool) -> None:
        """Make a directory or an empty file in an open directory; `path` is for the error."""
        self.refuse_hosts(parent, path)
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=parent))
        except OSError as error:
            error.filename = path
            raise

    def is_own(self, fd: int) -> bool:
        """Whether what is made in that directory is not the host's."""
        if os.fstat(fd).st_dev in self._own:
            return True
        if self._mount < 0:
            self._mount = _mount_id(self.fd)
        return _mount_id(fd) == self._mount

    def refuse_hosts(self, parent: int, path: str) -> None:
        """Raises ENOENT, of `path`, where it would have to be made on the host."""
        if not self.is_own(parent):
            raise OSError(errno.ENOENT, NOT_ON_THE_HOST, path)

    def _openat2(self, path: str, flags: int, resolve: int) -> int:
        try:
            return linux.openat2(self.fd, path.lstrip("/") or ".", flags, resolve)
        except OSError as error:
            # errno decides the class, which OSError() picks when it is made
            raise OSError(
                error.errno, os.strerror(error.errno or 0), "/" + path.lstrip("/")
            ) from None


def _mount_id(fd: int) -> int:
    """Of the mount that a descriptor is on (proc_pid_fdinfo(5))."""
    info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(info, 4096)
    finally:
        os.close(info)
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def clean(path: str) -> str:
    """A container's path without `.`, `..`, `//` and a trailing `/`; relative ones start at "/"."""
    return "/" + posixpath.normpath("/" + path).lstrip("/")


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
