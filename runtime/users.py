"""Who `--user` means, by the root file system's own /etc/passwd and /etc/group.

Law: the two files are opened within the root (no link leads out of it), must be plain files, and
are read up to a limit; nothing of the host's user database is asked.

Source: passwd(5), group(5); the meaning of USER[:GROUP] is docker's (moby/sys/user, GetExecUser).
"""

from __future__ import annotations

import os
import stat

from cgmgr.errors import RequestError
from cgmgr.record import Record

from .root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

#: a file of that size is no user database, and would be held in memory
MOST_BYTES: Final = 16 << 20
_MOST_ID: Final = (1 << 32) - 2  # (uid_t) -1 means "leave it" in setresuid(2)


class Identity(Record):
    """Numbers for the kernel, and the home directory for HOME."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(root: str, text: str) -> Identity:
    """USER, UID, USER:GROUP, UID:GID or nothing (root), looked up in the file system at `root`.

    A number needs no entry: its group is then 0.  Without GROUP the supplementary groups are those
    that list the user.  Raises `RequestError` for a name without an entry or a number out of range.
    """
    who, colon, group = text.partition(":")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        users = list(_entries(Root(fd), "/etc/passwd", 7))
        groups = list(_entries(Root(fd), "/etc/group", 4))
    finally:
        os.close(fd)
    name, identity = _user(who or "0", users)
    if colon and group:
        return identity.replace(gid=_group(group, groups), groups=())
    return identity.replace(groups=_groups_of(name, identity.gid, groups))


def _user(who: str, users: list[list[str]]) -> tuple[str, Identity]:
    for entry in users:
        if who in (entry[0], entry[2]):
            identity = Identity(
                uid=_number(entry[2], who), gid=_number(entry[3], who), home=entry[5] or "/"
            )
            return entry[0], identity
    if not who.isdecimal():
        raise _unknown("user", who, "/etc/passwd")
    return "", Identity(uid=_number(who, who))


def _group(name: str, groups: list[list[str]]) -> int:
    for entry in groups:
        if name in (entry[0], entry[2]):
            return _number(entry[2], name)
    if not name.isdecimal():
        raise _unknown("group", name, "/etc/group")
    return _number(name, name)


def _groups_of(user: str, gid: int, groups: list[list[str]]) -> tuple[int, ...]:
    found = {_number(entry[2], user) for entry in groups if user and user in entry[3].split(",")}
    return tuple(sorted(found - {gid}))


def _number(text: str, who: str) -> int:
    number = int(text) if text.isdecimal() and text.isascii() else -1
    if not 0 <= number <= _MOST_ID:
        raise RequestError(
            f"user {who!r}: {text!r} is no user or group id", operation="find user", value=who
        )
    return number


def _unknown(kind: str, name: str, path: str) -> RequestError:
    return RequestError(
        f"{kind} {name!r} has no entry in the container's {path}",
        operation=f"find {kind}",
        path=path,
        value=name,
    )


def _entries(root: Root, path: str, fields: int) -> Iterator[list[str]]:
    """The lines with enough fields and a number; none where the file is not there."""
    for line in _text(root, path).splitlines():
        entry = line.split(":")
        if len(entry) >= fields and entry[0] and entry[2].isdecimal():
            yield entry


def _text(root: Root, path: str) -> str:
    """A fifo there must not block us, a device must not be opened for what opening it does."""
    try:
        place = root.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise RequestError(
            f"open the container's {path}: {(error.strerror or '').lower()}",
            operation="find user",
            path=path,
            errno=error.errno,
        ) from error
    try:
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise RequestError(
                f"the container's {path} is no plain file of at most {MOST_BYTES >> 20} MiB",
                operation="find user",
                path=path,
            )
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(place)
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(MOST_BYTES)
