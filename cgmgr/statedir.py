"""Records and locks in files: what outlives a command, and may be left by a killed one.

Law: nothing is known of what a record means.  A state root holds folders, a folder holds for each
name at most four files: `NAME.json`, the record; `NAME.lock`, which is there while the name is
locked, and as long as it has a record; `NAME.tmp`, a record on its way; `NAME.undo`, a record of
what is under way, written before the first step of it and gone with the last: where it is there and
the name is not locked, somebody was killed in between.  `Folder.sweep` removes what nobody uses.

Records are replaced by rename(2), so a reader sees the old one or the new one, never a part, and
needs no lock.  They are not synced to disk: nothing that is remembered here outlives the boot, and
the root is meant to lie on a tmpfs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from cgmgr import shelf, statefile
from cgmgr.errors import DeadlineExceeded, HostError, RequestError, kernel_error
from cgmgr.record import Record
from cgmgr.statelock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any, Final

    from cgmgr.errors import KernelError

#: there is no room left, for the file or for one more
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
LOCK_S: Final = 30.0
#: leaves room in 255 bytes (NAME_MAX) for the ends of the file names
_LONGEST: Final = 200
_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b"/%")
_ESCAPES: Final = {byte: f"%{byte:02X}" for byte in range(256) if byte not in _PLAIN}
_HASHED: Final = "%h"


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
    plain = raw.decode("latin-1").translate(_ESCAPES)
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

    @contextlib.contextmanager
    def at_once(self, name: str) -> Generator[bool]:
        """Hold the name's lock, unless somebody else does; gives whether it is held."""
        with self._at_once(encode(name)) as held:
            yield held

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
        with self.opened(create=True) as folder:
            file = encode(name)
            self._put(name, f"{file}.tmp", value, folder)
            try:
                statefile.rename(f"{file}.tmp", f"{file}.json", folder)
            except OSError as error:
                statefile.unlink(f"{file}.tmp", folder)
                raise kernel_error("write record", self.path_of(name), error) from error

    def begin(self, name: str, value: object) -> None:
        """Note what is under way, before the first step.  The caller holds the name's lock, until
        `commit` or `end`."""
        with self.opened(create=True) as folder:
            self._put(name, f"{encode(name)}.undo", value, folder)

    def commit(self, name: str) -> bool:
        """What was noted becomes the record, and is no longer under way.  Whether it was noted."""
        return self._rename(name, ".undo", ".json")

    def retract(self, name: str) -> bool:
        """The record becomes the note of what is under way.  Whether there was a record."""
        return self._rename(name, ".json", ".undo")

    def end(self, name: str) -> None:
        """Nothing is under way any more; no error when nothing was."""
        with self.opened() as folder:
            statefile.unlink(f"{encode(name)}.undo", folder)

    def begun(self, name: str) -> Any:
        """What was noted by `begin` or `retract`, None if nothing is under way.  A note that was
        not written to its end is none: there was no first step."""
        file = f"{encode(name)}.undo"
        with self.opened() as folder:
            if folder < 0 or not statefile.exists(file, folder):  # as nearly always
                return None
        try:
            return self._read(file)
        except ValueError:
            return None

    def unfinished(self) -> Iterator[Any]:
        """Every note of what is under way, of names that nobody has locked."""
        for file in self._files(".undo"):
            encoded = file.removesuffix(".undo")
            with contextlib.suppress(ValueError):
                value = None if self._locked(encoded) else self._read(file)
                if value is not None:
                    yield value

    def remove(self, name: str) -> None:
        """Forget the name; no error when there is no record."""
        with self.opened() as folder:
            statefile.unlink(f"{encode(name)}.json", folder)

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
        """Remove what nobody uses: half-written records and notes, damaged ones, locks without a
        record.
        Returns the paths of the records that it removed, with the reason, a line each."""
        swept: list[str] = []
        for end in (".tmp", ".undo", ".json", ".lock"):
            for file in self._files(end):
                # a name that is locked is in use; letting go of a lock without a record removes it
                with self._at_once(file.removesuffix(end)) as held:
                    swept += self._sweep(file) if held else []
        return swept

    def path_of(self, name: str) -> str:
        """Where the name's record is or would be, for messages."""
        return f"{self.path}/{encode(name)}.json"

    def failed(self, operation: str, path: str, error: OSError) -> KernelError:
        """What the root's file system refused; what helps against that."""
        hint = self.hint() if error.errno == errno.ENOENT else None
        if error.errno in FULL:
            where = self.root if os.path.isdir(self.root) else os.path.dirname(self.root)
            hint = f"df -h {where} && df -i {where}"
        return kernel_error(operation, path, error, hint=hint)

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
                    raise self.failed("open", self.path, error) from error
        yield -1 if kept is None else kept.fd

    def close(self) -> None:
        """Let go of the folder's descriptor; twice does no harm."""
        self._kept = None

    def _open(self, create: bool) -> int:
        parent, _, name = self.root.rpartition("/")
        fd = os.open(parent or "/", statefile.DIRECTORY & ~os.O_NOFOLLOW)
        for below in (name, self.name):
            above = fd
            try:
                fd = statefile.open_directory(below, above, create)
            finally:
                os.close(above)
            statefile.check_private(fd, self.root if below == name else self.path)
        return fd

    @contextlib.contextmanager
    def _at_once(self, encoded: str) -> Generator[bool]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(Lock(self, encoded, 0))
            except DeadlineExceeded:
                yield False
                return
            yield True

    def _put(self, name: str, file: str, value: object, folder: int) -> None:
        import json

        try:
            statefile.write(file, json.dumps(value).encode("ascii"), folder)
        except OSError as error:
            raise self.failed("write record", self.path_of(name), error) from error

    def _rename(self, name: str, end: str, into: str) -> bool:
        file = encode(name)
        with self.opened() as folder:
            try:
                return folder >= 0 and statefile.rename(file + end, file + into, folder)
            except OSError as error:
                raise self.failed("rename record", self.path_of(name), error) from error

    def _locked(self, encoded: str) -> bool:
        """Whether somebody holds the lock just now.  Nothing is made."""
        with self.opened() as folder:
            try:
                fd = shelf.opened(f"{encoded}.lock", statefile.FILE, folder)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(fd, fcntl.LOCK_UN)
            except BlockingIOError:
                return True
            finally:
                os.close(fd)
            return False

    def _files(self, end: str) -> list[str]:
        with self.opened() as folder:
            if folder < 0:
                return []
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if entry.name.endswith(end))

    def _read(self, file: str) -> Any:
        import json

        with self.opened() as folder:
            data = statefile.content(file, folder)
        if data is None:
            return None
        try:
            return self.parse(file.rpartition(".")[0], json.loads(data))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def _sweep(self, file: str) -> list[str]:
        """One file whose name is locked by us; it may have changed since it was listed."""
        reason = ""
        if file.endswith(".tmp"):
            reason = "half-written"
        elif file.endswith((".json", ".undo")):
            try:
                self._read(file)
            except ValueError as error:
                reason = str(error)
        if not reason:
            return []
        with self.opened() as folder:
            statefile.unlink(file, folder)
        return [f"{self.path}/{file}: {reason}"]
