"""A container's directory below the store: made, and removed whatever the container left in it.

Law: only what lies below the directory is touched; no link is followed.  What is in it is
`cgmgr.runtime.overlay`'s layout and config.json.  Who may remove which is decided elsewhere.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from cgmgr.errors import HostError, KernelError, NameTaken, kernel_error

from . import overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

DEFAULT_STORE: Final = "/var/lib/cgmgr/containers"
CONFIG: Final = "config.json"
#: directories are removed by descriptors down to here; a container may nest them deeper than that,
#: than a path may be long, and than descriptors may be open
_DEPTH: Final = 32
_TRASH: Final = ".trash-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def prepare_store(store: str) -> None:
    """Make the store where it is missing, for its owner alone.

    Raises `HostError` where it belongs to somebody else: whoever can write to it could put files
    into containers.
    """
    try:
        os.makedirs(store, 0o700, exist_ok=True)
        status = os.stat(store)
    except OSError as error:
        raise _failed("make store", store, error) from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise HostError(
            f"store {store}: it must belong to user {os.geteuid()}, who alone may write to it",
            operation="make store",
            path=store,
            hint=f"chown {os.geteuid()} {store} && chmod go-w {store}",
        )


def make(store: str, name: str, config: Mapping[str, Any], lowers: tuple[str, ...]) -> str:
    """A new bundle; returns its path.  All of it is made or nothing.

    Raises `NameTaken`, `KernelError` (a full disk, for instance).
    """
    import json

    path = f"{store}/{name}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError as error:
        raise NameTaken(
            f"container {name!r} is there already",
            operation="make container",
            path=path,
            value=name,
            errno=errno.EEXIST,
            hint="cgmgr gc",
        ) from error
    except OSError as error:
        raise _failed("make container", path, error) from error
    try:
        overlay.prepare(path, lowers)
        with open(f"{path}/{CONFIG}", "w", encoding="ascii") as file:
            file.write(json.dumps(config))  # with an indent it takes five times as long
    except BaseException as error:
        remove(path)
        if isinstance(error, OSError):
            raise _failed("make container", path, error) from error
        raise
    return path


def describe(store: str, name: str, lowers: tuple[str, ...]) -> list[str]:
    """What `make` does, a line each, as a shell would do it where a shell could."""
    path = f"{store}/{name}"
    return [f"mkdir -m 700 {path}", *overlay.describe(path, lowers), f"write {path}/{CONFIG}"]


def hold(path: str) -> int:
    """A descriptor that marks the bundle as used, as long as it or a copy of it is open."""
    fd = os.open(path, _DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def held(path: str) -> bool:
    """Whether somebody holds the bundle; not where it is gone."""
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove(path: str) -> None:
    """Remove a bundle and all below it; no error where it is gone.  Raises `KernelError`.

    The first process of its container has ended, so nothing in it changes meanwhile.
    """
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("remove", path, error) from error
    try:
        _empty(fd)
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("remove", path, error) from error
    finally:
        os.close(fd)


def _empty(top: int) -> None:
    """Remove what is below `top`: what lies too deep is moved up into it first, and taken then."""
    moved = _Counter()
    while True:
        _remove_below(top, top, _DEPTH, moved)
        with os.scandir(top) as entries:
            if not any(True for _ in entries):
                return


class _Counter:
    """Names for what is moved up."""

    def __init__(self) -> None:
        self.number = 0

    def next(self) -> str:
        self.number += 1
        return f"{_TRASH}{self.number}"


def _remove_below(directory: int, top: int, depth: int, moved: _Counter) -> None:
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
        elif depth:
            _remove_directory(name, directory, top, depth - 1, moved)
        else:
            _move_up(name, directory, top, moved)


def _remove_directory(name: str, parent: int, top: int, depth: int, moved: _Counter) -> None:
    try:
        below = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        # overlayfs leaves work/work without any permission, which counts without CAP_DAC_OVERRIDE
        os.chmod(name, 0o700, dir_fd=parent)
        below = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        _remove_below(below, top, depth, moved)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=parent)


def _move_up(name: str, directory: int, top: int, moved: _Counter) -> None:
    while True:
        try:
            os.rename(name, moved.next(), src_dir_fd=directory, dst_dir_fd=top)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise


def _failed(operation: str, path: str, error: OSError) -> KernelError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = f"df -h {path}; df -i {path}" if full else None
    if error.errno == errno.EPERM and operation == "remove":
        hint = f"chattr -R -i -a {path}"
    return kernel_error(operation, path, error, hint=hint)


def names(store: str) -> list[str]:
    """The bundles in a store; none where it is missing."""
    try:
        with os.scandir(store) as entries:
            return sorted(
                e.name for e in entries if stat.S_ISDIR(e.stat(follow_symlinks=False).st_mode)
            )
    except FileNotFoundError:
        return []
