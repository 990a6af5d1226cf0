"""Open directories of groups, kept for the next use: as many as the process can spare descriptors.

Law: the one thing here that is of the whole process, because descriptors are.  What is put away to
make room is closed when the last one who works with it, in any thread, lets go of it; so nobody may
keep the number of a descriptor instead of its `Directory`.  Every act is one operation on a dict:
there is no lock that a forked child could find taken.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    from cgmgr.kernfs import Directory

#: which part of the descriptors that a process may have, its soft RLIMIT_NOFILE, are for this
SHARE: Final = 4

#: tries without anything to let go of, before it is believed that there is no room
MOST_IDLE: Final = 3

#: the oldest first, by the `id` of the holder, who drops what is its own before it goes, and a key
_kept: dict[tuple[int, str], Directory] = {}


def get(holder: object, key: str) -> Directory | None:
    """What the holder put here, unless it had to make room."""
    return _kept.get((id(holder), key))


def keep(holder: object, key: str, directory: Directory) -> None:
    """Keep a directory for its holder, and put the oldest away where there are too many."""
    _kept[id(holder), key] = directory
    if len(_kept) > 16:  # asking for the limit is a system call
        most = _most()
        while len(_kept) > most and _drop_oldest():
            pass


def drop(holder: object, keys: Iterable[str]) -> None:
    """Let go of what is the holder's."""
    for key in keys:
        _kept.pop((id(holder), key), None)


def opened(file: str, flags: int, folder: int, mode: int = 0o777) -> int:
    """open(2) in a folder; where no descriptor is left, what is only kept makes room."""
    return with_room(lambda: os.open(file, flags, mode, dir_fd=folder))


def with_room(act: Callable[[], int]) -> int:
    """What `act` opens; where no descriptor is left, here or in the system, it is tried again once
    what is only kept was let go.  Other threads may take that room first, or be the ones who made
    it, so some tries may fail."""
    idle = 0
    while True:
        try:
            return act()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            idle = 0 if clear() else idle + 1
            if idle > MOST_IDLE:
                raise


def clear() -> bool:
    """Let go of everything; whether there was anything."""
    dropped = False
    while _drop_oldest():
        dropped = True
    return dropped


def _drop_oldest() -> bool:
    try:
        oldest = next(iter(_kept))
    except StopIteration:
        return False
    except RuntimeError:  # another thread was at it
        return True
    _kept.pop(oldest, None)
    return True


def _most() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft // SHARE if soft != resource.RLIM_INFINITY else 1 << 20
