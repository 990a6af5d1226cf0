"""README's table: from what tests showed to text."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import support
from .support import Shown

README = Path(__file__).parent.parent / "README.md"


def test_the_most_that_was_shown_counts() -> None:
    rows = support.table(
        [
            Shown("hybrid", "systemd", "pids", "bites"),
            Shown("hybrid", "systemd", "pids", "held"),
            Shown("legacy", "cgroupfs", "misc", "refused"),
        ]
    ).splitlines()

    assert len({row.count("|") for row in rows}) == 1
    assert rows[2 + support.ROWS.index("pids")] == "| pids | | | | bites | | | | |"
    assert rows[2 + support.ROWS.index("misc")] == "| misc | | | | | refused | | | |"


@pytest.mark.parametrize(
    ("nodeid", "found"),
    [
        ("tests/vm/mixed/conformance/test_groups.py::test_x[systemd]", ["mixed"]),
        ("tests/conformance/test_groups.py::test_x[systemd]", []),
        ("tests/vm/test_guests.py::test_guest[mixed]", []),
    ],
    ids=["guest", "here", "the guest itself"],
)
def test_only_guests_are_in_it(nodeid: str, found: list[str]) -> None:
    said = [("support", ["systemd", "pids", "held"]), ("other", 1)]
    assert [one.layout for one in support.shown_by(nodeid, said)] == found


def test_a_driver_of_somebody_else_has_no_column() -> None:
    assert support.table([Shown("mixed", "outside", "pids", "held")]) == support.table([])


@pytest.mark.parametrize("shown", [("mixed", "systemd", "x", "held"), ("mixed", "x", "pids", "y")])
def test_what_has_no_place_is_refused(shown: tuple[str, str, str, str]) -> None:
    with pytest.raises(ValueError, match="no place"):
        support.table([Shown(*shown)])


def test_the_table_goes_between_its_marks() -> None:
    text = support.filled_in(README.read_text(), "| x |\n")
    assert f"{support.BEGIN}\n\n| x |\n\n{support.END}" in text
    assert support.filled_in(text, "| x |\n") == text
    with pytest.raises(ValueError, match="no place"):
        support.filled_in("nothing", "")
