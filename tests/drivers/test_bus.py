"""Both adapters against a real dbus-daemon and a systemd that only talks, and what goes wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import jeepney
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jeepney.io.blocking import open_dbus_connection

from cgmgr.drivers import bus
from cgmgr.drivers.bus import MANAGER, MANAGER_NAME, MANAGER_PATH, BusError, JobLost
from cgmgr.errors import DeadlineExceeded, DriverError, RequestError

from .busses import CHECKOUT, FakeHost, frozen, full_backlog

lib: Any = jeepney  # it has no types
HERE = Path(__file__)
SYSTEM_PYTHON = "/usr/bin/python3"
HAS_PYDBUS = all(importlib.util.find_spec(name) for name in ("gi", "pydbus"))
TRANSPORTS = ["jeepney", "pydbus"] if HAS_PYDBUS else ["jeepney"]
NO_DAEMON = "" if shutil.which("dbus-daemon") else "needs dbus-daemon"
START = "ssa(sv)a(sa(sv))"

pytestmark = [
    pytest.mark.skipif(bool(NO_DAEMON), reason=NO_DAEMON),
    # PyGObject 3.42 has an importer in the style of Python 2.
    pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning"),
]


def start_args(unit: str) -> tuple[Any, ...]:
    return (unit, "fail", [("PIDs", ("au", [os.getpid()])), ("Delegate", ("b", True))], [])


def ask(connected: bus.Bus, member: str, *args: str, timeout_s: float = 20.0) -> tuple[Any, ...]:
    """A method of the manager whose arguments are strings."""
    signature = "s" * len(args)
    return connected.call(MANAGER_PATH, MANAGER, member, signature, args, timeout_s=timeout_s)


def run(connected: bus.Bus, unit: str, timeout_s: float = 20.0) -> str:
    return connected.job("StartTransientUnit", START, start_args(unit), timeout_s=timeout_s)


class Aside(threading.Thread):
    """Something done at the same time; `result` waits, returns and raises as it did."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__()
        self._action = action
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._action()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is looked at
            self._error = error

    def result(self) -> Any:
        self.join()
        if self._error is not None:
            raise self._error
        return self._value


@pytest.fixture
def host() -> Generator[FakeHost]:
    made = FakeHost()
    yield made
    made.close()


@pytest.fixture(scope="module")
def standing() -> Generator[FakeHost]:
    """A host for tests that break nothing."""
    made = FakeHost()
    made.daemon()
    made.systemd("bus")
    made.systemd("direct")
    yield made
    made.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=["bus", "direct"])
def both_ways(request: pytest.FixtureRequest, standing: FakeHost, transport: str) -> bus.Bus:
    """Over the bus, and over the private socket of a host where no bus is."""
    if request.param == "bus":
        return standing.connect(transport)
    return _without_bus(standing, transport)


def _without_bus(standing: FakeHost, transport: str) -> bus.Bus:
    root = standing.root / "without-bus"
    (root / "run").mkdir(parents=True, exist_ok=True)
    link = root / "run/systemd"
    if not link.is_symlink():
        link.symlink_to(standing.root / "run/systemd")
    return bus.connect(str(root), transport=transport, environ={})


def _a_bus(host: FakeHost, transport: str) -> tuple[subprocess.Popen[str], bus.Bus]:
    daemon = host.daemon()
    host.systemd("bus")
    return daemon, host.connect(transport)


# --- what works ----------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["early.scope", "late.scope"])
def test_a_job_is_waited_for(both_ways: bus.Bus, unit: str) -> None:
    assert run(both_ways, unit) == "done"


def test_a_job_ends_as_it_ends(both_ways: bus.Bus) -> None:
    started = Aside(lambda: run(both_ways, "held.scope"))
    ask(both_ways, "AwaitHeld", "held.scope")
    ask(both_ways, "Finish", "held.scope", "dependency")
    assert started.result() == "dependency"


def test_a_call_returns_the_body(both_ways: bus.Bus) -> None:
    assert ask(both_ways, "GetUnit", "a.service") == ("/org/freedesktop/systemd1/unit/9",)


