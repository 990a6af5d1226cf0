"""Records and locks in files: what outlives a command, and may be left by a killed one.

Law: nothing is known of what a record means.  A state root holds folders, a folder holds for each
name at most three files: `NAME.json`, the record; `NAME.lock`, which is there while the name is
locked, and as long as it has a record; `NAME.tmp`, a record on its way.  `Folder.sweep` removes
what nobody uses.

Records are replaced by rename(2), so a reader sees the old one or the new one, never a part, and
needs no lock.  They are not synced to disk: nothing that is remembered here outlives the boot, and
the root is meant to lie on a tmpfs.

A lock is flock(2) on the lock file: the kernel lets go of it when its holder dies.  Whoever takes
it looks again whether the file still has its name, because the one who held it before may have
removed it.  Several locks are taken in the order of their names; a deadline ends every other wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

from cgmgr.errors import DeadlineExceeded, HostError, RequestError, kernel_error
from cgmgr.host import read_text
from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any, Final, Self

LOCK_S: Final = 30.0
#: leaves room in 255 bytes (NAME_MAX) for the ends of the file names
_LONGEST: Final = 200
_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b"/%")
_HASHED: Final = "%h"
#: The sticky bit keeps files in XDG_RUNTIME_DIR from being cleaned up after six hours (XDG Base
#: Directory Specification).
_FILE_MODE, _DIRECTORY_MODE = 0o1600, 0o1700
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Damaged(Record):
    """A record that cannot be read: cut short, or written by something else."""

    path: str
    reason: str


def encode(name: str) -> str:
    """The beginning of a name's file names: itself, with %XX for what is no plain character.

    A name that becomes longer than 200 bytes is hashed; it is then known from the record alone.
    """
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = b""
    if not raw:
        raise RequestError(f"invalid name {name!r}: it is no text", operation="name", value=name)
    plain = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if plain.startswith("."):
        plain = f"%2E{plain[1:]}"
    if len(plain) <= _LONGEST:
        return plain
    from hashlib import sha256

    return _HASHED + sha256(raw).hexdigest()


def decode(encoded: str) -> str | None:
    """The name behind `encode`; None for one that was hashed, or that is none of ours."""
    head, *rest = encoded.split("%")
    raw = head.encode("utf-8", "surrogateescape")
    try:
        for part in rest:
            raw += bytes([int(part[:2], 16)]) + part[2:].encode("ascii")
        name = raw.decode("utf-8", "surrogateescape")
        return name if encode(name) == encoded else None
    except (ValueError, RequestError):
        return None


class _Open:
    """An open folder; closed when nobody, in any thread, holds it any more."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Folder:
    """One folder of a state root: the records and locks of one kind of thing.

    Root and folder are made when first written to, for their owner alone; what is there already
    must be so too, else `HostError`.  A record is a JSON value, which `parse` gives its meaning.
    """

    #: also where a subclass finds no root, and raises before there is more to close
    _kept: _Open | None = None

    def __init__(self, root: str, folder: str) -> None:
        self.root = root.rstrip("/")
        self.name = folder
        self.path = f"{self.root}/{folder}"

    def parse(self, _encoded: str, value: Any) -> Any:
        """The meaning of a record's JSON value, in the file of that encoded name; `ValueError` says
        that it is damaged."""
        return value

    def hint(self) -> str | None:
        """How the directory that the root lies in comes to be, for whoever has none."""
        return None

    def lock(self, name: str, timeout: float | None = LOCK_S) -> Lock:
        """A context manager that holds the name's lock.  It waits for at most `timeout` seconds,
        None is for ever; `DeadlineExceeded` tells who holds it.  It is not reentrant."""
        return Lock(self, encode(name), timeout)

    def read(self, name: str) -> Any:
        """The name's record, None if there is none; `HostError` if it is damaged."""
        try:
            return self._read(f"{encode(name)}.json")
        except ValueError as error:
            path = self.path_of(name)
            raise HostError(
                f"damaged record {path}: {error}",
                operation="read record",
                path=path,
                hint="cgmgr gc",
            ) from error

    def write(self, name: str, value: object) -> None:
        """Replace the name's record as a whole.  When this raises, the old one is untouched.

        The caller holds the name's lock; for reading it need not.
        """
        import json

        data = json.dumps(value).encode("ascii")
        with self.opened(create=True) as folder:
            try:
                _replace(folder, encode(name), data)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                hint = f"df -h {self.root}" if full else None
                raise kernel_error("write record", self.path_of(name), error, hint=hint) from error

    def remove(self, name: str) -> None:
        """Forget the name; no error when there is no record."""
        with self.opened() as folder:
            _unlink(f"{encode(name)}.json", folder)

    def entries(self) -> Iterator[tuple[str | None, Any]]:
        """Every name with its record, in the order of the file names.  A damaged record is a
        `Damaged`; the name is None where only the record knew it."""
        for file in self._files(".json"):
            try:
                value = self._read(file)
            except ValueError as error:
                value = Damaged(path=f"{self.path}/{file}", reason=str(error))
            if value is not None:
                yield decode(file.removesuffix(".json")), value

    def sweep(self) -> list[str]:
        """Remove what nobody uses: half-written records, damaged ones, locks without a record.
        Returns the paths of the records that it removed, with the reason, a line each."""
        swept: list[str] = []
        for end in (".tmp", ".json", ".lock"):
            for file in self._files(end):
                # a name that is locked is in use; letting go of a lock without a record removes it
                with contextlib.suppress(DeadlineExceeded), Lock(self, file.removesuffix(end), 0):
                    swept += self._sweep(file)
        return swept

    def path_of(self, name: str) -> str:
        """Where the name's record is or would be, for messages."""
        return f"{self.path}/{encode(name)}.json"

    @contextlib.contextmanager
    def opened(self, *, create: bool = False) -> Generator[int]:
        """The folder's descriptor, its owner and mode checked; -1 where it is not there and shall
        not be made.  It is kept for the next time, as long as the folder has its name."""
        kept = self._kept
        if kept is None or os.fstat(kept.fd).st_nlink == 0:
            kept = self._kept = None
            try:
                kept = self._kept = _Open(self._open(create))
            except OSError as error:
                if error.errno != errno.ENOENT or create:
                    hint = self.hint() if error.errno == errno.ENOENT else None
                    raise kernel_error("open", self.path, error, hint=hint) from error
        yield -1 if kept is None else kept.fd

    def close(self) -> None:
        """Let go of the folder's descriptor; twice does no harm."""
        self._kept = None

    def _open(self, create: bool) -> int:
        parent, _, name = self.root.rpartition("/")
        fd = os.open(parent or "/", _DIRECTORY & ~os.O_NOFOLLOW)
        for below in (name, self.name):
            above = fd
            try:
                fd = _open_directory(below, above, create)
            finally:
                os.close(above)
            _check_private(fd, self.root if below == name else self.path)
        return fd

    def _files(self, end: str) -> list[str]:
        with self.opened() as folder:
            if folder < 0:
                return []
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if entry.name.endswith(end))

    def _read(self, file: str) -> Any:
        import json

        with self.opened() as folder:
            data = _content(file, folder)
        if data is None:
            return None
        try:
            return self.parse(file.removesuffix(".json"), json.loads(data))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def _sweep(self, file: str) -> list[str]:
        """One file whose name is locked by us; it may have changed since it was listed."""
        reason = ""
        if file.endswith(".tmp"):
            reason = "half-written"
        elif file.endswith(".json"):
            try:
                self._read(file)
            except ValueError as error:
                reason = str(error)
        if not reason:
            return []
        with self.opened() as folder:
            _unlink(file, folder)
        return [f"{self.path}/{file}: {reason}"]


