"""Fixtures of the vm lane.  Law: wiring only."""

from collections.abc import Generator

import pytest

from . import lane


@pytest.fixture(scope="session")
def terminal(request: pytest.FixtureRequest) -> lane.Terminal:
    return lane.Terminal(request.session)


@pytest.fixture(scope="session")
def bench(run_token: str, terminal: lane.Terminal) -> Generator[lane.Bench]:
    with lane.bench(run_token, terminal) as at:
        yield at
