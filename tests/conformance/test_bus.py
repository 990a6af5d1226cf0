"""The bus and its adapters against the systemd of the guest."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from cgmgr.drivers import bus
from cgmgr.errors import DeadlineExceeded, DriverError

from .bus_scope import ask, error_of, round_trip, start, stop

pytestmark = [
    pytest.mark.skipif(
        not Path("/run/systemd/system").is_dir(), reason="needs systemd as PID 1 (sd_booted(3))"
    ),
    # PyGObject 3.42 has an importer in the style of Python 2.
    pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning"),
]
CHECKOUT = Path(__file__).parent.parent.parent
HAS_PYDBUS = all(importlib.util.find_spec(name) for name in ("gi", "pydbus"))
USER = 1000


@pytest.fixture(
    params=[
        "jeepney",
        pytest.param("pydbus", marks=pytest.mark.skipif(not HAS_PYDBUS, reason="needs pydbus")),
    ]
)
def transport(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def place() -> Generator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="cgmgr-bus-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def without_bus(place: Path) -> str:
    """A root where only the private socket is."""
    (place / "run").mkdir()
    (place / "run/systemd").symlink_to("/run/systemd")
    return str(place)


@pytest.fixture
def system(transport: str) -> Generator[bus.Bus]:
    connected = bus.connect(transport=transport)
    yield connected
    connected.close()


def program(*words: str, before: tuple[str, ...] = (), **environ: str) -> str:
    argv = [*before, sys.executable, "-m", "tests.conformance.bus_scope", *words]
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ}
    done = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_scope_over_the_system_bus(system: bus.Bus, transport: str) -> None:
    assert round_trip(system, f"cgmgr-bus-{transport}.scope").startswith("/system.slice/")


def test_a_scope_over_the_private_socket(without_bus: str, transport: str) -> None:
    connected = bus.connect(without_bus, transport=transport)
    assert round_trip(connected, f"cgmgr-private-{transport}.scope").startswith("/system.slice/")
    connected.close()


@pytest.mark.parametrize("how", ["bus", "private"])
def test_a_scope_over_the_bus_of_a_user(transport: str, how: str, place: Path) -> None:
    run = Path(f"/run/user/{USER}")
    if how == "private":
        run = place
        (run / "systemd").symlink_to(f"/run/user/{USER}/systemd")
    before = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    said = program("user", transport, before=before, XDG_RUNTIME_DIR=str(run))
    assert said.startswith(f"/user.slice/user-{USER}.slice/user@{USER}.service/")


@pytest.mark.parametrize("how", ["bus", "private"])
def test_a_scope_from_inside_a_user_namespace(transport: str, how: str, without_bus: str) -> None:
    before = ("unshare", "--user", "--map-user=4321", "--map-group=4321")
    said = program("system", transport, *(() if how == "bus" else (without_bus,)), before=before)
    assert said.startswith("/system.slice/")


def test_a_scope_of_a_process_that_is_not_there(system: bus.Bus, transport: str) -> None:
    with subprocess.Popen(["true"]) as process:
        pid = process.pid
    with pytest.raises(DriverError):
        start(system, f"cgmgr-nobody-{transport}.scope", pid)


def test_a_user_may_not(transport: str) -> None:
    """Without an agent that asks for a password, polkit or its absence refuses."""
    before = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    with pytest.raises(
        AssertionError, match=r"cgmgr\.drivers\.bus\.BusError: StartTransientUnit: "
    ):
        program("system", transport, before=before)


def test_a_restarted_bus(transport: str) -> None:
    connected = bus.connect(transport=transport)
    with subprocess.Popen(["sleep", "infinity"]) as process:
        unit = f"cgmgr-restart-{transport}.scope"
        assert start(connected, unit, process.pid) == "done"
        subprocess.run(["systemctl", "restart", "dbus.service"], check=True)
        try:
            assert error_of(connected, "GetUnit", unit) == ""
            assert stop(connected, unit) == "done"
        finally:
            process.kill()
            # A user's manager (v252) does not come back to the bus by itself, and without it cannot
            # have PID 1 move a process into its scopes: their jobs end as "failed".
            subprocess.run(["systemctl", "restart", f"user@{USER}.service"], check=True)
    connected.close()


@contextlib.contextmanager
def frozen_systemd() -> Generator[None]:
    """PID 1 takes no SIGSTOP, but it can be frozen like any other in a cgroup."""
    if Path("/sys/fs/cgroup/init.scope/cgroup.freeze").exists():
        switch, words = Path("/sys/fs/cgroup/init.scope/cgroup.freeze"), ("1", "0")
        with_it = None
    else:
        with_it = Path("/sys/fs/cgroup/freezer/cgmgr-freezes-systemd")
        with_it.mkdir()
        (with_it / "cgroup.procs").write_text("1")
        switch, words = with_it / "freezer.state", ("FROZEN", "THAWED")
    try:
        switch.write_text(words[0])
        yield
    finally:
        switch.write_text(words[1])
        if with_it:
            (with_it.parent / "cgroup.procs").write_text("1")
            with_it.rmdir()


def test_a_frozen_systemd(system: bus.Bus, without_bus: str, transport: str) -> None:
    private = bus.connect(without_bus, transport=transport)
    ask(system, "GetUnit", "s", "init.scope")
    with frozen_systemd():
        for connected in (system, private):
            with pytest.raises(DeadlineExceeded):
                connected.call(
                    bus.MANAGER_PATH, bus.MANAGER, "GetUnit", "s", ("init.scope",), timeout_s=0.5
                )
    for connected in (system, private):
        assert round_trip(connected, f"cgmgr-thawed-{transport}.scope")
    private.close()
