"""What most tests on the kernel that runs here begin with: its host, a manager whose records are
the test's own, and a group that is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.group import Group
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.rundir import Rundir


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.detect()


@pytest.fixture
def manager(host: Host, tmp_path: Path) -> Manager:
    return Manager(host, driver="cgroupfs", rundir=Rundir(str(tmp_path / "run")))


@pytest.fixture
def name(run_token: str, request: pytest.FixtureRequest) -> str:
    return f"/{run_token}/{request.node.name.split('[')[0][:40]}"


@pytest.fixture
def group(manager: Manager, name: str) -> Iterator[Group]:
    with manager.create(name) as made:
        yield made
