"""Run a command in a group, and account for it.

Law: the order of things: look, start, wait, look again.  Each is done elsewhere.  A timeout and an
interruption kill everything in the group, because what a command leaves running there is its own.

Those who start and wait by themselves, as a container runtime does, use `cgmgr.account`.
"""

from __future__ import annotations

import contextlib
import os
import time

from cgmgr import spawn
from cgmgr.account import Account, Run
from cgmgr.errors import CgmgrError, DeadlineExceeded, RequestError
from cgmgr.spawn import SpawnRequest
from cgmgr.spawn.aprocess import AsyncProcess
from cgmgr.spawn.plumbing import PIPE
from cgmgr.spawn.process import Child, Process
from cgmgr.spawn.streams import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, Self, TypeVar

    from cgmgr.account import Accountable
    from cgmgr.result import Result
    from cgmgr.spawn import Placement
    from cgmgr.spawn.birth import Birth
    from cgmgr.spawn.process import Ended

    P = TypeVar("P", bound="_Accounted")

#: what `run` takes besides a group, a command and a timeout
OPTIONS: Final = frozenset({*SpawnRequest.__fields__, "input", "capture", "output_limit_bytes"})

START_S: Final = 5.0


class _Accounted(Child):
    """A process in a group, with an account of it."""

    def __init__(self, birth: Birth, account: Account) -> None:
        super().__init__(birth)
        self._account = account
        self._argv = tuple(os.fsdecode(word) for word in birth.request.argv)

    def account_for(self, run: Run) -> Result:
        """The result of a run of this process."""
        return self._account.result(run)

    def run(self, ended: Ended) -> Run:
        """What is known of this run."""
        return Run(
            argv=self._argv,
            ended=ended,
            pid=self.pid,
            floors=self.floors,
            wall_usec=self.wall_usec,
        )

    def close(self) -> None:
        super().close()
        if hasattr(self, "_account"):
            self._account.close()


class GroupProcess(_Accounted, Process):
    """A process in a group, with an account of it: `result` says how it ended and what it took."""

    def result(self, timeout: float | None = None) -> Result:
        """Once it has ended; ask before the process is closed and before the group is removed.

        Raises `DeadlineExceeded` after `timeout` seconds.
        """
        return self.account_for(self.run(self.wait_ended(timeout)))


class AsyncGroupProcess(_Accounted, AsyncProcess):
    """As `GroupProcess`, for asyncio: `await process.result()`."""

    async def result(self) -> Result:
        """Once it has ended; ask before the process is closed and before the group is removed."""
        return self.account_for(self.run(await self.wait_ended()))


def popen(group: Accountable, argv: Sequence[str], **options: Any) -> GroupProcess:
    """Start a command in a group; it has been executed when this returns.

    `options` are the fields of `SpawnRequest`, and `timeout`, in seconds, for the start.  Raises as
    `cgmgr.spawn.start`.
    """
    timeout: float | None = options.pop("timeout", None)
    with _Opening(group) as opening:
        request = opening.request(argv, options)
        return spawn.start_as(opening.taker(GroupProcess), request, timeout)


async def apopen(group: Accountable, argv: Sequence[str], **options: Any) -> AsyncGroupProcess:
    """As `popen`, for asyncio, without `timeout`; cancelled, it leaves no process."""
    with _Opening(group) as opening:
        request = opening.request(argv, options)
        return await spawn.astart_as(opening.taker(AsyncGroupProcess), request)


def start_s(timeout: float | None) -> float | None:
    """How long a start may take where a command may take `timeout`.  Raises `RequestError`."""
    if timeout is None:
        return None
    if not timeout >= 0:
        raise RequestError(
            f"timeout cannot be {timeout:g}: it is below 0", operation="run", value=str(timeout)
        )
    return max(timeout, START_S)


def run(
    group: Accountable, argv: Sequence[str], *, timeout: float | None = None, **options: Any
) -> Result:
    """Run a command in a group to its end.

    After `timeout` seconds, start included, everything in the group is killed; a start is given
    `START_S` at least, so that a short time is told as a result, too.  `input` is written
    to its standard input; `capture` takes what it writes, `output_limit_bytes` of each stream; the
    other options are the fields of `SpawnRequest`.

    Raises as `cgmgr.spawn.start`: a program that was not executed, in time or at all, is an error
    and not a result.  `RequestError` for a timeout below 0.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pipes = _Pipes(options)
    process = popen(group, argv, timeout=start_s(timeout), **pipes.options)
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
        async with asyncio.timeout(start_s(timeout)):
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
        ended = await process.wait_ended()
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

    def taker(self, kind: Callable[[Birth, Account], P]) -> Callable[[Birth], P]:
        """What makes the process, which has the account from then on."""

        def take(birth: Birth) -> P:
            assert self._account is not None
            process = kind(birth, self._account)
            self._account = None
            return process

        return take

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

    def pump(self, process: Child) -> Pump:
        return Pump(process, self._data, limit_bytes=self._limit_bytes)


def _report(process: _Accounted, ended: Ended, pump: Pump, timed_out_s: float | None) -> Run:
    pump.drain()
    return process.run(ended).replace(
        timed_out=timed_out_s is not None,
        timeout_s=timed_out_s,
        stdout=pump.stdout,
        stderr=pump.stderr,
        output_cut=pump.cut,
    )


def _give_up(group: Accountable, process: Child) -> None:
    """Leave nothing running; the reason is on its way to the caller already."""
    with contextlib.suppress(CgmgrError):
        group.kill()
    process.kill()