def test_a_refusal_has_name_and_text(both_ways: bus.Bus) -> None:
    with pytest.raises(BusError, match=r"^GetUnit: Unit none.service not loaded$") as caught:
        ask(both_ways, "GetUnit", "none.service")
    assert caught.value.name == "org.freedesktop.systemd1.NoSuchUnit"
    assert caught.value.operation == "GetUnit"


def test_a_refused_job(both_ways: bus.Bus) -> None:
    with pytest.raises(BusError) as caught:
        run(both_ways, "taken.scope")
    assert caught.value.name == "org.freedesktop.systemd1.UnitExists"
    assert run(both_ways, "early.scope") == "done"


def test_threads_do_not_wait_for_one_another(both_ways: bus.Bus) -> None:
    held = Aside(lambda: ask(both_ways, "GetHeld"))
    ask(both_ways, "AwaitHeld", "GetHeld")
    jobs = [Aside(lambda: run(both_ways, "late.scope")) for _ in range(6)]
    calls = [Aside(partial(ask, both_ways, "Echo", str(n))) for n in range(6)]
    assert [job.result() for job in jobs] == ["done"] * 6
    assert [call.result() for call in calls] == [(str(n),) for n in range(6)]
    ask(both_ways, "Finish", "GetHeld", "at last")
    assert held.result() == ("at last",)


def test_only_systemd_is_believed(standing: FakeHost, transport: str) -> None:
    """Anybody may send a signal to a unique name, whatever the match rules are."""
    connected = standing.connect(transport)
    started = Aside(lambda: run(connected, "held.scope"))
    (caller,) = ask(connected, "AwaitHeld", "held.scope")
    number = ask(connected, "Log")[0].count("StartTransientUnit")
    emitter = lib.DBusAddress(MANAGER_PATH, bus_name=MANAGER_NAME, interface=MANAGER)
    stranger: Any = open_dbus_connection(f"unix:path={standing.bus_socket}")
    with stranger:
        for job in range(1, number + 1):
            body = (1, f"{MANAGER_PATH}/job/{job}", "held.scope", "a lie")
            signal = lib.new_signal(emitter, "JobRemoved", "uoss", body)
            signal.header.fields[lib.HeaderFields.destination] = caller
            stranger.send(signal)
        stranger.send_and_get_reply(lib.message_bus.GetId())  # the signals are on their way
    ask(connected, "Finish", "held.scope", "done")
    assert started.result() == "done"


# --- values --------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 2**8 - 1),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": _TEXT,
    "o": st.sampled_from(["/", "/a", "/org/freedesktop/systemd1/unit/a_2eslice"]),
    "g": st.sampled_from(["", "s", "a(sv)"]),
}
Typed = tuple[str, st.SearchStrategy[Any]]


def _containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    def array(item: Typed) -> Typed:
        if item[0] == "y":
            return "ay", st.binary(max_size=4)
        return f"a{item[0]}", st.lists(item[1], max_size=3)

    def struct(items: list[Typed]) -> Typed:
        return f"({''.join(s for s, _ in items)})", st.tuples(*(value for _, value in items))

    def entries(item: Typed) -> Typed:
        return f"a{{s{item[0]}}}", st.dictionaries(_TEXT, item[1], max_size=3)

    def variant(item: Typed) -> Typed:
        return "v", st.tuples(st.just(item[0]), item[1])

    structs = st.lists(inner, min_size=1, max_size=3).map(struct)
    return inner.map(array) | structs | inner.map(entries) | inner.map(variant)


_TYPED = st.recursive(st.sampled_from(sorted(_BASIC.items())), _containers, max_leaves=4)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_value_comes_back(data: st.DataObject, standing: FakeHost, transport: str) -> None:
    signature, values = data.draw(_TYPED)
    value = data.draw(values)
    connected = _kept(standing, transport)
    assert connected.call(MANAGER_PATH, MANAGER, "Echo", signature, (value,)) == (value,)


_connected: dict[tuple[str, str], bus.Bus] = {}


def _kept(standing: FakeHost, transport: str) -> bus.Bus:
    """One for all examples of a property."""
    key = (str(standing.root), transport)
    if key not in _connected:
        _connected[key] = standing.connect(transport)
    return _connected[key]


