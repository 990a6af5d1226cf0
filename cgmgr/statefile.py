"""The files of a state directory, one system call or two each.

Law: everything is relative to the descriptor of an open folder, and -1 is a folder that is not
there.  What the files are for is `cgmgr.statedir`'s.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr import shelf
from cgmgr.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: The sticky bit keeps files in XDG_RUNTIME_DIR from being cleaned up after six hours (XDG Base
#: Directory Specification).
FILE_MODE: Final = 0o1600
DIRECTORY_MODE: Final = 0o1700
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(name: str, above: int, create: bool) -> int:
    if create:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=above)
    return shelf.opened(name, DIRECTORY, above)


def check_private(fd: int, path: str) -> None:
    """Whoever could write here could have any group killed by a forged record."""
    status = os.fstat(fd)
    user = os.geteuid()
    if status.st_uid == user and not status.st_mode & 0o077:
        return
    os.close(fd)
    raise HostError(
        f"open {path}: it must belong to user {user} alone, "
        f"and belongs to {status.st_uid} with mode {status.st_mode & 0o7777:o}",
        operation="open",
        path=path,
        hint=f"chown {user} {path} && chmod 1700 {path}",
    )


def write(file: str, data: bytes, folder: int) -> None:
    """Write a file from its beginning; when this raises, it is not there."""
    try:
        fd = shelf.opened(file, FILE | os.O_CREAT | os.O_TRUNC, folder, FILE_MODE)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
    except BaseException:
        unlink(file, folder)
        raise


def rename(file: str, into: str, folder: int) -> bool:
    """Give a file another name, in place of whatever had it; whether there was such a file."""
    try:
        os.rename(file, into, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def content(file: str, folder: int) -> bytes | None:
    if folder < 0:
        return None
    try:
        fd = shelf.opened(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, folder)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as opened:
        return opened.read()


def unlink(file: str, folder: int) -> None:
    if folder >= 0:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file, dir_fd=folder)


def exists(file: str, folder: int) -> bool:
    return os.access(file, os.F_OK, dir_fd=folder, follow_symlinks=False)


def is_same(file: str, fd: int, folder: int) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(file, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False
