"""What becomes of a container after `create`: started, signalled, paused, and deleted.

Law: each takes the container's lock, looks at the state it is in, and acts or refuses in the words
that clients look for.  Killing is by pidfd, so no other process is ever met under an old pid.

Source: runtime.md of the OCI runtime specification, "start", "kill", "delete"; what containerd
(pkg/process), moby and CRI-O look for in messages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select

from cgmgr.errors import (
    CgmgrError,
    DeadlineExceeded,
    GroupGone,
    HostError,
    KernelError,
    NoSuchGroup,
    RequestError,
    kernel_error,
)
from cgmgr.owner import alive

from .home import CREATED, PAUSED, RUNNING, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Generator
    from typing import Final

    from cgmgr.group import Group
    from cgmgr.owner import Owner
    from cgmgr.runtime.state import ContainerRecord

    from .home import Home
else:
    import _signal  # the module `signal` brings `enum`, which takes longer than all of this

#: how long a first process may take from its release to its program, and a killed one to its end
START_S: Final = 30.0
KILL_S: Final = 10.0


def start(name: str, home: Home) -> None:
    """Have a container execute its program; `KernelError` with operation "exec" where it cannot."""
    with home.containers.lock(name):
        record = home.need(name)
        status = home.status(record)
        if status != CREATED or record.init is None:
            words = {STOPPED: "cannot start a container that has stopped"}
            raise refused(
                "start",
                name,
                status,
                words.get(status, "cannot start an already running container"),
            )
        with process(record.init) as pidfd:
            if pidfd < 0:
                raise refused("start", name, STOPPED, "cannot start a container that has stopped")
            _open_gate(home.gate(name), pidfd)
        os.unlink(home.gate(name))
        _raise_failure(home.failure(name))


def _open_gate(path: str, pidfd: int) -> None:
    """Let the first process go on, and wait until it has: exec closes its end of the fifo."""
    try:
        gate = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:  # ENXIO: it died just now
        raise kernel_error("start container", path, error) from error
    try:
        os.write(gate, b"0")
        poll = select.poll()
        poll.register(gate, select.POLLERR)
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(START_S * 1000):
            raise DeadlineExceeded(
                f"start container: its first process did not execute anything in {START_S:g} s",
                operation="start container",
                path=path,
            )
    except BrokenPipeError:
        return  # it has ended, and has said why
    finally:
        os.close(gate)


def _raise_failure(path: str) -> None:
    """What the first process could not do since it was released, if anything."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return
    number, _, words = text.partition(" ")
    if words:
        raise KernelError(
            words, operation="exec", errno=int(number) if number.isdigit() else None, value=path
        )


def kill(name: str, signal: int, home: Home, *, everyone: bool = False) -> None:
    """Send a signal to the first process, or to every process of the container.

    One without a pid namespace of its own leaves the others alive when its first process has ended,
    so `everyone` reaches them then, too.
    """
    record = home.need(name)
    if everyone:
        group = group_of(record, home)
        if group is None or (home.status(record) == STOPPED and not group.pids(recursive=True)):
            raise refused("kill", name, STOPPED, "container not running")
        group.kill(signal)
        return
    with process(record.init) as pidfd:
        if pidfd < 0:
            raise refused("kill", name, STOPPED, "container not running")
        send(pidfd, signal, name)
    if signal == _signal.SIGKILL:
        # v1's freezer holds even SIGKILL back (cgroup-v1/freezer-subsystem.rst)
        with contextlib.suppress(CgmgrError):
            if home.status(record) == PAUSED and (group := group_of(record, home)) is not None:
                group.thaw()


def send(pidfd: int, signal: int, name: str) -> None:
    """Send a signal to a process that is known by its pidfd."""
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError as error:
        raise refused("kill", name, STOPPED, "os: process already finished") from error
    except OSError as error:
        raise kernel_error("kill", name, error) from error


def delete(name: str, home: Home, *, force: bool = False) -> None:
    """Take away what is left of a container; with `force` kill it first.

    One that was created and never started is killed in any case, as runc does.
    """
    with home.containers.lock(name):
        record = home.need(name)
        status = home.status(record)
        if status not in (STOPPED, CREATED) and not force:
            text = f"cannot delete container {name} that is not stopped: {status}"
            raise refused("delete", name, status, text)
        end(record.init)
        group = group_of(record, home)
        if group is not None:
            with contextlib.suppress(NoSuchGroup, GroupGone):
                group.delete()
        home.remove(name)
        home.containers.remove(name)


def end(init: Owner | None) -> None:
    """Kill a first process, and return once it is gone: others of its pid namespace go first."""
    with process(init) as pidfd:
        if pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(KILL_S * 1000):
            raise DeadlineExceeded(
                f"the container's first process is still there {KILL_S:g} s after SIGKILL",
                operation="delete container",
            )


def pause(name: str, home: Home) -> None:
    """Let every process of it stand still, and return once all do."""
    _freezing(name, home, "pause", RUNNING).freeze()


def resume(name: str, home: Home) -> None:
    """Let them go on."""
    _freezing(name, home, "resume", PAUSED).thaw()


def _freezing(name: str, home: Home, verb: str, needed: str) -> Group:
    record = home.need(name)
    status = home.status(record)
    # runc pauses one that is created as well
    if status != needed and not (verb == "pause" and status == CREATED):
        words = {"pause": "container not running", "resume": "container not paused"}
        raise refused(verb, name, status, words[verb])
    group = group_of(record, home)
    if group is None:
        raise HostError(f"container {name} has no group of its own", operation=verb, value=name)
    return group


def group_of(record: ContainerRecord, home: Home) -> Group | None:
    """Its group; None where that is gone, or was never made."""
    if not record.group:
        return None
    try:
        return home.manager(record.driver).open(record.group)
    except NoSuchGroup:
        return None


@contextlib.contextmanager
def process(owner: Owner | None) -> Generator[int]:
    """A pidfd of that very process, -1 where it has ended."""
    pidfd = -1
    if owner is not None:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(owner.pid)
    try:
        # only with the pidfd open does the pid stay the process's
        yield pidfd if owner is not None and pidfd >= 0 and alive(owner) else -1
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def refused(verb: str, name: str, status: str, words: str) -> RequestError:
    """What cannot be done to a container in that state."""
    return RequestError(
        words, operation=f"{verb} container", path=name, value=status, errno=errno.EINVAL
    )
