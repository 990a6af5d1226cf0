"""Signals by name and by number."""

from __future__ import annotations

import signal

import pytest

from cgmgr.errors import RequestError
from cgmgr.runtime.oci.signals import number_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("0", 0),
        ("TERM", signal.SIGTERM),
        ("SIGKILL", signal.SIGKILL),
        ("sighup", signal.SIGHUP),
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
    ],
)
def test_known(text: str, number: int) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize(
    "text", ["", "65", "-1", "FOO", "BLOCK", "_DFL", "TERM+1", "RTMIN+99", "+"]
)
def test_unknown(text: str) -> None:
    with pytest.raises(RequestError, match="unknown signal"):
        number_of(text)
