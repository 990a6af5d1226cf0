"""What a group's files say right before exec: until then it is ours, from then on the payload's.

Law: runs in a new process, inside its group, as the last thing before exec; what the texts mean is
the caller's business.
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

#: a peak that this kernel cannot reset (memory.peak before 6.12), or nobody (opened to be read)
NO_RESET: Final = frozenset({errno.EINVAL, errno.EBADF, errno.EACCES})
MOST_BYTES: Final = 4096


def taken(fds: Sequence[int]) -> list[bytes]:
    """Write 0 into each, which resets a peak, and return what each says then.

    A file that was opened to be read alone is only read.  Raises `OSError`.
    """
    # the kernel adds what a task has used to its group's count when it is next scheduled, and
    # whenever somebody asks for that task's own (task_sched_runtime)
    time.process_time_ns()
    for fd in fds:
        try:
            os.write(fd, b"0")
        except OSError as error:
            if error.errno not in NO_RESET:
                raise
    return [os.pread(fd, MOST_BYTES, 0) for fd in fds]
