"""How a run ended, and what it took.

Law: data, and the words for it.  What was measured is put together here from two looks at the
group's statistics; how a command is run and looked at is in `cgmgr.running`.  A figure that the
kernel does not tell is None, never 0.

All figures are the group's, from before the start to the end: what other processes in it did
meanwhile is in them, and `notes` says that there were any.
"""

from __future__ import annotations

from cgmgr import oom as ooms
from cgmgr.errors import CgmgrError
from cgmgr.record import Record
from cgmgr.stats import Stats
from cgmgr.units import format_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

    from cgmgr.oom import Oom

SIGKILL: Final = 9
#: the note where the group was not there any more at the end
GONE: Final = "it was removed meanwhile: what was used, and whether memory ran out, is not known"

#: figures that are a difference of counters: field, and where in `Stats` it is
COUNTERS: Final = {
    "cpu_usage_usec": ("cpu", "usage_usec"),
    "cpu_user_usec": ("cpu", "user_usec"),
    "cpu_system_usec": ("cpu", "system_usec"),
    "nr_periods": ("cpu", "nr_periods"),
    "nr_throttled": ("cpu", "nr_throttled"),
    "throttled_usec": ("cpu", "throttled_usec"),
    "pids_refused": ("pids", "events_max"),
    "cpu_pressure_usec": ("pressure", "cpu", "some", "total_usec"),
    "memory_pressure_usec": ("pressure", "memory", "some", "total_usec"),
    "io_pressure_usec": ("pressure", "io", "some", "total_usec"),
}
#: the same of every disk, added up
IO_COUNTERS: Final = {
    "io_read_bytes": "rbytes",
    "io_write_bytes": "wbytes",
    "io_reads": "rios",
    "io_writes": "wios",
}
#: figures that are a high-water mark
PEAKS: Final = {
    "peak_memory_bytes": ("memory", "peak_bytes"),
    "peak_swap_bytes": ("memory", "swap_peak_bytes"),
    "peak_pids": ("pids", "peak"),
}


#: the kernel tells user and system time by what runs when the clock ticks, at 100 Hz or more, and
#: v1 in units of 1/100 s: less than that is nothing that was measured
SAMPLED: Final = ("cpu_user_usec", "cpu_system_usec")
SAMPLE_USEC: Final = 10_000


class RunFailed(CgmgrError):
    """A command did not end as it should; `result` says how it did."""

    def __init__(self, result: Result) -> None:
        program = result.argv[0] if result.argv else result.group
        code = result.returncode
        super().__init__(
            f"{program}: {result.verdict}",
            operation="run",
            path=program,
            value=None if code is None else str(code),
        )
        self.result = result

    def __reduce__(self) -> tuple[object, ...]:
        return RunFailed, (self.result,)