@pytest.mark.parametrize(
    ("signature", "args"),
    [
        pytest.param("s", (5,), id="a number for a string"),
        pytest.param("t", ("5",), id="a string for a number"),
        pytest.param("t", (2**64,), id="too large"),
        pytest.param("t", (-1,), id="negative"),
        pytest.param("as", ("abc",), id="a string for a list"),
        pytest.param("ss", ("a",), id="too few"),
        pytest.param("s", ("a", "b"), id="too many"),
        pytest.param("v", (5,), id="no pair for a variant"),
        pytest.param("v", (("s", 5),), id="a wrong variant"),
        pytest.param("s", ("a\0b",), id="a NUL"),
        pytest.param("a(sv)", ([("X", ("s", "a\0b"))],), id="a NUL inside"),
        pytest.param("o", ("relative",), id="no object path"),
        pytest.param("!", ("a",), id="no signature"),
        pytest.param("s", ("\ud800",), id="no text"),
    ],
)
def test_what_does_not_fit_is_not_sent(
    standing: FakeHost, transport: str, signature: str, args: tuple[Any, ...]
) -> None:
    connected = standing.connect(transport)
    with pytest.raises(RequestError, match=r"^Misfit: arguments do not fit"):
        connected.call(MANAGER_PATH, MANAGER, "Misfit", signature, args)
    assert "Misfit" not in ask(connected, "Log")[0]


# --- deadlines -----------------------------------------------------------------------------------


def test_a_job_that_does_not_end(both_ways: bus.Bus) -> None:
    with pytest.raises(DeadlineExceeded, match=r"/job/\d+ did not end within 0.2 s$") as caught:
        run(both_ways, "held.scope", timeout_s=0.2)
    assert str(caught.value.path).startswith(f"{MANAGER_PATH}/job/")
    ask(both_ways, "Finish", "held.scope", "done")
    assert run(both_ways, "early.scope") == "done"


@pytest.mark.parametrize("how", ["bus", "direct"])
def test_a_frozen_systemd(host: FakeHost, transport: str, how: str) -> None:
    if how == "bus":
        host.daemon()
    systemd = host.systemd(how)
    connected = host.connect(transport)
    assert ask(connected, "Echo", "a") == ("a",)
    with frozen(systemd):
        with pytest.raises(DeadlineExceeded):
            ask(connected, "GetUnit", "a.service", timeout_s=0.2)
        with pytest.raises(DeadlineExceeded):
            run(connected, "early.scope", timeout_s=0.2)
    assert ask(connected, "Echo", "b") == ("b",)
    assert run(connected, "early.scope") == "done"


def test_a_frozen_bus_does_not_hide_the_private_socket(host: FakeHost, transport: str) -> None:
    daemon = host.daemon()
    host.systemd("bus")
    host.systemd("direct")
    connected = host.connect(transport)
    with frozen(daemon):
        assert ask(connected, "Echo", "a", timeout_s=2) == ("a",)


def test_a_full_backlog_is_waited_for(host: FakeHost, transport: str) -> None:
    systemd = host.systemd("direct")
    connected = host.connect(transport)
    with frozen(systemd), full_backlog(host.private_socket):
        with pytest.raises(DeadlineExceeded, match=r"private: too many others wait to connect$"):
            ask(connected, "Echo", "a", timeout_s=0.2)
        asked = Aside(lambda: ask(connected, "Echo", "a"))
    assert asked.result() == ("a",)


# --- what goes away ------------------------------------------------------------------------------


def test_a_restarted_bus_is_not_noticed_between_calls(host: FakeHost, transport: str) -> None:
    daemon, connected = _a_bus(host, transport)
    assert ask(connected, "Echo", "a") == ("a",)
    host.end(daemon)
    host.daemon()
    host.systemd("bus")
    assert run(connected, "early.scope") == "done"
    assert ask(connected, "Echo", "b") == ("b",)


def test_a_bus_that_is_being_restarted_is_waited_for(host: FakeHost, transport: str) -> None:
    daemon, connected = _a_bus(host, transport)
    assert ask(connected, "Echo", "a") == ("a",)
    host.end(daemon)
    host.bus_socket.unlink()
    with socket.socket(socket.AF_UNIX) as between:
        between.bind(str(host.bus_socket))
        between.listen()
        asked = Aside(lambda: ask(connected, "Echo", "b"))
        between.accept()[0].close()  # it has tried once, in vain
    host.daemon()
    host.systemd("bus")
    assert asked.result() == ("b",)


