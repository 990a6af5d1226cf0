"""Signals that come before there is a process to have them."""

import os
import signal
import threading
from typing import ClassVar

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


def test_waiting_takes_signals_until_the_end() -> None:
    class Child:
        pid = os.getpid()
        sent: ClassVar[list[int]] = []

        def send_signal(self, number: int) -> None:
            self.sent.append(number)
            os.close(theirs)  # its end

    ours, theirs = os.pipe()
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with Foreground() as foreground:
        foreground.follow(Child(), kill=None)
        timer = threading.Timer(0, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        foreground.wait(ours)
        timer.join()
    os.close(ours)

    assert Child.sent == [signal.SIGUSR1]
    assert signal.set_wakeup_fd(before) == before, "as it was"
