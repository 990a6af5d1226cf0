"""Signals that come before there is a process to have them."""

import os
import signal

import pytest

from cgmgr.cli.failing import guarded
from cgmgr.cli.foreground import TIMED_OUT, Foreground


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_is_the_status(number: int) -> None:
    with Foreground() as foreground:
        os.kill(os.getpid(), number)
        assert foreground.pending == number
    assert foreground.status(None) == 128 + number


def test_the_second_signal_ends_it_at_once_with_the_status_of_the_first() -> None:
    def command(_words: list[str]) -> int:
        with Foreground():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    assert guarded(command, []) == 128 + signal.SIGTERM


def test_a_start_that_takes_too_long_is_a_timeout() -> None:
    foreground = Foreground(0.5)
    foreground.timed_out = True
    assert foreground.status(None) == TIMED_OUT
