"""Run a command in a group, and account for it.

Law: the order of things: look, start, wait, look again.  Each is done elsewhere.  A timeout and an
interruption kill everything in the group, because what a command leaves running there is its own.

An `Account` is that order for those who start and wait by themselves, as a container runtime does.
"""

from __future__ import annotations

import contextlib
import os
import time

from cgmgr import spawn
from cgmgr.errors import CgmgrError, DeadlineExceeded, GroupGone
from cgmgr.oom import Watch
from cgmgr.record import Record
from cgmgr.result import Result, figures
from cgmgr.spawn import Placement, SpawnRequest
from cgmgr.spawn.channel import close_all
from cgmgr.spawn.plumbing import PIPE
from cgmgr.spawn.process import Ended, Process
from cgmgr.spawn.streams import Pump
from cgmgr.stats import Stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, Protocol, Self

    from cgmgr.host import Host
    from cgmgr.oom import Oom
    from cgmgr.spawn.birth import Birth

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


#: high-water marks that are reset before exec, by version: what they are of, and the file.  v1's of
#: memory+swap is reset as well, because a higher one would be left from before; it is not reported.
PEAK_FILES: Final = {
    1: (("memory", "memory.max_usage_in_bytes"), ("memsw", "memory.memsw.max_usage_in_bytes")),
    2: (("memory", "memory.peak"), ("swap", "memory.swap.peak")),
}
#: the kernel charges memory in batches (MEMCG_CHARGE_BATCH, 64 pages): a peak that is less than
#: that above what was charged at exec does not tell the payload's from ours
CHARGE_BATCH_BYTES: Final = 64 * os.sysconf("SC_PAGE_SIZE")


#: what `run` takes besides a group, a command and a timeout
OPTIONS: Final = frozenset({*SpawnRequest.__fields__, "input", "capture", "output_limit_bytes"})


