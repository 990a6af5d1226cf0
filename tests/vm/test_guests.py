"""Every layout of the hierarchies, under systemd: one guest each, one pytest in it.

A guest's tests are told as tests/vm/LAYOUT/...; the test here is about the guest as a whole: it
booted, ran all of them and went off in time.
"""

import pytest

from . import guest, lane


@pytest.mark.parametrize("layout", guest.LAYOUTS)
def test_guest(
    layout: str, bench: lane.Bench, terminal: lane.Terminal, pytestconfig: pytest.Config
) -> None:
    trouble = lane.run(layout, bench, terminal, lane.asked(pytestconfig))

    if trouble:
        pytest.fail(trouble, pytrace=False)
