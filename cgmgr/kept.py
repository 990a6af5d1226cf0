"""Statistics files that stay open from one reading to the next.

Law: saves system calls, and decides nothing: whatever cannot be read here is read by the directory,
in the usual way, and fails there in the usual words.

A file of the kernel's that is read again from its beginning says what is true then.  That is one
pread(2) instead of open, read and close; but a thousand groups of ten hierarchies hold some fifty
thousand descriptors, hence the `Budget`.  Whoever reads all groups in turn gains nothing by closing
one to open another, so what found no room is not kept, and what is kept stays until it vanishes.
"""

from __future__ import annotations

import os
from functools import partial

from cgmgr.errors import CgmgrError
from cgmgr.kernfs import CHUNK, WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cgmgr.kernfs import Directory

#: what a budget of half of no limit would be
MOST = 1 << 19


class Budget:
    """How many descriptors may still be kept, by all who share it."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    @classmethod
    def of_this_process(cls) -> Budget:
        """Half of what this process may have open (RLIMIT_NOFILE); the rest is for the rest."""
        import resource

        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(MOST if soft == resource.RLIM_INFINITY else min(soft // 2, MOST))


class KeptFiles:
    """The files of one group, in all its hierarchies."""

    __slots__ = ("_budget", "_folders")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._folders: dict[str, _Folder] = {}

    def __len__(self) -> int:
        return sum(len(folder.fds) for folder in self._folders.values())

    def reader(self, key: str, at: Callable[[str], Directory]) -> Callable[[str], str | None]:
        """What `Directory.try_read` is, for the files in the hierarchy `key`; `at` gives the
        group's directory there, where one is needed."""
        folder = self._folders.get(key)
        if folder is None:
            folder = self._folders[key] = _Folder(self._budget)
        return partial(folder.try_read, partial(at, key))

    def close(self) -> None:
        """Close all of them; twice does no harm."""
        for folder in self._folders.values():
            folder.close()


class _Folder:
    """The files in one hierarchy."""

    __slots__ = ("_budget", "fds")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.fds: dict[str, int] = {}

    def try_read(self, at: Callable[[], Directory], file: str) -> str | None:
        fd = self.fds.get(file, -1)
        if fd < 0:
            return self._first(at(), file)
        try:
            data = os.pread(fd, CHUNK, 0)
            if len(data) >= WHOLE:
                while more := os.pread(fd, CHUNK, len(data)):
                    data += more
        except OSError:
            # removed, and perhaps made anew: by its name it is found, or is told to be gone
            self._let_go(file)
            return self._first(at(), file)
        return data.decode("utf-8", "surrogateescape")

    def close(self) -> None:
        for file in list(self.fds):
            self._let_go(file)

    def __del__(self) -> None:
        self.close()

    def _first(self, directory: Directory, file: str) -> str | None:
        text = directory.try_read(file)
        if text is not None and self._budget.left > 0:
            try:
                self.fds[file] = directory.open(file)
            except CgmgrError:  # it vanished since, or no descriptor is left
                return text
            self._budget.left -= 1
        return text

    def _let_go(self, file: str) -> None:
        os.close(self.fds.pop(file))
        self._budget.left += 1
