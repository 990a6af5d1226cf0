"""Which processes the kernel killed for want of memory, by its own log.

Law: read only, and from where the log stood when it was opened.  The counters of a group say how
many were killed (`cgmgr.oom_watch`), and not which; a SIGKILL may come from anybody.

Source: Documentation/ABI/testing/dev-kmsg; mm/oom_kill.c, __oom_kill_process, which names pids of
the initial pid namespace.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PATH: Final = "/dev/kmsg"
#: linux/proc_ns.h, PROC_PID_INIT_INO
INITIAL: Final = "pid:[4026531836]"
#: a record is not longer (printk, CONSOLE_EXT_LOG_MAX)
_RECORD_BYTES: Final = 8192
_SAYS: Final = b"out of memory: killed process "


class OomLog:
    """The log from now on.  Close it."""

    def __init__(self, path: str = PATH) -> None:
        self._fd = -1
        try:
            if os.readlink("/proc/self/ns/pid") == INITIAL:
                self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:  # kernel.dmesg_restrict, a container
            self.close()

    def killed(self) -> frozenset[int] | None:
        """The pids of those killed since; None where the log cannot be read, or not all of it."""
        if self._fd < 0:
            return None
        found: set[int] = set()
        while True:
            try:
                record = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                return frozenset(found)
            except OSError:  # EPIPE: what came in between was written over
                return None
            if not record:
                return frozenset(found)
            pid = pid_of(record)
            if pid is not None:
                found.add(pid)

    def close(self) -> None:
        """Twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def pid_of(record: bytes) -> int | None:
    """The pid in a record of that kind; None in another."""
    _, _, text = record.partition(b";")
    before, says, after = text.lower().partition(_SAYS)
    number = after.partition(b" ")[0]
    # at its beginning: a program may write to the log, too, but not as the kernel (facility 0)
    if not says or before not in (b"", b"memory cgroup ") or not number.isdigit():
        return None
    return int(number) if int(record.partition(b",")[0]) >> 3 == 0 else None
