"""The lanes of the tests: which there are, which this machine can run, and how they ended.

Law: a lane is a folder below tests/, or some; what lies in no lane's folder is the unit lane.  A
lane that cannot run says why, and its tests are skipped with that reason, never left out in
silence.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import pytest

from .leaks import mount_table
from .vm import image


class Lane(NamedTuple):
    name: str
    obstacle: Callable[[], str]
    """Why this machine cannot run it, or nothing."""
    when_empty: str = "has no tests"
    """What it means for the user that the lane has no tests."""
    more_folders: tuple[str, ...] = ()
    """Beside the one of its name."""


def _nothing() -> str:
    return ""


def no_root_or_no_cgroups() -> str:
    if os.geteuid() != 0:
        return f"needs root, and the user id is {os.geteuid()}"
    mounts = [mount for mount in mount_table() if mount.fstype in ("cgroup", "cgroup2")]
    if not any(os.access(mount.place, os.W_OK) for mount in mounts):
        return "needs a cgroup mount that can be written to, and /proc/self/mountinfo has none"
    return ""


LANES = (
    Lane("unit", _nothing),
    Lane("root", no_root_or_no_cgroups, more_folders=("conformance",)),
    Lane("vm", image.obstacle),
    Lane(
        "interop",
        _nothing,
        "has no tests in this release: no other project's client is proven to work with cgmgr yet",
    ),
)

_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def lane_named(name: str) -> Lane:
    return next(lane for lane in LANES if lane.name == name)


def lane_of(path: str | PurePath) -> Lane:
    """The lane of a test file or of a pytest node id, relative to the checkout or absolute."""
    parts = PurePath(str(path).partition("::")[0]).parts
    below = parts[len(parts) - parts[::-1].index("tests") :] if "tests" in parts else ()
    first = below[0] if len(below) > 1 else ""
    found = (lane for lane in LANES if first in (lane.name, *lane.more_folders))
    return next(found, LANES[0])


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark each test with its lane; skip those of a lane that cannot run here."""
    obstacles = {lane.name: lane.obstacle() for lane in LANES}
    for item in items:
        lane = lane_of(item.path)
        if lane.name == "root":
            item.add_marker(pytest.mark.root)
        if obstacles[lane.name]:
            item.add_marker(pytest.mark.skip(reason=obstacles[lane.name]))


def lines(stats: Mapping[str, Sequence[object]], asked: Sequence[str]) -> list[str]:
    """One line a lane: how its tests ended, or why it was not run."""
    ended: dict[str, Counter[str]] = {lane.name: Counter() for lane in LANES}
    for outcome in _OUTCOMES:
        for report in stats.get(outcome, ()):
            if isinstance(report, pytest.TestReport):
                ended[lane_of(report.nodeid).name][outcome] += 1
    width = max(len(lane.name) for lane in LANES)
    return [
        f"{lane.name:{width}}  {_line(lane, ended[lane.name])}"
        for lane in LANES
        if lane.name in asked
    ]


def _line(lane: Lane, ended: Counter[str]) -> str:
    counts = ", ".join(f"{ended[outcome]} {outcome}" for outcome in _OUTCOMES if ended[outcome])
    obstacle = lane.obstacle()
    if obstacle:
        return f"not run: {obstacle}" + (f" ({counts})" if counts else "")
    return f"run: {counts}" if counts else f"not run: {lane.when_empty}"


def skip_lines(stats: Mapping[str, Sequence[object]]) -> list[str]:
    """How many tests were skipped for which reason, most first."""
    reasons = Counter(
        _reason(report)
        for report in stats.get("skipped", ())
        if isinstance(report, (pytest.TestReport, pytest.CollectReport))
    )
    return [f"{count:4} skipped: {reason}" for reason, count in reasons.most_common()]


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return text.removeprefix("Skipped: ")


def whole_suite(arguments: Sequence[str], root: Path) -> bool:
    """Whether a run with these arguments meets every lane."""
    return all(Path(argument).resolve() in (root, root / "tests") for argument in arguments)
