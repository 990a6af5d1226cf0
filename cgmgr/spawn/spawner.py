"""The spawner: a small process that starts others, inside groups, on behalf of its parent.

Law: the protocol, its words, and the script that `cgmgr.spawn` runs in isolated mode; kept short,
because a script is compiled anew each time.  What the spawner does is in `cloner`, what a new
process does before it executes in `newborn`.

The caller C holds one end of a SOCK_SEQPACKET pair, the spawner S the other.  Every start has a
channel of its own, a second such pair, so that starts neither wait for nor are mistaken for each
other.  N is the new process: cloned with CLONE_PARENT, it is C's child, not S's.  An orphan is S's
child, which S lets the kernel reap, and once S has ended it is init's, or a subreaper's.

    1. REQUEST  C to S   what to start; descriptors: S's end of the channel, and all that N needs
    2. STARTED  S to C   N's pid and whether it was cloned into its cgroup2 group, with its pidfd
    3. HELD     N to C   only where N is to be held: it is in its groups, and waits
    4. RELEASE  C to N   then: descriptors of more groups to join, and of those with a pids limit
    5. READY    N to C   all is set, the next thing is exec; what the files said by then, and when
    6. FAILED   S or N   instead of 2, 3 or 5, or after it: stage, errno, detail, text; N ends
    7. (end)             nobody holds the other end any more: N has executed, or N is dead
    8. PARTING  C to S   C ends S as it should, and not because it was killed

2 may arrive after 3 and 5; 7 without 5 and 6 is a death before exec.  S ends when C's end
of its socket is closed; without 8, it first kills all in the groups of those that were to die
with C.  N joins groups by writing 0, itself, into files that C opened; it runs no
instruction of the payload before.

An *entry* is a function `(data: bytes, descriptors: list[int])` that N calls instead of exec, and
that never returns.  S imports its module before it clones, and keeps it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypedDict

    class Words(TypedDict):
        """The words of a REQUEST."""

        argv: list[bytes]
        program: bytes
        env: dict[bytes, bytes]
        cwd: bytes | None
        entry: str
        data: bytes

    class Request(Words):
        """What REQUEST says.  `cgroup`, `pid_namespace`, `procs`, `floors`, `here`, the first of
        each pair in `place` and the second of each in `pids` are indices of its descriptors; the
        first of those is the channel's end, so that 0 stands for none."""

        handed: list[int]
        flags: int
        cgroup_namespace: bool
        pid_namespace: int
        cgroup: int
        into: bool
        procs: list[int]
        pids: list[tuple[bytes, int]]
        pids_by_clone: bool
        hold: bool
        orphan: bool
        die_with_caller: bool
        floors: list[int]
        new_session: bool
        new_keyring: bool
        pgid: int
        rlimits: list[tuple[int, int, int]]
        here: int
        uid: int | None
        gid: int | None
        groups: list[int] | None
        umask: int
        place: list[tuple[int, int]]


REQUEST: Final = "request"
PARTING: Final = "parting"
STARTED: Final = "started"
HELD: Final = "held"
RELEASE: Final = "release"
READY: Final = "ready"
FAILED: Final = "failed"

#: S's end of its socket
CONTROL_FD: Final = 3

# stages of FAILED that the caller words in a way of its own; every other is an operation's name
CLONE: Final = "clone"
IMPORT: Final = "import"
JOIN: Final = "join"
PIDS: Final = "count tasks"
DIRECTORY: Final = "change directory"
RLIMIT: Final = "set rlimit"
EXEC: Final = "exec"

if __name__ == "__main__":
    # isolated mode: neither the script's folder nor site-packages is on the path
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from cgmgr.spawn.cloner import main

    main()
