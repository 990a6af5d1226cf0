"""Who a process is, so that its death can be told from another's life under the same pid.

Law: /proc is only looked at, below a root given as an argument.
"""

from __future__ import annotations

import os

from cgmgr.errors import HostError
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Owner(Record):
    """A process, told apart from every other that ever had its pid: by the boot and by the start in
    clock ticks since then.  `pid_namespace` is where the pid means something."""

    boot_id: str
    pid: int
    start_ticks: int
    pid_namespace: str = ""

    @classmethod
    def of(cls, pid: int | None = None, proc: str = "/proc") -> Self:
        """The owner that `pid` is, by default this process; `HostError` if there is none."""
        number = os.getpid() if pid is None else pid
        if pid is None and proc == "/proc" and _mine and _mine[0].pid == number:
            return _mine[0]  # type: ignore[return-value]
        state = _state_and_start(number, proc)
        if state is None:
            raise HostError(
                f"process {number} is not there", operation="find process", value=str(number)
            )
        owner = cls(
            boot_id=boot_id(proc),
            pid=number,
            start_ticks=state[1],
            pid_namespace=_pid_namespace(proc),
        )
        if pid is None and proc == "/proc":
            _mine[:] = [owner]
        return owner


#: this process, once it was looked up; a forked child has another pid, and looks itself up
_mine: list[Owner] = []


def alive(owner: Owner, proc: str = "/proc") -> bool:
    """Whether that very process still runs; a zombie does not.

    A process of another pid namespace cannot be looked up from here, and counts as alive.
    """
    if owner.boot_id != boot_id(proc):
        return False
    if owner.pid_namespace != _pid_namespace(proc):
        return True
    state = _state_and_start(owner.pid, proc)
    return state is not None and state[0] not in "ZX" and state[1] == owner.start_ticks


def boot_id(proc: str = "/proc") -> str:
    """This boot's own name, random (proc_sys_kernel(5))."""
    return (_text(f"{proc}/sys/kernel/random/boot_id") or "").strip()


def _pid_namespace(proc: str) -> str:
    try:
        return os.readlink(f"{proc}/self/ns/pid")
    except OSError:
        return ""


def _state_and_start(pid: int, proc: str) -> tuple[str, int] | None:
    """The state letter and field 22 of /proc/PID/stat (proc_pid_stat(5)); the name before them may
    hold blanks and brackets, so count from its last bracket."""
    fields = (_text(f"{proc}/{pid}/stat") or "").rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None
