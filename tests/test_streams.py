"""Bytes to and from processes, and messages with descriptors."""

from __future__ import annotations

import errno
import os
import resource
import signal
from typing import Any

import pytest

from cgmgr.spawn import PIPE, Process, SpawnRequest, channel, start, streams

# --- bytes in and out


def communicate(child: Process, data: bytes | None = None, limit: int | None = None) -> Any:
    pump = streams.Pump(child, data, limit_bytes=limit)
    assert pump.run(None)
    return pump


def test_more_than_a_pipe_holds_goes_in_and_comes_out() -> None:
    data = os.urandom(1 << 20)
    with start(SpawnRequest(argv=["cat"], stdin=PIPE, stdout=PIPE)) as child:
        pump = communicate(child, data)
        assert pump.stdout == data
        assert pump.stderr is None
        assert not pump.cut


def test_what_is_beyond_the_limit_is_read_and_dropped() -> None:
    argv = ["sh", "-c", "head -c 500000 /dev/zero; echo done >&2"]
    with start(SpawnRequest(argv=argv, stdout=PIPE, stderr=PIPE)) as child:
        pump = communicate(child, limit=1000)
        assert (len(pump.stdout), pump.stderr, pump.cut) == (1000, b"done\n", True)


def test_exactly_the_limit_is_not_cut() -> None:
    with start(SpawnRequest(argv=["printf", "12345"], stdout=PIPE)) as child:
        pump = communicate(child, limit=5)
        assert (pump.stdout, pump.cut) == (b"12345", False)


def test_what_it_left_in_its_pipes_is_taken() -> None:
    with start(SpawnRequest(argv=["echo", "left"], stdout=PIPE)) as child:
        pump = streams.Pump(child)
        child.wait()
        pump.drain()
        assert pump.stdout == b"left\n"


def test_nobody_needs_to_read_what_is_written() -> None:
    with start(SpawnRequest(argv=["true"], stdin=PIPE)) as child:
        communicate(child, b"x" * (1 << 20))
        assert child.wait() == 0


def test_its_end_is_enough_though_a_child_of_its_holds_the_pipe() -> None:
    argv = ["sh", "-c", "sleep 1000 & echo $!"]
    with start(SpawnRequest(argv=argv, stdout=PIPE)) as child:
        pump = communicate(child)
    os.kill(int(pump.stdout), signal.SIGKILL)


# --- the channel


def test_a_channel_carries_messages_and_descriptors() -> None:
    ours, theirs = channel.pair()
    read, write = os.pipe()
    try:
        channel.send(ours, ("small", b"x", None, 3))
        channel.send(ours, ("large", b"y" * 300_000), (write,))
        assert channel.receive(theirs) == (("small", b"x", None, 3), [])
        message, fds = channel.receive(theirs)
        assert message == ("large", b"y" * 300_000)
        os.write(fds[0], b"through it")
        assert os.read(read, 100) == b"through it"
        assert not os.get_inheritable(fds[0])
        channel.close_all(fds)
        ours.close()
        assert channel.receive(theirs) == (None, [])
    finally:
        ours.close()
        theirs.close()
        channel.close_all((read, write))


def test_a_receiver_without_room_says_so() -> None:
    ours, theirs = channel.pair()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    sent = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    try:
        channel.send(ours, ("many",), sent)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
        with pytest.raises(OSError) as caught:
            channel.receive(theirs)
        assert caught.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        channel.close_all(sent)
        ours.close()
        theirs.close()
