"""What is remembered of groups between commands: one record and one lock a group.

Law: no group is opened or judged here.  How records and locks are kept is `cgmgr.statedir`'s.
"""

from __future__ import annotations

import contextlib
import os
import time

from cgmgr import owner
from cgmgr.errors import CgmgrError, ControllerUnavailable, NameTaken
from cgmgr.host import read_text
from cgmgr.owner import Owner
from cgmgr.plan import Was
from cgmgr.record import Record
from cgmgr.statedir import Damaged, Folder, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any, Final, Self


class GroupRecord(Record):
    """What is remembered of a group.

    `paths` is its path in each hierarchy, by the hierarchy's key; `resources` are the words it was
    asked for.  An `ephemeral` group is meant to go with its owner, an `implicit` one was made only
    as the parent of another, and goes with the last of those below it.

    In a note of what is under way (`Rundir.begin`), `before` holds what brings the old settings
    back, and None says that the group is being made or removed, and goes altogether; `spare` that
    it goes only as long as there is no process in it.
    """

    name: str
    driver: str
    paths: dict[str, str] = {}  # noqa: RUF012
    resources: dict[str, str] = {}  # noqa: RUF012
    ephemeral: bool = False
    implicit: bool = False
    owner: Owner | None = None
    created_usec: int = 0
    before: tuple[Was, ...] | None = None
    spare: bool = False

    @classmethod
    def of_this_process(cls, **fields: Any) -> Self:
        """A record whose owner is this process and which begins now."""
        return cls(owner=Owner.of(), created_usec=time.time_ns() // 1000, **fields)

    @property
    def orphaned(self) -> bool:
        """Whether the group was to go with its owner, or belongs to an earlier boot."""
        if self.owner is None or owner.alive(self.owner):
            return False
        return self.ephemeral or self.owner.boot_id != owner.boot_id()


def default_root(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """/run/cgmgr for root, else cgmgr in XDG_RUNTIME_DIR, or in the directory which that usually
    is.  Whether it is there shows when something is to be remembered."""
    user = os.geteuid() if uid is None else uid
    if user == 0:
        return "/run/cgmgr"
    parent = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    return f"{parent.rstrip('/')}/cgmgr"


def way_to_a_root(pid1: str, uid: int) -> str:
    """How a user who has no directory for records and locks gets one."""
    if uid == 0:
        return "mkdir -p /run"
    if pid1 == "systemd":
        return f"loginctl enable-linger {uid} && export XDG_RUNTIME_DIR=/run/user/{uid}"
    return "mkdir -m 700 /tmp/run-$USER && export XDG_RUNTIME_DIR=/tmp/run-$USER"


class Rundir(Folder):
    """The records and locks of groups, below `root` (by default `default_root()`)."""

    def __init__(self, root: str | None = None) -> None:
        super().__init__(root if root is not None else default_root(), "groups")

    def hint(self) -> str | None:
        if self.root != default_root():
            return None
        return way_to_a_root((read_text("/", "proc/1/comm") or "").strip(), os.geteuid())

    def parse(self, encoded: str, value: Any) -> GroupRecord:
        fields = _checked(GroupRecord, value, _GROUP_FIELDS)
        if value.get("owner") is not None:
            fields["owner"] = Owner(**_checked(Owner, value["owner"], _OWNER_FIELDS))
        if value.get("before") is not None:
            fields["before"] = _before(value["before"])
        record = GroupRecord(**fields)
        if encode(record.name) != encoded:
            raise ValueError(f"it is the record of {record.name!r}")
        return record

    def load(self, name: str) -> GroupRecord | None:
        """The group's record, None if there is none; `HostError` if it is damaged."""
        record: GroupRecord | None = self.read(name)
        return record

    def save(self, record: GroupRecord) -> None:
        """Replace the group's record.  The caller holds its lock."""
        self.write(record.name, _plain(record))

    def note(self, record: GroupRecord) -> None:
        """Note what is under way, as `begin` does."""
        self.begin(record.name, _plain(record))

    def noted(self, name: str) -> GroupRecord | None:
        """What is under way with a group, or was when somebody was killed; None if nothing is."""
        note: GroupRecord | None = self.begun(name)
        return note

    def cut_short(self) -> list[GroupRecord]:
        """What killed processes were at.  Look again under the lock before acting."""
        return list(self.unfinished())

    def delete(self, name: str) -> None:
        """Forget the group.  The caller holds its lock, whose file goes when it lets go."""
        self.remove(name)

    def records(self) -> list[GroupRecord]:
        """Every group that is remembered and whose record can be read."""
        return [record for _, record in self.entries() if isinstance(record, GroupRecord)]

    @contextlib.contextmanager
    def knowing(self, name: str) -> Generator[None]:
        """A complaint that the group is there already, or in some hierarchies only, has the way to
        remove it where it is one of ours; a stranger's is to be looked at."""
        try:
            yield
        except (NameTaken, ControllerUnavailable) as error:
            if error.path == name and self._ours(name):
                error.hint = f"cgmgr group rm {name}"
            raise

    def _ours(self, name: str) -> bool:
        try:
            return self.load(name) is not None
        except CgmgrError:  # a damaged one, of which gc says more
            return False

    def damaged(self) -> list[Damaged]:
        """The records that cannot be read; `sweep` removes them, the groups stay."""
        return [entry for _, entry in self.entries() if isinstance(entry, Damaged)]


_OWNER_FIELDS: Final = {"boot_id": str, "pid": int, "start_ticks": int, "pid_namespace": str}
_GROUP_FIELDS: Final = {
    "name": str,
    "driver": str,
    "paths": dict,
    "resources": dict,
    "ephemeral": bool,
    "implicit": bool,
    "created_usec": int,
    "spare": bool,
}


def _plain(record: GroupRecord) -> dict[str, Any]:
    value = {field: getattr(record, field) for field in record.__fields__}
    if record.owner is not None:
        value["owner"] = {field: getattr(record.owner, field) for field in Owner.__fields__}
    if record.before is not None:
        value["before"] = [[getattr(was, f) for f in Was.__fields__] for was in record.before]
    return value


def _before(value: Any) -> tuple[Was, ...]:
    if isinstance(value, list) is False:
        raise ValueError("before is no list")
    return tuple(_was(row) for row in value)


def _was(row: Any) -> Was:
    if isinstance(row, list) is False or len(row) != len(Was.__fields__):
        raise ValueError("before is no list of rows")
    fields: dict[str, Any] = dict(zip(Was.__fields__, row, strict=True))
    if not _is_text(fields):
        raise ValueError("before holds what is no text")
    return Was(**fields)


def _checked(record: type[Record], value: Any, kinds: dict[str, type]) -> dict[str, Any]:
    """The fields of a record from a JSON object, each of its kind.  What a later version writes
    beside them is left out, and what an earlier one did not write has its default."""
    if isinstance(value, dict) is False:
        raise ValueError("it holds no object")
    given = [field for field in kinds if field in value or field not in record.__defaults__]
    for field in given:
        kind = kinds[field]
        if type(value.get(field)) is not kind or (kind is dict and not _is_text(value[field])):
            raise ValueError(f"{field} is missing or of another type")
    return {field: value[field] for field in given}


def _is_text(table: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in table.values())
