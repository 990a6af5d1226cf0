"""Locks in files: one process, and one thread in it, at a time is at work with a name.

Law: a lock is flock(2) on the lock file: the kernel lets go of it when its holder dies.  Whoever
takes it looks again whether the file still has its name, because the one who held it before may
have removed it.  Several locks are taken in the order of their names; a deadline ends every other
wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from cgmgr import shelf, statefile
from cgmgr.errors import DeadlineExceeded
from cgmgr.host import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from cgmgr.statedir import Folder


class Lock:
    """The lock of one name, held within a `with`.  See `Folder.lock`."""

    __slots__ = ("_encoded", "_fd", "_folder", "_timeout")

    def __init__(self, folder: Folder, encoded: str, timeout: float | None) -> None:
        self._folder = folder
        self._encoded = encoded
        self._timeout = timeout
        self._fd = -1

    def __enter__(self) -> Self:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while self._fd < 0:
            self._try(deadline)
        return self

    def __exit__(self, *_exc: object) -> None:
        fd, self._fd = self._fd, -1
        try:
            with self._folder.opened() as folder:
                if folder >= 0 and not statefile.exists(f"{self._encoded}.json", folder):
                    statefile.unlink(f"{self._encoded}.lock", folder)
        finally:
            # a forked child may have a copy of the descriptor, and a close would leave it locked
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _try(self, deadline: float | None) -> None:
        """Take the lock, unless its file lost its name to whoever held it before."""
        file = f"{self._encoded}.lock"
        with self._folder.opened(create=True) as folder:
            try:
                fd = shelf.opened(file, statefile.FILE | os.O_CREAT, folder, statefile.FILE_MODE)
            except OSError as error:
                raise self._folder.failed("lock", f"{self._folder.path}/{file}", error) from error
            try:
                self._wait(fd, deadline)
                if statefile.is_same(file, fd, folder):
                    self._fd = fd
            finally:
                if self._fd < 0:
                    os.close(fd)

    def _wait(self, fd: int, deadline: float | None) -> None:
        if deadline is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return
        pause = 0.0005
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._busy(fd) from error
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)

    def _busy(self, fd: int) -> DeadlineExceeded:
        path = f"{self._folder.path}/{self._encoded}.lock"
        holder = _holder(fd)
        return DeadlineExceeded(
            f"lock {path}: not free after {self._timeout:g} s"
            + (f", held by process {holder}" if holder else ""),
            operation="lock",
            path=path,
            errno=errno.EWOULDBLOCK,
            hint=f"ps -o pid,stat,args -p {holder}" if holder else None,
        )


def _holder(fd: int, proc: str = "/proc") -> int | None:
    """The process that holds the flock of an open file, by /proc/locks (proc_locks(5))."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in (read_text(proc, "locks") or "").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == device:
            return int(fields[4]) or None
    return None
