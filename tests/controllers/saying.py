"""What the tests of the controllers share: scenes in one line, rows as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from cgmgr.controllers.base import BlockDevice, Facts, Row, Scene
from cgmgr.resources import DeviceRule

WHERE = "/sys/fs/cgroup/x/cgmgr/job"

FACTS = Facts(
    cpus=(0, 1, 2, 3),
    nodes=(0, 1),
    hugepage_sizes=("2MB", "1GB"),
    block_devices=(
        BlockDevice(number="8:0", name="sda", scheduler="mq-deadline"),
        BlockDevice(number="8:1", name="sda1", part_of="8:0"),
        BlockDevice(number="8:16", name="sdb", scheduler="bfq"),
    ),
    interfaces=("eth0", "lo"),
)


def new(version: int, parent: Mapping[str, str | None] | None = None, **more: Any) -> Scene:
    """A group that is yet to be made."""
    return Scene(version=version, parent=parent or {}, where=WHERE, facts=FACTS, **more)


def seen(version: int, files: Mapping[str, str | None], **more: Any) -> Scene:
    """A group that is there, with these files."""
    return Scene(version=version, new=False, files=files, where=WHERE, facts=FACTS, **more)


def written(rows: list[Row]) -> list[str]:
    """The rows as a shell would write them."""
    return [f"{row.value} > {row.file}" for row in rows]


def undone(rows: list[Row], files: Mapping[str, str | None]) -> dict[str, str | None]:
    """What taking the rows back writes, last first; of each file the last text."""
    texts: dict[str, str | None] = {}
    for row in reversed(rows):
        text = row.undo if row.undo is not None else files.get(row.file)
        texts[row.undo_file or row.file] = text
    return texts


def nothing(_file: str) -> None:
    """Reads a group without any files."""


rules = st.builds(
    DeviceRule,
    kind=st.sampled_from("bc"),
    major=st.sampled_from([None, 1, 5]),
    minor=st.sampled_from([None, 3, 5]),
    access=st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
    allow=st.booleans(),
)
"""Rules that often meet."""

everything = st.builds(DeviceRule, kind=st.just("a"), allow=st.booleans())