def test_a_read_is_repeated_when_the_bus_goes_away(host: FakeHost, transport: str) -> None:
    daemon, connected = _a_bus(host, transport)
    asked = Aside(lambda: ask(connected, "GetHeld"))
    ask(connected, "AwaitHeld", "GetHeld")
    host.end(daemon)
    host.daemon()
    host.systemd("bus")
    ask(connected, "AwaitHeld", "GetHeld")
    ask(connected, "Finish", "GetHeld", "again")
    assert asked.result() == ("again",)


def test_a_job_is_lost_when_the_bus_goes_away(host: FakeHost, transport: str) -> None:
    daemon, connected = _a_bus(host, transport)
    started = Aside(lambda: run(connected, "held.scope"))
    ask(connected, "AwaitHeld", "held.scope")
    host.end(daemon)
    with pytest.raises(JobLost, match="connection was lost, and whether it was done is not known"):
        started.result()


@pytest.mark.parametrize("how", ["bus", "direct"])
def test_a_job_is_lost_when_systemd_goes_away(host: FakeHost, transport: str, how: str) -> None:
    if how == "bus":
        host.daemon()
    systemd = host.systemd(how)
    connected = host.connect(transport)
    with pytest.raises(JobLost):
        run(connected, "cut.scope")
    if how == "direct":
        assert ask(connected, "Log") == (["StartTransientUnit", "Log"],)
    else:
        systemd.wait()


@pytest.mark.parametrize(
    ("member", "error"), [("GetCut", None), ("Cut", DriverError)], ids=["a read", "not a read"]
)
def test_only_a_read_is_repeated(
    host: FakeHost, transport: str, member: str, error: type[Exception] | None
) -> None:
    host.systemd("direct")
    connected = host.connect(transport)
    with pytest.raises(error) if error else contextlib.nullcontext():
        assert ask(connected, member) == ()
    assert ask(connected, "Log")[0].count(member) == (1 if error else 2)


# --- no bus --------------------------------------------------------------------------------------


def test_no_bus_says_what_was_tried(host: FakeHost, transport: str) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(host.bus_socket))
    with pytest.raises(DriverError) as caught:
        ask(host.connect(transport), "GetUnit", "a.service")
    assert str(caught.value) == (
        f"no system bus: {host.bus_socket}: connection refused, "
        f"and {host.private_socket}: no such file or directory"
    )
    assert "systemctl start dbus" in str(caught.value.hint)


def test_a_bus_without_systemd(host: FakeHost, transport: str) -> None:
    host.daemon()
    with pytest.raises(DriverError, match=r"socket: systemd is not on this bus, and .*: no such"):
        ask(host.connect(transport), "GetUnit", "a.service")
    host.systemd("direct")
    assert ask(host.connect(transport), "Echo", "a") == ("a",)


def test_systemd_leaves_the_bus(host: FakeHost, transport: str) -> None:
    host.daemon()
    systemd = host.systemd("bus")
    host.systemd("direct")
    connected = host.connect(transport)
    assert ask(connected, "Echo", "a") == ("a",)
    host.end(systemd)
    assert ask(connected, "Echo", "b") == ("b",)
    assert run(connected, "early.scope") == "done"


def test_a_server_that_speaks_something_else(host: FakeHost, transport: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host.private_socket))
        listener.listen()
        asked = Aside(lambda: ask(host.connect(transport), "GetUnit", "a.service"))
        with listener.accept()[0] as accepted:
            accepted.sendall(b"REJECTED EXTERNAL\r\n")
            with pytest.raises(DriverError, match=r"private: the server rejects this user$"):
                asked.result()


def test_the_user_bus_is_found_by_the_environment(standing: FakeHost, transport: str) -> None:
    environ = {"DBUS_SESSION_BUS_ADDRESS": f"tcp:host=x;unix:path={standing.bus_socket},guid=0"}
    connected = bus.connect(user=True, transport=transport, environ=environ)
    assert ask(connected, "Echo", "a") == ("a",)
    connected.close()
    environ = {"XDG_RUNTIME_DIR": str(standing.root / "run")}  # here is systemd/private
    connected = bus.connect(user=True, transport=transport, environ=environ)
    assert ask(connected, "Echo", "b") == ("b",)


