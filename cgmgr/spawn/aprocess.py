"""A process that was started, for asyncio: the verbs of `process`, with those that wait awaited.

Law: nothing here blocks the loop.  A deadline is asyncio's: `asyncio.timeout`.
"""

from __future__ import annotations

from .process import Child, Ended, areadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .request import Placement


class AsyncProcess(Child):
    """A process made by `cgmgr.spawn.astart_as`, as `asyncio.subprocess` has it.

    `stdin`, `stdout` and `stderr` are plain binary files, which block: leave them to
    `communicate`, or give them to the loop's connect_read_pipe and connect_write_pipe.

    As an asynchronous context manager it waits at the end, and kills first when the body raised or
    was cancelled.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_exc: object) -> None:
        if kind is not None:
            self.kill()
        try:
            self._close_files()
            await self.wait_ended()
        except BaseException:
            self.kill()
            raise
        finally:
            self.close()

    async def release(self, placement: Placement | None = None) -> None:
        """Let a process go on that was started with `hold`, into these groups as well, and return
        once it has executed the program.

        If it cannot, it is reaped, and this raises what `cgmgr.spawn.start` raises.
        """
        self._birth.release(placement)
        await self._birth.await_("over")
        failure = self._birth.failure
        if failure is not None:
            await self.wait_ended()
            self.close()
            raise failure

    async def wait(self) -> int:
        """`returncode`, once it has ended.

        Raises `RaceError` where somebody else took the exit status.
        """
        return self._known(await self.wait_ended())

    async def wait_ended(self) -> Ended:
        """As `wait`, but how it ended; what is not known is None in it."""
        if self._ended is None:
            await areadable(self.pidfd)
        return self._reap()

    async def communicate(self, input: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        """Write `input` to its standard input, close that, and take what it writes until it has
        ended: what came from standard output and error, None where that is no pipe.

        What its own children write later is not waited for.  Cancelled, it loses nothing: call it
        again, without input.
        """
        pump = self._pump_for(input)
        await pump.arun()
        await self.wait_ended()
        return pump.stdout, pump.stderr