class Lock:
    """The lock of one name, held within a `with`.  See `Folder.lock`."""

    __slots__ = ("_encoded", "_fd", "_folder", "_timeout")

    def __init__(self, folder: Folder, encoded: str, timeout: float | None) -> None:
        self._folder = folder
        self._encoded = encoded
        self._timeout = timeout
        self._fd = -1

    def __enter__(self) -> Self:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while self._fd < 0:
            self._try(deadline)
        return self

    def __exit__(self, *_exc: object) -> None:
        fd, self._fd = self._fd, -1
        try:
            with self._folder.opened() as folder:
                if folder >= 0 and not _exists(f"{self._encoded}.json", folder):
                    _unlink(f"{self._encoded}.lock", folder)
        finally:
            # a forked child may have a copy of the descriptor, and a close would leave it locked
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _try(self, deadline: float | None) -> None:
        """Take the lock, unless its file lost its name to whoever held it before."""
        file = f"{self._encoded}.lock"
        with self._folder.opened(create=True) as folder:
            fd = os.open(file, _FILE | os.O_CREAT, _FILE_MODE, dir_fd=folder)
            try:
                self._wait(fd, deadline)
                if _is(file, fd, folder):
                    self._fd = fd
            finally:
                if self._fd < 0:
                    os.close(fd)

    def _wait(self, fd: int, deadline: float | None) -> None:
        if deadline is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return
        pause = 0.0005
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._busy(fd) from error
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)

    def _busy(self, fd: int) -> DeadlineExceeded:
        path = f"{self._folder.path}/{self._encoded}.lock"
        holder = _holder(fd)
        return DeadlineExceeded(
            f"lock {path}: not free after {self._timeout:g} s"
            + (f", held by process {holder}" if holder else ""),
            operation="lock",
            path=path,
            errno=errno.EWOULDBLOCK,
            hint=f"ps -o pid,stat,args -p {holder}" if holder else None,
        )


def _open_directory(name: str, above: int, create: bool) -> int:
    if create:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, _DIRECTORY_MODE, dir_fd=above)
    return os.open(name, _DIRECTORY, dir_fd=above)


def _check_private(fd: int, path: str) -> None:
    """Whoever could write here could have any group killed by a forged record."""
    status = os.fstat(fd)
    user = os.geteuid()
    if status.st_uid == user and not status.st_mode & 0o077:
        return
    os.close(fd)
    raise HostError(
        f"open {path}: it must belong to user {user} alone, "
        f"and belongs to {status.st_uid} with mode {status.st_mode & 0o7777:o}",
        operation="open",
        path=path,
        hint=f"chown {user} {path} && chmod 1700 {path}",
    )


def _replace(folder: int, encoded: str, data: bytes) -> None:
    temporary = f"{encoded}.tmp"
    try:
        fd = os.open(temporary, _FILE | os.O_CREAT | os.O_TRUNC, _FILE_MODE, dir_fd=folder)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        os.rename(temporary, f"{encoded}.json", src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _unlink(temporary, folder)
        raise


def _content(file: str, folder: int) -> bytes | None:
    if folder < 0:
        return None
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as opened:
        return opened.read()


def _unlink(file: str, folder: int) -> None:
    if folder >= 0:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file, dir_fd=folder)


def _exists(file: str, folder: int) -> bool:
    return os.access(file, os.F_OK, dir_fd=folder, follow_symlinks=False)


def _is(file: str, fd: int, folder: int) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(file, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _holder(fd: int, proc: str = "/proc") -> int | None:
    """The process that holds the flock of an open file, by /proc/locks (proc_locks(5))."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in (read_text(proc, "locks") or "").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == device:
            return int(fields[4]) or None
    return None
