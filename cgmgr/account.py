"""An account of what happens in a group: looks before and after, and what is to be said of both.

Law: nothing is started here, and nothing is waited for; `cgmgr.running` does that, and a container
runtime does.  What cannot be read is None in the result, with a note, never 0.
"""

from __future__ import annotations

import contextlib
import os

from cgmgr.controllers import TABLE as CONTROLLERS
from cgmgr.errors import CgmgrError, GroupGone
from cgmgr.oom_log import OomLog
from cgmgr.oom_watch import Watch
from cgmgr.record import Record
from cgmgr.result import GONE, SIGKILL, Result, figures
from cgmgr.spawn import Placement
from cgmgr.spawn.channel import close_all
from cgmgr.spawn.process import Ended
from cgmgr.stats import CpuStats, Reader, Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Final, Protocol, Self

    from cgmgr.host import Host
    from cgmgr.kernfs import Directory

    class Accountable(Protocol):
        """A group, as far as running something in it is concerned."""

        name: str

        @property
        def host(self) -> Host: ...
        @property
        def paths(self) -> Mapping[str, str]: ...
        def stats(self) -> Stats: ...
        def pids(self, recursive: bool = False) -> list[int]: ...
        def kill(self) -> None: ...
        def demand_entry(self) -> None: ...


#: high-water marks that are reset before exec, by version: what they are of, and the file.  v1's of
#: memory+swap is reset as well, because a higher one would be left from before; it is not reported.
PEAK_FILES: Final = {
    1: (("memory", "memory.max_usage_in_bytes"), ("memsw", "memory.memsw.max_usage_in_bytes")),
    2: (("memory", "memory.peak"), ("swap", "memory.swap.peak")),
}
#: the note where it is not reset, so that whoever looks at the others does not lose theirs
PEAK_BEFORE: Final = "peak memory is the group's, from before as well: it is not reset under others"
#: the kernel charges memory in batches (MEMCG_CHARGE_BATCH, 64 pages): a peak that is less than
#: that above what was charged at exec does not tell the payload's from ours
CHARGE_BATCH_BYTES: Final = 64 * os.sysconf("SC_PAGE_SIZE")

#: counters that are read right before exec as well, by controller
COUNT_FILES: Final = {
    "cpuacct": ("cpuacct.usage", "cpuacct.stat"),
    "cpu": ("cpu.stat",),
}


class Run(Record):
    """What is known of a run besides the group's statistics.

    `floors` are those of `Process.floors`: None where the program was never executed.
    """

    argv: tuple[str, ...] = ()
    ended: Ended = Ended()
    pid: int | None = None
    floors: tuple[bytes, ...] | None = None
    wall_usec: int | None = None
    timed_out: bool = False
    timeout_s: float | None = None
    stdout: bytes | None = None
    stderr: bytes | None = None
    output_cut: bool = False
    notes: tuple[str, ...] = ()


