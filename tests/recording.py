"""Recorded hosts: the text format of tests/hosts, read and laid out on disk.

Law: the format and nothing else.  What the recorded files mean, and how a kernel would react, is
not known here.  tests/hosts/README.md describes the format, tests/hosts/record.py writes it.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import NamedTuple

HOSTS = Path(__file__).parent / "hosts"
#: groups that were made for the recording
FRESH, PROBE, BARE = "cgmgr-fresh", "cgmgr-probe", "cgmgr-bare"

_NO_NEWLINE = "\\ no newline at the end"
_FILE = re.compile(r"=== (?P<path>/.*?)(?: (?P<mode>0[0-7]{3}))?")
_UNREADABLE = re.compile(r"!!! (?P<path>/.*) (?P<why>E[A-Z]+|write-only) (?P<mode>0[0-7]{3})")
_LINK = re.compile(r"--> (?P<path>/.*) (?P<target>\S+)")
_EMPTY = re.compile(r"/// (?P<path>/.*)")


class Entry(NamedTuple):
    """One recorded path.

    A file has `text`; one that cannot be read has `number`, the errno of the attempt (EINVAL for
    write-only files); a symbolic link has `target`; a directory has none of them.
    """

    mode: int = 0o755
    text: str | None = None
    number: int | None = None
    target: str | None = None

    @property
    def is_file(self) -> bool:
        return self.text is not None or self.number is not None


class Recording:
    """A recorded host: absolute path -> `Entry`, in the order of the recording."""

    def __init__(self, name: str, entries: dict[str, Entry]) -> None:
        self.name = name
        self.entries = entries

    @classmethod
    def load(cls, tree: Path | str) -> Recording:
        """From a file, or from the name of one in tests/hosts.  `ValueError` names a bad line."""
        path = tree if isinstance(tree, Path) else HOSTS / f"{tree.removesuffix('.tree')}.tree"
        return cls(path.stem, parse(path.read_text(encoding="utf-8")))

    def text(self, path: str) -> str:
        """A file's text; `KeyError` where it was not recorded or could not be read."""
        text = self.entries[path].text
        if text is None:
            raise KeyError(path)
        return text

    def files(self, directory: str) -> dict[str, Entry]:
        """The files directly in a directory, by name."""
        prefix = directory.rstrip("/") + "/"
        return {
            path[len(prefix) :]: entry
            for path, entry in self.entries.items()
            if path.startswith(prefix) and "/" not in path[len(prefix) :] and entry.is_file
        }

    def unpack(self, into: Path, without: tuple[str, ...] = ()) -> None:
        """Lay everything out below `into`, but for what is below a directory named in `without`."""
        for path, entry in self.entries.items():
            if not set(Path(path).parts).intersection(without):
                place(into / path.lstrip("/"), entry)


def parse(text: str) -> dict[str, Entry]:
    """The format as a mapping.  Raises `ValueError` for a line that has no meaning."""
    entries: dict[str, Entry] = {}
    lines = text.removesuffix("\n").split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if match := _FILE.fullmatch(line):
            start = at
            while at < len(lines) and not lines[at].startswith(("=== ", "!!! ", "--> ", "/// ")):
                at += 1
            entries[match["path"]] = Entry(int(match["mode"] or "644", 8), _join(lines[start:at]))
        elif match := _UNREADABLE.fullmatch(line):
            number = errno.EINVAL if match["why"] == "write-only" else _number(match["why"])
            entries[match["path"]] = Entry(int(match["mode"], 8), number=number)
        elif match := _LINK.fullmatch(line):
            entries[match["path"]] = Entry(target=match["target"])
        elif match := _EMPTY.fullmatch(line):
            entries[match["path"]] = Entry()
        elif not line.startswith("#"):
            raise ValueError(f"line {at}: {line!r} belongs to no file")
    return entries


def _join(lines: list[str]) -> str:
    if lines and lines[-1] == _NO_NEWLINE:
        return "\n".join(lines[:-1])
    return "".join(line + "\n" for line in lines)


def _number(name: str) -> int:
    number = getattr(errno, name, None)
    if not isinstance(number, int):
        raise ValueError(f"{name} is no errno")
    return number


def place(path: Path, entry: Entry) -> None:
    """Make one path as recorded; a file that could not be read is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.target is not None:
        path.symlink_to(entry.target)
    elif entry.is_file:
        path.write_text(entry.text or "", encoding="utf-8")
        path.chmod(entry.mode)
    else:
        path.mkdir(exist_ok=True)
