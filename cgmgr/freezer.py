"""Freeze and thaw one group, and say who froze it.

Law: one open directory, v1 or cgroup2 by the file that is there; confirmed, with a deadline, and
thawed again when it cannot be confirmed.  Sources: cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import select
import time

from cgmgr.errors import ControllerUnavailable, DeadlineExceeded, HostError
from cgmgr.kernfs import parent_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from cgmgr.kernfs import Directory

THAWED: Final = "thawed"
FREEZING: Final = "freezing"
FROZEN: Final = "frozen"
BY_ANCESTOR: Final = "frozen by an ancestor"

_V1_FILE: Final = "freezer.state"
_V2_FILE: Final = "cgroup.freeze"
#: by version of the hierarchy: the file, and what thaws when it is written there
THAW: Final = {1: (_V1_FILE, "THAWED"), 2: (_V2_FILE, "0")}
#: a v1 group whose tasks fork can stay FREEZING; after so many tries it is thawed for a moment
#: (runc#2774), so that what is stuck in the middle of a fork gets out
_TRIES_BEFORE_THAW: Final = 50


def state(directory: Directory) -> str:
    """`thawed`, `freezing`, `frozen`, or `frozen by an ancestor` when the group itself is not."""
    if directory.has(_V1_FILE):
        if directory.read("freezer.self_freezing").strip() == "1":
            return FROZEN if directory.read(_V1_FILE).strip() == "FROZEN" else FREEZING
        return BY_ANCESTOR if directory.read("freezer.parent_freezing").strip() == "1" else THAWED
    frozen = _frozen_event(directory.read("cgroup.events"))
    if directory.read(_V2_FILE).strip() == "1":
        return FROZEN if frozen else FREEZING
    return BY_ANCESTOR if frozen else THAWED


def freeze(directory: Directory, deadline: float) -> None:
    """Freeze the group and return once every task stands still.

    `deadline` is of time.monotonic.  Raises `DeadlineExceeded` after thawing it again, and
    `ControllerUnavailable` where the group has no freezer.
    """
    was = state(directory) if _file(directory) else THAWED
    try:
        if directory.has(_V1_FILE):
            _freeze_v1(directory, deadline)
        else:
            directory.write(_V2_FILE, "1")
            _await_frozen(directory, True, deadline)
    except BaseException:
        if was != FROZEN:
            directory.write(_file(directory), "THAWED" if directory.has(_V1_FILE) else "0")
        raise


def thaw(
    directory: Directory, deadline: float, thawing: Callable[[str], str] | None = None
) -> None:
    """Thaw the group and return once it runs; `thawing` says what thaws a path above it.

    Raises `HostError` naming the ancestor that keeps it frozen, `DeadlineExceeded` at `deadline`.
    """
    if directory.has(_V1_FILE):
        directory.write(_V1_FILE, "THAWED")
    else:
        _file(directory)
        directory.write(_V2_FILE, "0")
    if state(directory) == BY_ANCESTOR:
        above = frozen_ancestor(directory)
        if above is not None:
            culprit = directory.tree.absolute(above)
            raise HostError(
                f"thaw {_shown(directory)}: it stays frozen, {culprit} is frozen above it",
                operation="thaw",
                path=_shown(directory),
                hint=thawing(above) if thawing is not None else None,
            )
        _await_frozen(directory, False, deadline)


def _file(directory: Directory) -> str:
    for file in (_V1_FILE, _V2_FILE):
        if directory.has(file):
            return file
    raise ControllerUnavailable(
        f"{_shown(directory)} cannot be frozen: it has neither {_V1_FILE} nor {_V2_FILE}",
        controller="freezer",
        missing_at=_shown(directory),
        operation="freeze",
        path=_shown(directory),
        errno=errno.ENOENT,
    )


def _freeze_v1(directory: Directory, deadline: float) -> None:
    tries = 0
    while True:
        directory.write(_V1_FILE, "FROZEN")
        if directory.read(_V1_FILE).strip() == "FROZEN":
            return
        tries += 1
        if time.monotonic() >= deadline:
            raise _too_late(directory, "freeze", FREEZING)
        if tries % _TRIES_BEFORE_THAW == 0:
            directory.write(_V1_FILE, "THAWED")
            time.sleep(0.01)
        elif tries > 3:
            time.sleep(0.0005)


def _await_frozen(directory: Directory, wanted: bool, deadline: float) -> None:
    """Wait for cgroup.events, which the kernel makes ready with POLLPRI at every change."""
    events = directory.open("cgroup.events")
    try:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while _frozen_event(os.pread(events, 4096, 0).decode()) != wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _too_late(directory, "freeze" if wanted else "thaw", state(directory))
            poll.poll(left * 1000)
    finally:
        os.close(events)


def _frozen_event(text: str) -> bool:
    return "frozen 1" in text


def frozen_ancestor(directory: Directory) -> str | None:
    """The path of the nearest group above that was itself told to freeze."""
    path = directory.path
    while path != "/":
        path = parent_of(path)
        with directory.tree.open(path) as above:
            for file, told in (("freezer.self_freezing", "1"), (_V2_FILE, "1")):
                if above.has(file) and above.read(file).strip() == told:
                    return path
    return None


def _too_late(directory: Directory, operation: str, now: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{operation} {_shown(directory)}: still {now} at the deadline",
        operation=operation,
        path=_shown(directory),
        errno=errno.ETIMEDOUT,
        hint="ps -eo pid,state,wchan:20,args | awk '$2 == \"D\"' # a task in state D cannot freeze",
    )


def _shown(directory: Directory) -> str:
    return directory.tree.absolute(directory.path)
