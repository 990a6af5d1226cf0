"""The descriptors of a new process: its standard streams, pipes to it, what else it keeps.

Law: opens and closes descriptors, and nothing else.  Bytes through them are `cgmgr.spawn.streams`.
"""

from __future__ import annotations

import os

from cgmgr.errors import RequestError, kernel_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, BinaryIO, Final, Protocol

    class Numbered(Protocol):
        """A file that has a descriptor."""

        def fileno(self) -> int: ...

    #: a descriptor, a file, PIPE, DEVNULL, STDOUT; None is the caller's own
    Stream = int | Numbered | None

    class Wanted(Protocol):
        """The fields of a `SpawnRequest` that say which descriptors."""

        @property
        def stdin(self) -> Stream: ...
        @property
        def stdout(self) -> Stream: ...
        @property
        def stderr(self) -> Stream: ...
        @property
        def pass_fds(self) -> Sequence[int]: ...


# the same numbers as in subprocess
PIPE: Final = -1
STDOUT: Final = -2
DEVNULL: Final = -3


class Plumbing:
    """The descriptors of one start.

    `place` is what goes where: (descriptor of ours, number in the new process).  `here` is our
    directory, or -1 where it may not be entered, and a clone has it anyway.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.place: list[tuple[int, int]] = []
        self.here = -1
        self._theirs: list[int] = []
        self._ours: list[int] = [-1, -1, -1]
        try:
            self.here = self._directory()
            for number, stream in enumerate((wanted.stdin, wanted.stdout, wanted.stderr)):
                self.place.append((self._stream(stream, number), number))
            for fd in wanted.pass_fds:
                if fd > 2:
                    os.fstat(fd)
                    self.place.append((fd, fd))
        except OSError as error:
            self.close_ours()
            self.close_theirs()
            raise kernel_error("open", "the streams of a new process", error) from error
        except BaseException:
            self.close_ours()
            self.close_theirs()
            raise

    def take_files(self) -> tuple[BinaryIO | None, BinaryIO | None, BinaryIO | None]:
        """Our ends of pipes, as buffered files; they are the taker's from now on."""
        modes = ("wb", "rb", "rb")
        ours, self._ours = self._ours, [-1, -1, -1]
        files: list[Any] = [
            os.fdopen(fd, mode) if fd >= 0 else None for fd, mode in zip(ours, modes, strict=True)
        ]
        return files[0], files[1], files[2]

    def close_theirs(self) -> None:
        """What only the new process needs."""
        theirs, self._theirs = self._theirs, []
        for fd in theirs:
            os.close(fd)

    def close_ours(self) -> None:
        """Our ends of pipes, where nobody took them."""
        ours, self._ours = self._ours, [-1, -1, -1]
        for fd in ours:
            if fd >= 0:
                os.close(fd)

    def _directory(self) -> int:
        try:
            return self._keep(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except PermissionError:
            return -1

    def _stream(self, stream: Stream, number: int) -> int:
        if stream is None:
            return number if _is_inherited(number) else self._null()
        if not isinstance(stream, int):
            return stream.fileno()
        if stream == PIPE:
            return self._pipe(number)
        if stream == DEVNULL:
            return self._null()
        if stream == STDOUT and number == 2:
            return self.place[1][0]
        if stream < 0:
            raise RequestError(f"invalid stream {stream}", operation="start", value=str(stream))
        os.fstat(stream)
        return stream

    def _pipe(self, number: int) -> int:
        read, write = os.pipe()
        ours, theirs = (write, read) if number == 0 else (read, write)
        self._ours[number] = ours
        return self._keep(theirs)

    def _null(self) -> int:
        return self._keep(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))

    def _keep(self, fd: int) -> int:
        self._theirs.append(fd)
        return fd


def _is_inherited(fd: int) -> bool:
    """Whether exec would keep it: where a stream is closed, its number may be some file of ours."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False