class Result(Record):
    """How a command ended, and what the group used meanwhile.

    `exit` or `signal` is set; neither, where somebody else took the exit status.  `oom` is set when
    the kernel killed anything in the group for want of memory, whether or not that was the command;
    it is None too where nobody counts memory, and `oom_known` is then False.  `oom_killed_it`:
    whether the command itself was among those, by the kernel's log; None where that cannot be read.

    `group_gone`: somebody removed the group before the end; what it counted is None then.

    `wall_usec` is from exec to the end, and so are `cpu_*`, `nr_*` and `throttled_usec`.
    `cpu_usage_usec` is measured; `cpu_user_usec` and `cpu_system_usec` are sampled, their sum need
    not be that, and what is less than one sample is None.  `throttled_usec` is how long the CPU
    quota held it up, in `nr_throttled` of `nr_periods`.  `pids_refused`: forks that the limit
    refused.  `*_pressure_usec` is how long some task waited for it.  `io_*` is what reached the
    disks.

    `peak_memory_bytes` is the payload's own when `peak_includes_start` is None.  Else it may be
    ours: so many bytes were charged right before the program was executed, and the payload went no
    higher.  On v1 it is that of all in the group, from before as well, where others were in it:
    a reset would be theirs, too, and `notes` says so.  `peak_pids` is of the group's whole life;
    so is `peak_swap_bytes` before Linux 6.12.

    `stdout` and `stderr` are what was captured; `output_cut` when more was written than was kept.
    """

    argv: tuple[str, ...] = ()
    group: str = ""
    group_gone: bool = False
    exit: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    timed_out: bool = False
    timeout_s: float | None = None
    oom: Oom | None = None
    oom_known: bool = True
    oom_killed_it: bool | None = None
    wall_usec: int | None = None
    cpu_usage_usec: int | None = None
    cpu_user_usec: int | None = None
    cpu_system_usec: int | None = None
    nr_periods: int | None = None
    nr_throttled: int | None = None
    throttled_usec: int | None = None
    peak_memory_bytes: int | None = None
    peak_includes_start: int | None = None
    peak_swap_bytes: int | None = None
    peak_pids: int | None = None
    pids_refused: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    io_reads: int | None = None
    io_writes: int | None = None
    cpu_pressure_usec: int | None = None
    memory_pressure_usec: int | None = None
    io_pressure_usec: int | None = None
    stats: Stats = Stats()
    stdout: bytes | None = None
    stderr: bytes | None = None
    output_cut: bool = False
    notes: tuple[str, ...] = ()

    @property
    def returncode(self) -> int | None:
        """As a shell has it: the exit status, 128 + n for signal n, None where it is not known."""
        return 128 + self.signal if self.signal is not None else self.exit

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with exit status 0."""
        return self.exit == 0 and not self.timed_out

    def checked(self) -> Self:
        """This very result if it is `ok`; else raises `RunFailed`.  For `run(...).checked()`."""
        if not self.ok:
            raise RunFailed(self)
        return self

    @property
    def verdict(self) -> str:
        """How it ended, in one line."""
        if self.oom is None:
            return self._end()
        why = self._out_of_memory(self.oom)
        if self.signal == SIGKILL and not self.timed_out and self._surely_by_oom():
            return f"killed: {why}"
        many = self.oom.kills != 1
        killed = f"{self.oom.kills} processes were" if many else "1 process was"
        return f"{self._end()}, and {killed} killed: {why}"

    def _surely_by_oom(self) -> bool:
        """Nobody else was there to be killed, or the kernel's log says so; else a SIGKILL may be
        anybody's."""
        return self.peak_pids == 1 if self.oom_killed_it is None else self.oom_killed_it

    def __str__(self) -> str:
        return self.verdict

    def _end(self) -> str:
        if self.timed_out:
            return "timed out" if self.timeout_s is None else f"timed out after {self.timeout_s:g}s"
        if self.signal is not None:
            known = self.signal == SIGKILL and self.oom_known and self.oom is None
            return f"killed by signal {self.signal}" + (" (not by a memory limit)" if known else "")
        if self.exit is not None:
            return f"exit {self.exit}"
        return "ended, and its exit status was taken by somebody else"

    def _out_of_memory(self, oom: Oom) -> str:
        limit = "memory limit"
        if oom.limit_bytes is not None:
            limit = f"memory limit {format_bytes(oom.limit_bytes)}"
        what = {
            ooms.OWN: limit,
            ooms.ANCESTOR: f"{limit} of {oom.limit_at}" if oom.limit_at else "a memory limit above",
            ooms.BELOW: f"{limit} of {oom.limit_at}"
            if oom.limit_at
            else "a memory limit of a group below",
            ooms.HOST: "the machine ran out of memory",
        }.get(oom.whose, "out of memory, it is not known by whose limit")
        peak = "" if self.peak_memory_bytes is None else f" (peak {_peak(self.peak_memory_bytes)})"
        return f"{what}{peak} in {self.group}"


def _peak(count: int) -> str:
    """Always with a decimal, because a peak is never as round as a limit."""
    text = format_bytes(count)
    number = text.rstrip("KMGTPiB")
    return text if "." in number else f"{number}.0{text[len(number) :]}"


def figures(before: Stats, after: Stats) -> dict[str, Any]:
    """The figures of a `Result` from two looks at the same group."""
    found: dict[str, Any] = {
        name: _difference(_look(before, path), _look(after, path))
        for name, path in COUNTERS.items()
    }
    found |= {name: _sampled(found[name]) for name in SAMPLED}
    found |= {
        name: _difference(_added_up(before, key), _added_up(after, key))
        for name, key in IO_COUNTERS.items()
    }
    return found | {name: _look(after, path) for name, path in PEAKS.items()} | {"stats": after}


def _look(stats: Stats, path: tuple[str, ...]) -> int | None:
    found: Any = stats
    for name in path:
        if found is None:
            return None
        found = getattr(found, name)
    return found if isinstance(found, int) else None


def _added_up(stats: Stats, key: str) -> int | None:
    """Over all disks; a group that did no IO has none, which is 0."""
    if stats.io is None:
        return None
    return sum(getattr(device, key) or 0 for device in stats.io.devices)


def _difference(before: int | None, after: int | None) -> int | None:
    """A counter that was not there before counted from 0: v2 shows some only once they are used.
    One that went backwards was reset by somebody."""
    if after is None or after < (before or 0):
        return None
    return after - (before or 0)


def _sampled(usec: int | None) -> int | None:
    return None if usec is None or usec < SAMPLE_USEC else usec
