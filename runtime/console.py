"""The step that gives a container a terminal of its own.

Law: runs in the container's first process.  The caller's side is `cgmgr.runtime.terminal`.

The pseudo-terminal is made in the container's devpts, so that its name (`tty`, /dev/pts/0) means
something inside.  The slave is opened through the master (TIOCGPTPEER, Linux 4.13), not by name.

Source: pty(7), ioctl_tty(2), config.md "process.terminal" of the OCI specification.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

from cgmgr import linux

from . import mounts
from .steps import Step, attach_closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .steps import Stage

#: major and minor of a pty multiplexer (Documentation/admin-guide/devices.txt)
_PTMX: Final = (5, 2)
_TIOCSPTLCK: Final = 0x40045431  # asm-generic/ioctls.h; termios lacks it
_INT_ZERO: Final = b"\0\0\0\0"


def window_size(rows: int, columns: int) -> bytes:
    """struct winsize (ioctl_tty(2)): rows, columns, and two fields that nobody uses."""
    return struct.pack("HHHH", rows, columns, 0, 0)


class NewTerminal(Step):
    """A pty in /dev/pts as standard input, output, error, controlling terminal and /dev/console.

    Its master is sent to whoever started the container.  `rows` 0 leaves the size unset.
    """

    uid: int = 0
    rows: int = 0
    columns: int = 0

    def describe(self) -> str:
        return "a terminal in /dev/pts, also bound to /dev/console"

    def execute(self, stage: Stage) -> None:
        master = stage.root.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        try:
            number = os.fstat(master).st_rdev
            if (os.major(number), os.minor(number)) != _PTMX:
                raise OSError(errno.ENOTTY, "not a pty multiplexer", "/dev/pts/ptmx")
            fcntl.ioctl(master, _TIOCSPTLCK, _INT_ZERO)
            slave = fcntl.ioctl(master, linux.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
            if self.rows:
                fcntl.ioctl(master, termios.TIOCSWINSZ, window_size(self.rows, self.columns))
            stage.send_terminal(master)
        finally:
            os.close(master)
        self._adopt(stage, slave)

    def _adopt(self, stage: Stage, slave: int) -> None:
        os.fchown(slave, self.uid, -1)
        tree = mounts.clone(slave, "", recursive=False)
        attach_closing(tree, stage.root.ensure("/dev/console", directory=False))
        for standard in (0, 1, 2):
            os.dup2(slave, standard)
        os.close(slave)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