class Run(Record):
    """What is known of a run besides the group's statistics.

    `floors` are those of `Process.floors`: None where the program was never executed.
    """

    argv: tuple[str, ...] = ()
    ended: Ended = Ended()
    floors: tuple[int, ...] | None = None
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
    removed.  `own_from` as in `cgmgr.oom.Watch`.  Raises `GroupGone`.
    """

    def __init__(self, group: Accountable, own_from: str | None = None) -> None:
        self.group = group
        self._peaks: list[tuple[str, int]] = []
        self._watch = Watch(group, own_from)
        try:
            self._open_peaks()
            self._others = len(group.pids(recursive=True))
            self._before = group.stats()
        except BaseException:
            self.close()
            raise

    def placement(self) -> Placement:
        """The group's place, with peaks to be reset.  Close it once the process is started."""
        return Placement.of(self.group, [fd for _, fd in self._peaks])

    def result(self, run: Run) -> Result:
        """Everything that is to be said.  What could not be learned any more is a note."""
        notes = list(run.notes)
        if self._others:
            notes.append(f"{_processes(self._others)} in the group before")
        oom, oom_known = self._oom(notes)
        after = self._stats(notes)
        found = figures(self._before, after)
        found |= self._peak_figures(run.floors, found["peak_memory_bytes"])
        return Result(
            argv=run.argv,
            group=self.group.name,
            exit=run.ended.exit,
            signal=run.ended.signal,
            core_dumped=run.ended.core_dumped,
            timed_out=run.timed_out,
            timeout_s=run.timeout_s,
            oom=oom,
            oom_known=oom_known,
            wall_usec=run.wall_usec,
            stdout=run.stdout,
            stderr=run.stderr,
            output_cut=run.output_cut,
            notes=tuple(notes),
            **found,
        )

    def close(self) -> None:
        """Twice does no harm."""
        self._watch.close()
        peaks, self._peaks = self._peaks, []
        close_all(fd for _, fd in peaks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _open_peaks(self) -> None:
        hierarchy = self.group.host.holder("memory")
        if hierarchy is None or hierarchy.key not in self.group.paths:
            return
        tree = self.group.host.tree(hierarchy)
        with tree.open(self.group.paths[hierarchy.key]) as directory:
            for what, file in PEAK_FILES[hierarchy.version]:
                for flags in (os.O_RDWR, os.O_RDONLY):  # before Linux 6.12 it is only to be read
                    with contextlib.suppress(CgmgrError):
                        self._peaks.append((what, directory.open(file, flags)))
                        break

    def _peak_figures(
        self, floors: tuple[int, ...] | None, group_peak: int | None
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
            by_name = dict(zip((what for what, _ in self._peaks), floors, strict=False))
            floor = by_name.get("memory", 0)
        ours = peak < floor + CHARGE_BATCH_BYTES
        return found | {
            "peak_memory_bytes": peak,
            "peak_includes_start": min(floor, peak) if ours else None,
        }

    def _oom(self, notes: list[str]) -> tuple[Oom | None, bool]:
        try:
            return self._watch.verdict(), self._watch.knows
        except GroupGone:
            notes.append("the group was gone: whether memory ran out is not known")
            return None, False

    def _stats(self, notes: list[str]) -> Stats:
        try:
            left = len(self.group.pids(recursive=True))
            if left > self._others:
                notes.append(f"{_processes(left - self._others)} left in the group")
            return self.group.stats()
        except GroupGone:
            notes.append("the group was gone: what was used is not known")
            return Stats()


class GroupProcess(Process):
    """A process in a group, with an account of it: `result` says how it ended and what it took."""

    def __init__(self, birth: Birth, account: Account) -> None:
        super().__init__(birth)
        self._account = account
        self._argv = tuple(os.fsdecode(word) for word in birth.request.argv)

    def result(self, timeout: float | None = None) -> Result:
        """Once it has ended; ask before the process is closed and before the group is removed.

        Raises `DeadlineExceeded` after `timeout` seconds.
        """
        return self._account.result(self.run(self.wait_ended(timeout)))

    async def aresult(self) -> Result:
        """As `result`, for asyncio."""
        return self._account.result(self.run(await self.await_ended()))

    def account_for(self, run: Run) -> Result:
        """The result of a run of this process."""
        return self._account.result(run)

    def run(self, ended: Ended) -> Run:
        """What is known of this run."""
        return Run(argv=self._argv, ended=ended, floors=self.floors, wall_usec=self.wall_usec)

    def close(self) -> None:
        super().close()
        if hasattr(self, "_account"):
            self._account.close()


def popen(group: Accountable, argv: Sequence[str], **options: Any) -> GroupProcess:
    """Start a command in a group; it has been executed when this returns.

    `options` are the fields of `SpawnRequest`, and `timeout`, in seconds, for the start.  Raises as
    `cgmgr.spawn.start`.
    """
    timeout: float | None = options.pop("timeout", None)
    with _Opening(group) as opening:
        return spawn.start_as(opening.process, opening.request(argv, options), timeout)


async def apopen(group: Accountable, argv: Sequence[str], **options: Any) -> GroupProcess:
    """As `popen`, for asyncio, without `timeout`; cancelled, it leaves no process."""
    with _Opening(group) as opening:
        return await spawn.astart_as(opening.process, opening.request(argv, options))


def run(
    group: Accountable, argv: Sequence[str], *, timeout: float | None = None, **options: Any
) -> Result:
    """Run a command in a group to its end.

    After `timeout` seconds, start included, everything in the group is killed.  `input` is written
    to its standard input; `capture` takes what it writes, `output_limit_bytes` of each stream; the
    other options are the fields of `SpawnRequest`.

    Raises as `cgmgr.spawn.start`: a program that was not executed, in time or at all, is an error
    and not a result.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pipes = _Pipes(options)
    process = popen(group, argv, timeout=timeout, **pipes.options)
    try:
        pump = pipes.pump(process)
        in_time = pump.run(deadline)
        if not in_time:
            group.kill()
        ended = process.wait_ended()
        return process.account_for(_report(process, ended, pump, None if in_time else timeout))
    except BaseException:
        _give_up(group, process)
        raise
    finally:
        process.close()


async def arun(
    group: Accountable, argv: Sequence[str], *, timeout: float | None = None, **options: Any
) -> Result:
    """As `run`, for asyncio; cancelled, it kills everything in the group."""
    import asyncio

    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    pipes = _Pipes(options)
    try:
        async with asyncio.timeout_at(deadline):
            process = await apopen(group, argv, **pipes.options)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"{argv[0]} was not executed in time", operation="start", path=str(argv[0])
        ) from error
    in_time = True
    try:
        pump = pipes.pump(process)
        try:
            async with asyncio.timeout_at(deadline):
                await pump.arun()
        except TimeoutError:
            in_time = False
            await asyncio.to_thread(group.kill)
        ended = await process.await_ended()
        return process.account_for(_report(process, ended, pump, None if in_time else timeout))
    except BaseException:
        _give_up(group, process)
        raise
    finally:
        process.close()


class _Opening:
    """An account opened for a start.  The process takes it over; without one it is closed."""

    def __init__(self, group: Accountable) -> None:
        self._account: Account | None = Account(group)
        self._place: Placement | None = None

    def request(self, argv: Sequence[str], options: Mapping[str, Any]) -> SpawnRequest:
        assert self._account is not None
        self._place = self._account.placement()
        return SpawnRequest(argv=argv, placement=self._place, **options)

    def process(self, birth: Birth) -> GroupProcess:
        assert self._account is not None
        process = GroupProcess(birth, self._account)
        self._account = None
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._place is not None:
            self._place.close()
        if self._account is not None:
            self._account.close()


class _Pipes:
    """The options of a run that are about pipes, and the rest of them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        rest = dict(options)
        self._data: bytes | None = rest.pop("input", None)
        capture: bool = rest.pop("capture", False)
        self._limit_bytes: int | None = rest.pop("output_limit_bytes", None)
        if self._data is not None:
            rest["stdin"] = PIPE
        self.options: dict[str, Any] = {"stdout": PIPE, "stderr": PIPE} | rest if capture else rest

    def pump(self, process: Process) -> Pump:
        return Pump(process, self._data, limit_bytes=self._limit_bytes)


def _report(process: GroupProcess, ended: Ended, pump: Pump, timed_out_s: float | None) -> Run:
    pump.drain()
    return process.run(ended).replace(
        timed_out=timed_out_s is not None,
        timeout_s=timed_out_s,
        stdout=pump.stdout,
        stderr=pump.stderr,
        output_cut=pump.cut,
    )


def _give_up(group: Accountable, process: Process) -> None:
    """Leave nothing running; the reason is on its way to the caller already."""
    with contextlib.suppress(CgmgrError):
        group.kill()
    process.kill()


def _number(fd: int) -> int | None:
    try:
        text = os.pread(fd, 32, 0).strip()
    except OSError:  # the group is gone
        return None
    return int(text) if text.isdigit() else None


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
