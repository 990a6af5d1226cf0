"""What a guest tells about its tests, read while it runs, and whether its run counts.

Law: nothing of QEMU and nothing of the terminal here; lines in, words out.  The lines are those of
`inside`.
"""

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pytest

from .guest import Ended

_FINE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
_LINES_SHOWN = 60


class Reader:
    """Complete lines of a file that grows; a line under way is left for the next look."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0

    def new(self) -> list[dict[str, Any]]:
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._offset)
                found = stream.read()
        except FileNotFoundError:
            return []
        whole = found[: found.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class Outer(Protocol):
    """The run that shows what happens in guests; node ids and locations are made fit for it."""

    def grow(self, count: int) -> None:
        """So many tests more are to come."""
        ...

    def start(self, test: dict[str, Any]) -> None: ...

    def finish(self, test: dict[str, Any]) -> None: ...

    def show(self, report: dict[str, Any]) -> None: ...


class Results:
    """How far a guest's tests are; what happens goes on to the outer run."""

    def __init__(self, layout: str, outer: Outer) -> None:
        self._layout = layout
        self._outer = outer
        self.collected: int | None = None
        self.running = ""
        """The test under way, if one is."""
        self.exit_status: int | None = None
        self.ended: dict[str, str] = {}
        """Node id: how it ended, `error` for one whose setup or teardown failed."""

    def take(self, event: dict[str, Any]) -> None:
        ((kind, value),) = event.items()
        if kind == "collected":
            self.collected = value
            self._outer.grow(value)
        elif kind == "started":
            self.running = value["nodeid"]
            self._outer.start(as_outer(value, self._layout))
        elif kind == "finished":
            self.running = ""
            self._outer.finish(as_outer(value, self._layout))
        elif kind == "report":
            self._count(value)
            self._outer.show(as_outer(value, self._layout))
        elif kind == "ended":
            self.exit_status = value

    def _count(self, report: dict[str, Any]) -> None:
        outcome = report["outcome"]
        if report["when"] != "call" and outcome == "failed":
            outcome = "error"
        if outcome != "passed" or report["when"] == "call":
            self.ended[report["nodeid"]] = outcome

    def summary(self) -> str:
        counts = Counter(self.ended.values())
        order = ("passed", "failed", "error", "skipped")
        return ", ".join(f"{counts[how]} {how}" for how in order if counts[how]) or "no tests"

    def trouble(self, ended: Ended) -> str:
        """Why the run as a whole does not count, or nothing: failed tests speak for themselves."""
        what = ended.trouble or self._what_is_missing(ended)
        if not what:
            return ""
        return "\n".join(
            (
                f"guest {self._layout}: {what}",
                *((f"during {self.running}",) if self.running else ()),
                *_shown("what the job wrote", ended.output),
                *_shown("the console", ended.console),
            )
        )

    def _what_is_missing(self, ended: Ended) -> str:
        if self.exit_status == pytest.ExitCode.NO_TESTS_COLLECTED:
            return "no test was collected"
        if self.exit_status not in _FINE or ended.status != self.exit_status:
            return f"the tests did not run to their end: the job's status is {ended.status}"
        failed = {"failed", "error"} & set(self.ended.values())
        if self.exit_status == pytest.ExitCode.TESTS_FAILED and not failed:
            return "the run failed, and no test did"
        if self.exit_status == pytest.ExitCode.OK and len(self.ended) < (self.collected or 0):
            return (
                f"{self.collected} tests were collected, and {len(self.ended)} told how they ended"
            )
        return ""


def _shown(title: str, text: str) -> list[str]:
    lines = text.splitlines()
    left_out = len(lines) - _LINES_SHOWN
    rest = [f"({left_out} lines before)"] if left_out > 0 else []
    return [f"--- {title}", *rest, *lines[-_LINES_SHOWN:]]


def as_outer(told: dict[str, Any], layout: str) -> dict[str, Any]:
    """The same under a node id that says the guest: tests/a/b.py is tests/vm/LAYOUT/a/b.py."""
    path, line, name = told["location"]
    if isinstance(
        told.get("longrepr"), list
    ):  # where and why a test was skipped: JSON has no tuple
        told = {**told, "longrepr": tuple(told["longrepr"])}
    return {
        **told,
        "nodeid": outer_id(told["nodeid"], layout),
        "location": [outer_id(path, layout), line, name],
    }


def outer_id(nodeid: str, layout: str) -> str:
    path, colons, rest = nodeid.partition("::")
    parts = PurePosixPath(path).parts
    below = parts[1:] if parts[:1] == ("tests",) else parts
    return str(PurePosixPath("tests/vm", layout, *below)) + colons + rest
