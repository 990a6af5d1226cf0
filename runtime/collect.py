"""What a killed launcher left behind, removed.

Law: only containers whose launcher is dead are touched, each under its lock, and directories of the
store that no record and no process lays claim to.  Those that were to stay have bundles of somebody
else's, and are left to whoever deletes them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from cgmgr import owner
from cgmgr.errors import DeadlineExceeded

from . import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.owner import Owner

    from .state import Containers

KILL_S: Final = 10.0


def collect(containers: Containers, store: str) -> list[str]:
    """Kill what still runs in containers that outlived their launcher, and remove them and whatever
    else is left in the store.  Returns the names of what was removed.

    Raises `KernelError`, `DeadlineExceeded`.  One that somebody is at work with is left alone.
    """
    removed = [record.id for record in containers.records() if _collect_one(containers, record.id)]
    for name in bundle.names(store):
        with contextlib.suppress(DeadlineExceeded), containers.lock(name, 0):
            path = f"{store}/{name}"
            if containers.load(name) is None and not bundle.held(path):
                bundle.remove(path)
                removed.append(name)
    containers.sweep()
    return removed


def _collect_one(containers: Containers, name: str) -> bool:
    """Whether it was there, orphaned, and is gone now."""
    with contextlib.suppress(DeadlineExceeded), containers.lock(name, 0):
        record = containers.load(name)
        if record is None or record.stays or not record.orphaned:
            return False
        if bundle.held(record.bundle):
            return False
        if record.init is not None:
            _kill(record.init)
        bundle.remove(record.bundle)
        containers.remove(name)
        return True
    return False


def _kill(process: Owner) -> None:
    """Kill that very process, and wait until it is gone."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # only now is it certain that the pid still means that process, and will not mean another
        if not owner.alive(process):
            return
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(KILL_S * 1000):
            raise DeadlineExceeded(
                f"kill process {process.pid}: still there after {KILL_S:g} s",
                operation="kill",
                value=str(process.pid),
            )
    finally:
        os.close(pidfd)