def test_no_user_bus_says_so(host: FakeHost, transport: str) -> None:
    environ = {"XDG_RUNTIME_DIR": str(host.root)}
    connected = bus.connect(user=True, transport=transport, environ=environ)
    with pytest.raises(DriverError, match=f"^no user bus: {host.root}/bus: no such file") as caught:
        ask(connected, "GetUnit", "a.service")
    assert "loginctl enable-linger" in str(caught.value.hint)


def test_there_is_no_such_transport() -> None:
    with pytest.raises(DriverError, match="no transport 'gdbus': there are jeepney and pydbus"):
        bus.connect(environ={"CGMGR_BUS": "gdbus"})


# --- processes -----------------------------------------------------------------------------------

_CHILD = """
import sys
from cgmgr.drivers import bus
connected = bus.connect(sys.argv[1], transport=sys.argv[2], environ={})
print(connected.call(bus.MANAGER_PATH, bus.MANAGER, "Echo", "s", ("a",)))
"""


@pytest.mark.parametrize("how", ["bus", "direct"])
def test_inside_a_user_namespace(standing: FakeHost, transport: str, how: str) -> None:
    """There the user id is another than the one the server sees."""
    root = standing.root if how == "bus" else standing.root / "without-bus"
    _without_bus(standing, transport)
    argv = ["unshare", "--user", "--map-user=4321", sys.executable, "-c", _CHILD]
    done = subprocess.run(
        [*argv, str(root), transport], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode and done.stderr.startswith("unshare:"):
        pytest.skip(f"needs user namespaces: {done.stderr.strip()}")
    assert (done.stdout, done.stderr) == ("('a',)\n", "")


def test_a_forked_child_has_connections_of_its_own(standing: FakeHost, transport: str) -> None:
    connected = standing.connect(transport)
    assert run(connected, "early.scope") == "done"
    child = os.fork()
    if child == 0:
        good = run(connected, "early.scope") == "done" and ask(connected, "Echo", "c") == ("c",)
        os._exit(0 if good else 1)
    assert ask(connected, "Echo", "p") == ("p",)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run(connected, "early.scope") == "done"


def test_nothing_stays_open(standing: FakeHost, transport: str) -> None:
    standing.connect(transport).close()
    warm = standing.connect(transport)
    ask(warm, "Echo", "a")
    warm.close()
    before = _sockets()
    connected = standing.connect(transport)
    for unit in ("early.scope", "late.scope"):
        run(connected, unit)
    with pytest.raises(BusError):
        ask(connected, "GetUnit", "none.service")
    with pytest.raises(DeadlineExceeded):
        run(connected, "held.scope", timeout_s=0.2)
    ask(connected, "Finish", "held.scope", "done")
    connected.close()
    assert _sockets() == before
    with pytest.raises(DriverError, match="closed"):
        ask(connected, "Echo", "a")


def _sockets() -> set[str]:
    links: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.add(str(entry.readlink()))
    return {link for link in links if link.startswith("socket:")}


if HAS_PYDBUS:

    def test_the_default_main_context_is_left_alone(standing: FakeHost) -> None:
        glib: Any = importlib.import_module("gi.repository.GLib")
        ran: list[int] = []
        source = glib.idle_add(lambda: ran.append(1))
        connected = standing.connect("pydbus")
        assert run(connected, "late.scope") == "done"
        assert ran == []
        glib.source_remove(source)


# --- the other half ------------------------------------------------------------------------------

if not HAS_PYDBUS:

    def test_the_same_over_pydbus_in_the_interpreter_that_has_it() -> None:
        """PyGObject has no wheels: where .venv lacks it, the system's python runs this file."""
        probe = [SYSTEM_PYTHON, "-c", "import gi, pydbus"]
        if (
            not Path(SYSTEM_PYTHON).exists()
            or subprocess.run(probe, capture_output=True).returncode
        ):
            pytest.skip("no interpreter here has pydbus (apt install python3-pydbus)")
        site = [path for path in sys.path if path.endswith("site-packages")]
        argv = [SYSTEM_PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not jeepney"]
        done = subprocess.run(
            [*argv, str(HERE)],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": ":".join(site), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "pydbus" not in done.stdout.partition("short test summary")[2]
