"""What a controller is: the seam between a request and the files that hold it.

Law: pure.  A controller says which files get which values; it opens none of them.  It is a module
with the names of `Controller`, and has a line in the table of this package.
"""

from __future__ import annotations

from cgmgr.record import Record
from cgmgr.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from cgmgr.resources import DeviceRule
    from cgmgr.stats import Reader

    class Controller(Protocol):
        """One controller.  Every function is pure, `version` is 1 or 2.

        A module may also have `explain(error, row, read)`: the kernel's refusal of a row as an
        error in the controller's words, for an errno whose meaning it knows; else the error itself,
        and `INHERITED`, those of the files of `observe` that it wants to see of the group above.
        """

        @property
        def NAME(self) -> str:
            """The name in cgroup.controllers: "io"."""
            ...

        @property
        def V1(self) -> str:
            """The name of its v1 hierarchy, "blkio"; "" if v1 has none."""
            ...

        @property
        def ON_V2(self) -> bool:
            """Whether v2 has it at all (net_cls and net_prio: no)."""
            ...

        @property
        def IMPLICIT_ON_V2(self) -> bool:
            """There without being named in cgroup.controllers: freezer, devices, perf_event."""
            ...

        def wants(self, resources: Resources, /) -> bool:
            """Whether the request says anything of this controller."""
            ...

        def observe(self, version: int, facts: Facts = ..., /) -> tuple[str, ...]:
            """The files whose present text `rows` depends on, or that a plan has to restore.

            `facts` are needed where the files' names depend on the host (hugetlb)."""
            ...

        def rows(self, resources: Resources, scene: Scene, /) -> list[Row]:
            """The writes that hold the request, in the order the kernel accepts.

            Raises `ControllerUnavailable` for a setting that this version of the hierarchy has not,
            `RequestError` for a value that this host cannot hold.
            """
            ...

        def stats(self, read: Reader, version: int, facts: Facts, /) -> Record | None:
            """What the files say, as a record of `cgmgr.stats`; None where nothing is to be had."""
            ...

    #: reads one file of the group: its text, or None where it is absent
    Read = Callable[[str], str | None]


class BlockDevice(Record):
    """A disk: its number, its name, its IO scheduler, and the whole disk's number if it is a
    part."""

    number: str
    name: str
    scheduler: str = ""
    part_of: str | None = None


class Facts(Record):
    """What the rows need to know of the host; `cgmgr.host.Host.facts` fills it."""

    page_size: int = 4096
    cpus: tuple[int, ...] = ()
    nodes: tuple[int, ...] = (0,)
    clock_ticks: int = 100
    hugepage_sizes: tuple[str, ...] = ()
    block_devices: tuple[BlockDevice, ...] = ()
    interfaces: tuple[str, ...] = ()
    kernel: tuple[int, ...] = ()
    """version and patch level, such as (6, 1); empty where that is not known"""


NO_FACTS = Facts()


class Scene(Record):
    """What was observed of one group in the hierarchy that holds the controller.

    `files` holds the present text of the files that `observe` named, stripped, and None for one
    that is absent.  For a group that is yet to be made it is empty: an unknown file has the
    kernel's default. `parent` holds the same files of the parent (for what is inherited: cpusets,
    device lists). `children` are the groups below.  `where` is the group's absolute path, for
    messages.  `remembered` is what was asked of the group before; what is asked now is not in it.
    """

    version: int
    new: bool = True
    files: Mapping[str, str | None] = {}
    parent: Mapping[str, str | None] = {}
    children: tuple[str, ...] = ()
    where: str = ""
    facts: Facts = NO_FACTS
    remembered: Resources = Resources()


class Alternative(Record):
    """What to write instead when the kernel answers a row with `errno`; `why` is for people."""

    errno: int
    rows: tuple[Row, ...] = ()
    why: str = ""


class Row(Record):
    """One write.  `compare` names how the file is compared with what was asked (see `compare.py`);
    "" is a file that cannot be read back: such a row is planned only where something differs.
    `irreversible` says why a write cannot be taken back.

    Some settings are written to one file and seen in another (devices.allow, devices.list):
    `held_in` is the file to read back, `expected` what it has to say instead of the value, and
    `undo_file` the file that takes `undo`.
    """

    controller: str
    file: str
    value: str
    compare: str = "exact"
    alternative: Alternative | None = None
    irreversible: str = ""
    undo: str | None = None
    """what puts the present value back, where that is not the file's present text"""
    undo_file: str = ""
    held_in: str = ""
    expected: str | None = None

    @property
    def seen_in(self) -> str:
        """The file to read back."""
        return self.held_in or self.file

    @property
    def wanted(self) -> str:
        """What `compare` compares with what that file says."""
        return self.value if self.expected is None else self.expected


class FilterRow(Row):
    """The v2 device filter: no file but a BPF program, which a driver builds from the rules."""

    rules: tuple[DeviceRule, ...] = ()
