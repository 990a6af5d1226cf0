"""Launchers that are killed: what they leave, and that it is found and removed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.host import Host
from cgmgr.owner import Owner
from cgmgr.runtime import bundle
from cgmgr.runtime.collect import collect
from cgmgr.runtime.launcher import Container
from cgmgr.runtime.state import ContainerRecord, Containers
from tests.leaks import mounts

from .containers import Lab

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> Lab:
    return Lab(Host.detect(), tmp_path, run_token)


@pytest.fixture
def containers(lab: Lab) -> Containers:
    return Containers(str(lab.run_root))


class Launcher:
    """A process that starts a container as far as `until`, says its first process's pid, waits."""

    def __init__(self, lab: Lab, until: str, *, dies: bool, user: str = "") -> None:
        self.name = lab.name()
        program = (
            "import time; from cgmgr.host import Host; from cgmgr.runtime import launcher, spec;"
            f"request = spec.ContainerRequest(id={self.name!r}, rootfs='host',"
            f" argv=('sleep', '1000'), user={user!r});"
            f"launch = launcher.Launch(host=Host.detect(), store={str(lab.store)!r},"
            f" run_root={str(lab.run_root)!r}, die_with_launcher={dies});"
            "container = launcher.Container.create(request, launch);"
            + ("container.start();" if until == "started" else "")
            + "print(container.process.pid, flush=True); time.sleep(1000)"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self.process.stdout is not None
        self.init = int(self.process.stdout.readline())
        self.init_pidfd = os.pidfd_open(self.init)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def init_ends(self, timeout: float) -> bool:
        return bool(select.select([self.init_pidfd], [], [], timeout)[0])

    def close(self) -> None:
        self.kill()
        if not self.init_ends(0):
            signal.pidfd_send_signal(self.init_pidfd, signal.SIGKILL)
            self.init_ends(10)
        os.close(self.init_pidfd)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(params=["created", "started", "started-as-another-user"])
def launcher(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Launcher]:
    until, _, other = request.param.partition("-")
    made = Launcher(lab, until, dies=True, user="12345" if other else "")
    yield made
    made.close()


def test_the_container_dies_with_its_launcher(
    lab: Lab, containers: Containers, launcher: Launcher
) -> None:
    before = mounts()
    launcher.kill()

    assert launcher.init_ends(10)
    assert mounts() == before
    assert collect(containers, str(lab.store)) == [launcher.name]
    assert lab.left() == []
    assert collect(containers, str(lab.store)) == []


def test_one_that_was_to_go_on_is_killed_by_the_collector(lab: Lab, containers: Containers) -> None:
    launcher = Launcher(lab, "started", dies=False)
    try:
        launcher.kill()
        assert not launcher.init_ends(0)
        (record,) = containers.records()
        assert (record.orphaned, record.running) == (True, True)

        assert collect(containers, str(lab.store)) == [launcher.name]

        assert launcher.init_ends(0)
        assert lab.left() == []
    finally:
        launcher.close()


def test_one_that_is_used_is_left_alone(lab: Lab, containers: Containers) -> None:
    with lab.running("sleep", "1000") as (container, _):
        assert collect(containers, str(lab.store)) == []
        assert container.process.poll() is None
        assert Path(container.bundle).is_dir()


def test_one_whose_record_another_state_root_has_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    elsewhere = Containers(str(tmp_path / "elsewhere"))
    with lab.running("sleep", "1000") as (container, _):
        assert collect(elsewhere, str(lab.store)) == []
        assert Path(container.bundle).is_dir()


def test_one_that_a_fork_of_its_launcher_holds_is_left_alone(
    lab: Lab, containers: Containers
) -> None:
    bundle.prepare_store(str(lab.store))
    held = bundle.hold(bundle.make(str(lab.store), "held", {}, ("/",)))
    dead = Owner.of().replace(start_ticks=1)
    with containers.lock("held"):
        containers.save(ContainerRecord(id="held", bundle=f"{lab.store}/held", launcher=dead))

    assert collect(containers, str(lab.store)) == []
    os.close(held)
    assert collect(containers, str(lab.store)) == ["held"]


def test_a_bundle_without_a_record_is_removed(lab: Lab, containers: Containers) -> None:
    """The records are gone after a boot, the bundles are not."""
    bundle.prepare_store(str(lab.store))
    bundle.make(str(lab.store), "left", {}, ("/",))

    assert collect(containers, str(lab.store)) == ["left"]
    assert lab.left() == []


def test_a_record_without_a_bundle_is_removed(lab: Lab, containers: Containers) -> None:
    dead = Owner.of().replace(start_ticks=1)
    with containers.lock("left"):
        containers.save(
            ContainerRecord(id="left", bundle=f"{lab.store}/left", launcher=dead, init=dead)
        )

    assert collect(containers, str(lab.store)) == ["left"]
    assert lab.left() == []


def test_another_process_with_the_pid_is_not_killed(lab: Lab, containers: Containers) -> None:
    dead = Owner.of().replace(start_ticks=1)
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        old = Owner.of(bystander.pid).replace(start_ticks=1)
        with containers.lock("left"):
            containers.save(
                ContainerRecord(id="left", bundle=f"{lab.store}/left", launcher=dead, init=old)
            )

        collect(containers, str(lab.store))

        assert bystander.poll() is None
        bystander.kill()


def test_an_interrupted_launcher_leaves_nothing(lab: Lab) -> None:
    """^C wherever it is: the signal comes at a random moment, a few times."""
    program = (
        "import sys; from cgmgr.host import Host; from cgmgr.runtime import launcher, spec\n"
        f"launch = launcher.Launch(host=Host.detect(), store={str(lab.store)!r},"
        f" run_root={str(lab.run_root)!r})\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    while True:\n"
        "        request = spec.ContainerRequest(id=spec.new_id(), rootfs='host', argv=('true',))\n"
        "        launcher.run_container(request, launch)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(3)\n"
    )
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            # how long it takes from here is the random part
            while not lab.store.exists() or not list(lab.store.iterdir()):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait() == 3
        assert lab.left() == []


def test_the_record_says_who(lab: Lab, containers: Containers) -> None:
    with Container.create(lab.request("sleep", "1000"), lab.launch()) as container:
        (record,) = containers.records()
        assert record.launcher == Owner.of()
        assert record.init == Owner.of(container.process.pid)
        assert record.running
        assert record.bundle == container.bundle
    assert containers.records() == []