class Account:
    """What happens in a group from now on.  Use as a context manager, or close it.

    Open it before the start, start with `placement()`, and ask for the `result` before the group is
    removed.  Raises `GroupGone`.
    """

    def __init__(self, group: Accountable) -> None:
        self.group = group
        self._peaks: list[tuple[str, int]] = []
        self._counts: list[tuple[tuple[str, str], int]] = []
        self._watch = Watch(group)
        self._log = OomLog()
        self._shared_peak = False
        try:
            self._others = len(group.pids(recursive=True))
            self._open_files()
            self._before = group.stats()
        except BaseException:
            self.close()
            raise

    def placement(self) -> Placement:
        """The group's place, and what is looked at right before exec.  Close it once the process is
        started.  Raises as `Group.placement`."""
        self.group.demand_entry()
        return Placement.of(self.group, [fd for _, fd in (*self._peaks, *self._counts)])

    def result(self, run: Run) -> Result:
        """Everything that is to be said.  What could not be learned any more is a note."""
        notes = list(run.notes)
        if self._others:
            notes.append(f"{_processes(self._others)} in the group before")
        if self._shared_peak:
            notes.append(PEAK_BEFORE)
        try:
            after = self._after(notes)
            oom, oom_known = self._watch.verdict(), self._watch.knows
            gone = False
        except GroupGone:
            after, oom, oom_known, gone = Stats(), None, False, True
            notes.append(f"group {self.group.name}: {GONE}")
        found = figures(self._at_exec(run.floors), after)
        found |= self._peak_figures(run.floors, found["peak_memory_bytes"])
        return Result(
            argv=run.argv,
            group=self.group.name,
            group_gone=gone,
            exit=run.ended.exit,
            signal=run.ended.signal,
            core_dumped=run.ended.core_dumped,
            timed_out=run.timed_out,
            timeout_s=run.timeout_s,
            oom=oom,
            oom_known=oom_known,
            oom_killed_it=self._was_killed(run) if oom is not None else None,
            wall_usec=run.wall_usec,
            stdout=run.stdout,
            stderr=run.stderr,
            output_cut=run.output_cut,
            notes=tuple(notes),
            **found,
        )

    def _was_killed(self, run: Run) -> bool | None:
        """Whether the program itself was killed for want of memory; None where nobody says so."""
        if run.ended.signal != SIGKILL:
            return False
        killed = self._log.killed()
        return None if killed is None or run.pid is None else run.pid in killed

    def close(self) -> None:
        """Twice does no harm."""
        self._watch.close()
        self._log.close()
        files = [fd for _, fd in (*self._peaks, *self._counts)]
        self._peaks, self._counts = [], []
        close_all(files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _open_files(self) -> None:
        with self._directory("memory") as (version, directory):
            # a reset is everybody's on v1, and one open file's on v2
            self._shared_peak = version == 1 and bool(self._others)
            for what, file in PEAK_FILES[version] if directory is not None else ():
                # before Linux 6.12 it is only to be read
                fd = None if self._shared_peak else _opened(directory, file, os.O_RDWR)
                fd = _opened(directory, file, os.O_RDONLY) if fd is None else fd
                if fd is not None:
                    self._peaks.append((what, fd))
        for controller, files in COUNT_FILES.items():
            with self._directory(controller) as (_, directory):
                for file in files if directory is not None else ():
                    # a write would reset cpuacct.usage
                    fd = _opened(directory, file, os.O_RDONLY)
                    if fd is not None:
                        self._counts.append(((controller, file), fd))

    @contextlib.contextmanager
    def _directory(self, controller: str) -> Generator[tuple[int, Directory | None]]:
        """The version of what holds the controller, and the group's directory there, if any."""
        hierarchy = self.group.host.holder(controller)
        if hierarchy is None or hierarchy.key not in self.group.paths:
            yield 0, None
            return
        with self.group.host.tree(hierarchy).open(self.group.paths[hierarchy.key]) as directory:
            yield hierarchy.version, directory

    def _after(self, notes: list[str]) -> Stats:
        left = len(self.group.pids(recursive=True))
        after = self.group.stats()
        if left > self._others:
            notes.append(f"{_processes(left - self._others)} left in the group")
        return after

    def _at_exec(self, floors: tuple[bytes, ...] | None) -> Stats:
        """The first look; what CPUs are concerned as of exec, where it came that far."""
        if floors is None:
            return self._before
        names = (name for name, _ in self._counts)
        texts = dict(zip(names, floors[len(self._peaks) :], strict=False))
        cpu = self._before.cpu or CpuStats()
        for name, files in COUNT_FILES.items():
            hierarchy = self.group.host.holder(name)
            if hierarchy is None:
                continue
            reader = Reader({file: _text(texts.get((name, file))) for file in files}.get)
            counted = CONTROLLERS[name].stats(reader, hierarchy.version, self.group.host.facts)
            cpu = cpu.replace(**counted.set_fields()) if counted is not None else cpu
        return self._before.replace(cpu=cpu or None)

    def _peak_figures(
        self, floors: tuple[bytes, ...] | None, group_peak: int | None
    ) -> dict[str, int | None]:
        """Peaks since they were reset, read where they were: on v2 a reset is for one open file."""
        peaks = {what: _number(fd) for what, fd in self._peaks}
        found: dict[str, int | None] = {}
        if peaks.get("swap") is not None:
            found["peak_swap_bytes"] = peaks["swap"]
        peak = peaks.get("memory", group_peak)
        if peak is None:
            return found
        floor = peak
        if floors is not None:
            texts = dict(zip((what for what, _ in self._peaks), floors, strict=False))
            floor = _count(texts.get("memory", b"0")) or 0
        ours = peak < floor + CHARGE_BATCH_BYTES
        return found | {
            "peak_memory_bytes": peak,
            "peak_includes_start": min(floor, peak) if ours else None,
        }


def _opened(directory: Directory | None, file: str, flags: int) -> int | None:
    if directory is None:
        return None
    try:
        return directory.open(file, flags)
    except CgmgrError:
        return None


def _text(floor: bytes | None) -> str | None:
    """Empty is a file that was not to be read."""
    return floor.decode("ascii", "replace") if floor else None


def _number(fd: int) -> int | None:
    try:
        return _count(os.pread(fd, 32, 0))
    except OSError:  # the group is gone
        return None


def _count(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
