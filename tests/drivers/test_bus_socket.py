"""Which sockets are tried, in which order."""

from __future__ import annotations

import os

import pytest

from cgmgr.drivers.bus_socket import parse_addresses, system_addresses, user_addresses

USER = os.geteuid()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("unix:path=/run/user/0/bus", ["/run/user/0/bus"], id="a path"),
        pytest.param("unix:path=/a,guid=12;unix:path=/b", ["/a", "/b"], id="two"),
        pytest.param("unix:abstract=/tmp/x,guid=1", ["@/tmp/x"], id="abstract"),
        pytest.param("unix:path=/a%20b%3b", ["/a b;"], id="escaped"),
        pytest.param("tcp:host=h,port=1;unix:path=/a", ["/a"], id="another kind is left out"),
        pytest.param("disabled:", [], id="disabled"),
        pytest.param("nonsense", [], id="nonsense"),
    ],
)
def test_parse_addresses(text: str, paths: list[str]) -> None:
    assert [str(address) for address in parse_addresses(text)] == paths


SYSTEM = "/run/dbus/system_bus_socket"
PRIVATE = "/run/systemd/private"


@pytest.mark.parametrize(
    ("root", "environ", "paths"),
    [
        pytest.param("/", {}, [SYSTEM, PRIVATE], id="as usual"),
        pytest.param("/h/", {}, [f"/h{SYSTEM}", f"/h{PRIVATE}"], id="another root"),
        pytest.param(
            "/", {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x"}, ["/x", PRIVATE], id="environment"
        ),
        pytest.param(
            "/h",
            {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x"},
            [f"/h{SYSTEM}", f"/h{PRIVATE}"],
            id="the environment is not about another root",
        ),
    ],
)
def test_system_addresses(root: str, environ: dict[str, str], paths: list[str]) -> None:
    found = system_addresses(root, environ)
    assert [str(address) for address in found] == paths
    assert [address.direct for address in found] == [False, True]


@pytest.mark.parametrize(
    ("environ", "paths"),
    [
        pytest.param(
            {}, [f"/run/user/{USER}/bus", f"/run/user/{USER}/systemd/private"], id="nothing said"
        ),
        pytest.param({"XDG_RUNTIME_DIR": "/r"}, ["/r/bus", "/r/systemd/private"], id="folder"),
        pytest.param(
            {"XDG_RUNTIME_DIR": "/r", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/r/bus"},
            ["/r/bus", "/r/systemd/private"],
            id="each once",
        ),
        pytest.param(
            {"XDG_RUNTIME_DIR": "/r", "DBUS_SESSION_BUS_ADDRESS": "unix:abstract=x"},
            ["@x", "/r/bus", "/r/systemd/private"],
            id="the address first",
        ),
    ],
)
def test_user_addresses(environ: dict[str, str], paths: list[str]) -> None:
    assert [str(address) for address in user_addresses("/", environ)] == paths
