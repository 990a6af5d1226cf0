"""Acts that have names, and children that do them and say what they could not.

Law: for a process with one thread, which may fork.  What the acts are is decided elsewhere; an act
raises `OSError`, and whoever does it adds its name.
"""

from __future__ import annotations

import os

from cgmgr.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    #: what it is, as a shell would do it where a shell could, and how it is done
    Act = tuple[str, Callable[[], None]]


def do(acts: list[Act]) -> None:
    """Do them in their order.  Raises `KernelError` for the first that fails, with its name."""
    for what, act in acts:
        try:
            act()
        except OSError as error:
            if isinstance(error, KernelError):
                raise
            raise _failed(what, error) from error


def _failed(what: str, error: OSError) -> KernelError:
    reason = (error.strerror or "").lower()
    return KernelError(f"{what}: {reason}", operation=what, errno=error.errno)


def encode(error: KernelError) -> bytes:
    """An error as it goes through a pipe."""
    fields = (str(error.errno or 0), error.operation or "", error.path or "", error.message)
    return "\0".join(fields).encode("utf-8", "surrogateescape")


def decode(failure: bytes) -> KernelError:
    """The other side of `encode`."""
    fields = failure.decode("utf-8", "surrogateescape").split("\0", 3)
    number, operation, path, message = fields
    return KernelError(message, operation=operation, path=path or None, errno=int(number))


class Helper:
    """A child that stays outside until it is told to act on this process; none without acts.

    At the end of the `with` it is gone, whether it acted or not.
    """

    def __init__(self, acts: list[Act]) -> None:
        self.pid = 0
        if not acts:
            return
        go, self.go = os.pipe()
        self.report, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.go)
            self._live(acts, go, theirs)
        os.close(go)
        os.close(theirs)

    def _live(self, acts: list[Act], go: int, report: int) -> None:
        try:
            if os.read(go, 1):
                do(acts)
        except KernelError as error:
            os.write(report, encode(error))
        finally:
            os._exit(0)

    def act(self) -> None:
        """Let it act, and wait for that; raises what it could not do."""
        if self.pid:
            os.write(self.go, b"1")
            with open(self.report, "rb", closefd=False) as file:
                failure = file.read()
            if failure:
                raise decode(failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.pid:
            os.close(self.go)
            os.close(self.report)
            os.waitpid(self.pid, 0)
