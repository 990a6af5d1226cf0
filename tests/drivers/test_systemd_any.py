"""Properties of units as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from cgmgr.drivers.systemd_any import property_of, signatures
from cgmgr.errors import RequestError
from cgmgr.resources.systemd import INFINITY

KNOWN = {
    "RuntimeMaxUSec": "t",
    "LimitX": "t",
    "KillMode": "s",
    "KillSignal": "i",
    "SendSIGHUP": "b",
    "Nice": "y",
    "Wants": "as",
    "Odd": "a(sasbttttuii)",
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("RuntimeMaxSec=1h", ("RuntimeMaxUSec", "t", 3_600_000_000)),
        ("RuntimeMaxUSec=5s", ("RuntimeMaxUSec", "t", 5_000_000)),
        ("RuntimeMaxSec=infinity", ("RuntimeMaxUSec", "t", INFINITY)),
        ("LimitX=1K", ("LimitX", "t", 1024)),
        ("KillMode=mixed", ("KillMode", "s", "mixed")),
        ("KillMode=", ("KillMode", "s", "")),
        ("KillSignal=15", ("KillSignal", "i", 15)),
        ("SendSIGHUP=yes", ("SendSIGHUP", "b", True)),
        ("SendSIGHUP=off", ("SendSIGHUP", "b", False)),
        ("Wants=a.service 'b c.service'", ("Wants", "as", ["a.service", "b c.service"])),
    ],
)
def test_what_is_written_becomes_a_value_of_its_type(text: str, wanted: Any) -> None:
    assert property_of(text, KNOWN, 252) == wanted


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("KillMode", "write PROPERTY=VALUE"),
        ("=x", "write PROPERTY=VALUE"),
        ("Xyzzy=1", "systemd 252 does not know a property Xyzzy"),
        ("Slice=a.slice", "it follows from the group's name"),
        ("PIDs=1", "it is the keeper"),
        ("Delegate=no", "a leaf that systemd delegates"),
        ("SendSIGHUP=perhaps", "write yes or no"),
        ("RuntimeMaxSec=soon", "write a time"),
        ("KillSignal=9999999999", "KillSignal"),
        ("Nice=-1", "Nice"),
        ("Wants='a", "no closing quotation"),
        ("Odd=1", "cannot be written as a text"),
    ],
)
def test_what_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint.replace("(", r"\(")):
        property_of(text, KNOWN, 252)


def test_types_are_those_that_systemd_describes() -> None:
    described = """
    <node>
     <interface name="org.freedesktop.DBus.Peer"><method name="Ping"/></interface>
     <interface name="org.freedesktop.systemd1.Unit"><property name="Id" type="s"/></interface>
     <interface name="org.freedesktop.systemd1.Scope">
      <property name="RuntimeMaxUSec" type="t" access="read"/>
     </interface>
    </node>"""
    assert signatures(described) == {"Id": "s", "RuntimeMaxUSec": "t"}
