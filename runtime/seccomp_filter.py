"""The program for a `Filter` on this machine: from the cache, else made and kept there.

Law: what the kernel cannot do is refused before a program is looked for.  The cache is a folder of
its user's alone; what is in it and is not as it was written is as if it were not there, for it
decides what a container may do.  A cache that cannot be used costs time, nothing else.

An entry is called by the digest of all that makes the program, and holds a digest of that and the
program, then the program.
"""

from __future__ import annotations

import contextlib
import os
import stat

from cgmgr import linux, statefile
from cgmgr.errors import CgmgrError, HostError

from . import seccomp
from .seccomp_bpf import INSTRUCTION, compiled
from .seccomp_names import COMPILE, Library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from .seccomp import Filter

FOLDER: Final = "seccomp"
#: a program that is made in another way gets another number, so that no old one is taken for it
FORMAT: Final = 1
#: of 4 KiB or so each, in a file system in memory
MOST_ENTRIES: Final = 64
_DIGEST_BYTES: Final = 32
_MORE_THAN_ANY: Final = 1 << 20

_libraries: list[Library] = []


def demand(asked: Filter) -> None:
    """Raise `HostError` for an action or a flag that is not to be had here."""
    probes: list[tuple[str, Callable[[int], None], int]] = [
        ("seccomp filters (CONFIG_SECCOMP_FILTER)", linux.seccomp_knows_flags, 0)
    ]
    for word, bit in _FLAGS.items():
        if bit & asked.flags:
            probes.append((word, linux.seccomp_knows_flags, bit | _with(bit)))
    actions = {asked.default, *(action for _, action, _ in asked.rules)}
    kinds = {action & linux.SECCOMP_RET_ACTION_FULL for action in actions}
    for word, kind in seccomp.ACTIONS.items():
        if kind in kinds:
            probes.append((word, linux.seccomp_knows_action, kind))
    for word, knows, value in probes:
        try:
            knows(value)
        except OSError as error:
            raise HostError(
                f"the container's seccomp filter needs {word}, which this kernel has not",
                operation=COMPILE,
                value=word,
                errno=error.errno,
            ) from error


def known_flags() -> list[str]:
    """The flags of a config.json that this kernel knows."""
    found: list[str] = []
    for word, bit in seccomp.FLAGS.items():
        with contextlib.suppress(OSError):
            linux.seccomp_knows_flags(bit | _with(bit))
            found.append(word)
    return found


_FLAGS: Final = {
    **seccomp.FLAGS,
    "SECCOMP_FILTER_FLAG_NEW_LISTENER": linux.SECCOMP_FILTER_FLAG_NEW_LISTENER,
}


def _with(bit: int) -> int:
    """What has to be asked for together with a flag (seccomp(2))."""
    waits = bit == linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    return linux.SECCOMP_FILTER_FLAG_NEW_LISTENER if waits else 0


def program(asked: Filter, root: str) -> bytes:
    """The filter's program; `root` is the state root in which the cache is.

    Raises `HostError` without libseccomp, and `RequestError` for a program that is too long.
    """
    if not _libraries:
        _libraries.append(Library())
    library = _libraries[0]
    key = _key(asked, library)
    folder = _opened(root)
    try:
        found = _read(key, folder)
        if found is None:
            found = compiled(asked, library)
            _write(key, found, folder)
        return found
    finally:
        if folder >= 0:
            os.close(folder)


def _key(asked: Filter, library: Library) -> str:
    import hashlib
    import json

    uname = os.uname()
    about = [FORMAT, library.version, uname.machine, uname.release]
    text = json.dumps([*about, asked.default, asked.architectures, asked.rules])
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _sealed(key: str, program: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(key.encode("ascii") + program).digest() + program


def _opened(root: str) -> int:
    """The cache's folder; -1 where it cannot be had or somebody else could write there."""
    path = f"{root}/{FOLDER}"
    try:
        os.makedirs(root, statefile.DIRECTORY_MODE, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, statefile.DIRECTORY_MODE)
        fd = os.open(path, statefile.DIRECTORY)
    except OSError:
        return -1
    if _private(os.fstat(fd)):
        return fd
    os.close(fd)
    return -1


def _private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _read(key: str, folder: int) -> bytes | None:
    if folder < 0:
        return None
    try:
        fd = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or not _private(status):
                return None
            data = os.read(fd, _MORE_THAN_ANY)
        finally:
            os.close(fd)
    except OSError:
        return None
    found = data[_DIGEST_BYTES:]
    whole = len(found) > 0 and len(found) % INSTRUCTION.size == 0
    return found if whole and data == _sealed(key, found) else None


def _write(key: str, program: bytes, folder: int) -> None:
    if folder < 0:
        return
    fresh = f"{key}.{os.urandom(4).hex()}"
    with contextlib.suppress(OSError, CgmgrError):
        statefile.write(fresh, _sealed(key, program), folder)
        try:
            os.rename(fresh, key, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            statefile.unlink(fresh, folder)
            raise
        _make_room(folder)


def _make_room(folder: int) -> None:
    """The oldest go, and with them what a killed process left half written."""
    names = os.listdir(folder)
    if len(names) <= MOST_ENTRIES:
        return
    ages: list[tuple[int, str]] = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            ages.append((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, name))
    for _, name in sorted(ages)[: len(ages) - MOST_ENTRIES]:
        statefile.unlink(name, folder)
