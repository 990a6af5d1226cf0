"""What is remembered of containers between commands: one record and one lock a container.

Law: no process is started or ended here, and no container's files are touched.  How records and
locks are kept is `cgmgr.statedir`'s.
"""

from __future__ import annotations

import time

from cgmgr import owner
from cgmgr.owner import Owner
from cgmgr.record import Record
from cgmgr.statedir import Folder, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

FOLDER: Final = "containers"


class ContainerRecord(Record):
    """One container.  `bundle` is its directory; `launcher` the process that made it, `init` its
    first process, None until there is one.

    `launcher` takes it away again, unless it `stays`: then somebody deletes it by a command.
    `group` is the name of its group, and `driver` what has made that; "" where it has none of its
    own.  `rootfs` is where its root is on the host.
    """

    id: str
    bundle: str
    launcher: Owner
    init: Owner | None = None
    created_usec: int = 0
    stays: bool = False
    group: str = ""
    driver: str = ""
    rootfs: str = ""

    @classmethod
    def of_this_process(cls, name: str, bundle: str) -> Self:
        """A record that begins now."""
        return cls(id=name, bundle=bundle, launcher=Owner.of(), created_usec=time.time_ns() // 1000)

    @property
    def orphaned(self) -> bool:
        """Whether nobody is going to take it away any more: also one that was to stay, and was not
        finished."""
        return not (self.stays and self.init is not None) and not owner.alive(self.launcher)

    @property
    def running(self) -> bool:
        """Whether its first process is there."""
        return self.init is not None and owner.alive(self.init)


class Containers(Folder):
    """The records and locks of containers below a state root."""

    def __init__(self, root: str) -> None:
        super().__init__(root, FOLDER)

    def parse(self, encoded: str, value: Any) -> ContainerRecord:
        try:
            fields: dict[str, Any] = {name: value[name] for name in _KINDS}
            fields |= {name: _owner(value[name]) for name in _OWNERS}
        except (KeyError, TypeError) as error:
            raise ValueError(f"a field is missing or of another type: {error}") from error
        if any(type(fields[name]) is not kind for name, kind in _KINDS.items()):
            raise ValueError("a field is of another type")
        if encode(fields["id"]) != encoded or not fields["bundle"].startswith("/"):
            raise ValueError(f"it is the record of {fields['id']!r} in {fields['bundle']!r}")
        if fields["launcher"] is None:
            raise ValueError("launcher is missing")
        return ContainerRecord(**fields)

    def load(self, name: str) -> ContainerRecord | None:
        """The container's record, None if there is none; `HostError` if it is damaged."""
        record: ContainerRecord | None = self.read(name)
        return record

    def save(self, record: ContainerRecord) -> None:
        """Replace the container's record.  The caller holds its lock."""
        self.write(record.id, _plain(record))

    def records(self) -> list[ContainerRecord]:
        """Every container whose record can be read."""
        return [entry for _, entry in self.entries() if isinstance(entry, ContainerRecord)]


_KINDS: Final = {
    "id": str,
    "bundle": str,
    "created_usec": int,
    "stays": bool,
    "group": str,
    "driver": str,
    "rootfs": str,
}
_OWNERS: Final = ("launcher", "init")


def _owner(value: Any) -> Owner | None:
    return Owner(**value) if value is not None else None


def _plain(record: ContainerRecord) -> dict[str, Any]:
    value = {field: getattr(record, field) for field in record.__fields__}
    for field in _OWNERS:
        one: Owner | None = value[field]
        value[field] = one and {name: getattr(one, name) for name in one.__fields__}
    return value
