"""A container, from the launcher's side: made, started, waited for, and taken away.

Law: nothing is decided here about what a container is (`cgmgr.runtime.spec`, `compile`) and nothing
is done in it (`cgmgr.runtime.init`).  Groups arrive as a `Placement`; no driver is known.  Whatever
raises, ^C too, leaves no process, no bundle and no record; what a killed launcher leaves is for
`cgmgr.runtime.collect`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from cgmgr import spawn
from cgmgr.errors import CgmgrError, KernelError, NameTaken, kernel_error
from cgmgr.owner import Owner
from cgmgr.record import Record
from cgmgr.rundir import default_root
from cgmgr.spawn import Placement, SpawnRequest, channel

from . import bundle, cgroups, compile, handshake, joining, layout, namespaces, spec, terminal
from .state import ContainerRecord, Containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Generator, Mapping, Sequence
    from typing import Any, Final, Self

    from cgmgr.host import Host
    from cgmgr.spawn.process import Ended, Process

    from .compile import Setup
    from .handshake import Program
    from .seccomp_listener import Listener

ENTRY: Final = "cgmgr.runtime.init:main"
#: the operation of an error that says why the command itself could not be executed
EXEC: Final = "exec"
_WAITING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class Launch(Record):
    """Where and how a container is run, as opposed to what it is.

    `store` holds its directory, `run_root` its record.  With `die_with_launcher` the kernel kills
    it when the thread that started it dies, and with it all that runs in it.

    With a `gate`, the path of a fifo, it does not need its launcher: it waits until somebody writes
    there, and says in the file `failure` why it could not execute its program then.  The `kept_fds`
    descriptors that follow standard error are its program's, too.

    A process that enters a container is given that one's pidfd as `entered`, and `in_its_pids` says
    that it begins in that one's pid namespace.

    `id` is what somebody whom the container's seccomp filter asks is told; the bundle's name unless
    it is said.

    A config.json with a cgroupsPath or resources needs `placement`: the caller makes the group,
    `Manager.create(request.cgroups_path, request.resources)`, and passes `group.placement()`.
    """

    host: Host
    placement: Placement = Placement()
    stdin: int = 0
    stdout: int = 1
    stderr: int = 2
    store: str = bundle.DEFAULT_STORE
    run_root: str = ""
    die_with_launcher: bool = False
    id: str = ""
    gate: str = ""
    failure: str = ""
    kept_fds: int = 0
    new_keyring: bool = True
    entered: int = -1
    in_its_pids: bool = False

    @property
    def containers(self) -> Containers:
        return Containers(self.run_root or default_root())


class Init:
    """A container's first process, furnished and waiting for `start`.

    `terminal` is the master of its terminal, -1 without one; `floors` is what the files of
    `Placement.floor_fds` said right before its program was executed.
    """

    def __init__(
        self, process: Process, talk: _socket.socket, listener: Listener | None = None
    ) -> None:
        self.process = process
        self._listener = listener
        self.terminal = -1
        self.floors: tuple[bytes, ...] | None = None
        self._talk = talk

    def wait_created(self) -> None:
        """Return once every step is done.  Raises what could not be, with errno."""
        while True:
            message = self._receive()
            if message is None:
                raise self._lost()
            if message[0] == handshake.CREATED:
                return

    def start(self) -> None:
        """Let it execute the program; raises `KernelError` with operation "exec" if it cannot."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            channel.send(self._talk, (handshake.START,))
        while self._receive() is not None:
            pass
        self._talk.close()

    def abort(self) -> None:
        """Kill it, whatever it is at, and let go of everything."""
        self.process.kill()
        self.process.wait_ended()
        self.close()

    def close(self) -> None:
        """Close our descriptors; twice does no harm."""
        self._talk.close()
        if self._listener is not None:
            self._listener.close()
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1
        self.process.close()

    def _receive(self) -> tuple[Any, ...] | None:
        try:
            message, fds = channel.receive(self._talk)
        except ConnectionResetError:  # it ended with something of ours unread
            return None
        if message is None:
            return None
        if message[0] == handshake.TERMINAL:
            (self.terminal,) = fds
        elif message[0] == handshake.LISTENER and self._listener is not None:
            self._listener.hand_over(self.process.pid, self.process.pidfd, message[1])
        elif message[0] == handshake.EXECUTES:
            self.floors = tuple(message[1])
        elif message[0] == handshake.FAILED:
            raise _failure(*message[1:])
        return message

    def _lost(self) -> CgmgrError:
        ended = self.process.wait_ended()
        how = f"signal {ended.signal}" if ended.signal is not None else f"status {ended.exit}"
        return KernelError(
            f"the container's first process ended with {how} before it was furnished",
            operation="make container",
            value=str(ended.returncode),
            errno=errno.ECANCELED,
        )


def _failure(what: str, number: int, words: str, path: str) -> KernelError:
    """The error of ours for a step that failed."""
    operation = EXEC if what == EXEC else "make container"
    subject = path if what == EXEC else what
    about = f" ({path})" if path and path not in subject else ""
    reason = words[:1].lower() + words[1:]
    for start, of, meaning in _MEANINGS:
        if what.startswith(start) and number == of:
            reason += f" ({meaning})"
    return KernelError(
        f"{what if what == EXEC else 'make container'}: {subject}{about}: {reason}",
        operation=operation,
        path=path or None,
        value=what,
        errno=number,
        hint="dmesg | tail" if what.startswith(_OVERLAY) and number == errno.EINVAL else None,
    )


#: what the mount of the overlay begins with
_OVERLAY: Final = "cd "
_FILTER: Final = "load the seccomp filter"
#: what a step begins with, errno, and what that means there
_MEANINGS: Final = (
    (
        _OVERLAY,
        errno.EINVAL,
        "the store must lie on a file system that can hold an overlay's changes, such as ext4, "
        "xfs, btrfs or tmpfs",
    ),
    ("write ", errno.EACCES, "an oom score below the present one needs CAP_SYS_RESOURCE"),
    (_FILTER, errno.EACCES, "without noNewPrivileges it needs CAP_SYS_ADMIN"),
    ("prlimit ", errno.EPERM, "a limit above the present hard one needs CAP_SYS_RESOURCE"),
)


def compiled(config: Mapping[str, Any], bundle_path: str, host: Host) -> Setup:
    """What a config.json comes to on this host.  Raises `RequestError`."""
    facts = layout.observe(config, bundle_path, cgroups.hierarchies(host))
    setup = compile.compile_config(config, bundle_path, facts)
    if setup.filter is not None:
        from . import seccomp_filter

        seccomp_filter.demand(setup.filter)
    return setup


def _refuse_unplaced(setup: Setup, placement: Placement) -> None:
    """Limits that nobody would set are refused: groups are the caller's."""
    if setup.grouped and placement.cgroup_fd is None and not placement.procs_fds:
        raise layout.refused(
            setup.grouped, "the launch has no placement; make the group and pass its placement"
        )


def _gate(launch: Launch) -> tuple[int, ...]:
    """The gate and the file for what fails after it, open.  With a writer of its own, a fifo's
    reader waits for somebody to write, and not for somebody to open it."""
    if not launch.gate:
        return ()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        gate = os.open(launch.gate, os.O_RDWR | os.O_CLOEXEC)
        try:
            return gate, os.open(launch.failure, flags, 0o600)
        except BaseException:
            os.close(gate)
            raise
    except OSError as error:
        raise kernel_error("make container", launch.gate, error) from error


def _listener(setup: Setup, launch: Launch) -> Listener | None:
    """A connection to whom the filter asks, if it does."""
    asked = setup.filter
    if asked is None or not asked.listener:
        return None
    from .seccomp_listener import Listener

    name = launch.id or os.path.basename(str(setup.about["bundle"]))
    return Listener(asked.listener, asked.metadata, {**setup.about, "id": name})


def _program(setup: Setup, launch: Launch) -> Program:
    """What is executed, with the filter that is loaded before it."""
    if setup.filter is None:
        return setup.program
    from . import seccomp_filter

    code = seccomp_filter.program(setup.filter, launch.run_root or default_root())
    return setup.program.replace(filter=code, filter_flags=setup.filter.flags)


def create(setup: Setup, launch: Launch) -> Init:
    """Start a container's first process and have it furnish the container; nothing of the program
    runs yet.  Raises `RequestError` where limits have no placement, `KernelError`, and what
    `cgmgr.spawn.start` raises; no process is left then."""
    _refuse_unplaced(setup, launch.placement)
    namespaces.demand(setup.clone_flags)
    with contextlib.ExitStack() as opened:
        joined: dict[str, int] = {}
        for name, path in setup.joined:
            joined[name] = joining.opened(name, path)
            opened.callback(os.close, joined[name])
        return _create(setup, launch, joined)


def _create(setup: Setup, launch: Launch, joined: Mapping[str, int]) -> Init:
    """As `create`, with the namespaces open that are joined."""
    kept = range(3, 3 + launch.kept_fds)
    entered = () if launch.entered < 0 else (launch.entered,)
    beyond = launch.entered if launch.in_its_pids else joined.get("pid")
    steps = [joining.Enter(fd=fd, name=name) for name, fd in joined.items() if name != "pid"]
    listener = _listener(setup, launch)
    program = _program(setup, launch)
    gate = _gate(launch)
    others = (*gate, *kept, *entered, *(step.fd for step in steps))
    program = program.replace(
        die_with_launcher=launch.die_with_launcher,
        gated=bool(gate),
        kept=launch.kept_fds,
        others=len(others),
    )
    ours, theirs = channel.pair()
    floor_fds = launch.placement.floor_fds
    try:
        process = spawn.start(
            SpawnRequest(
                entry=ENTRY,
                data=handshake.encode((*steps, *setup.steps), program),
                stdin=launch.stdin,
                stdout=launch.stdout,
                stderr=launch.stderr,
                pass_fds=(theirs.fileno(), *others, *floor_fds),
                pid_namespace=beyond,
                # these are reset when the container is made, not before
                placement=launch.placement.replace(floor_fds=()),
                new_session=True,
                new_keyring=launch.new_keyring,
                clone_flags=setup.clone_flags,
            )
        )
    except BaseException:
        ours.close()
        if listener is not None:
            listener.close()
        raise
    finally:
        theirs.close()
        channel.close_all(gate)
    init = Init(process, ours, listener)
    try:
        init.wait_created()
    except BaseException:
        init.abort()
        raise
    return init


@contextlib.contextmanager
def _undisturbed() -> Generator[None]:
    """Signals that would raise, or end the process, wait until the block is left."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Container:
    """A container in the store.  Use `Container.create`, as a context manager or with `remove`.

    `id`; `bundle`, its directory; `config`, its config.json; `init`, its first process.
    """

    def __init__(self, name: str, config: Mapping[str, Any], launch: Launch) -> None:
        self.id = name
        self.config = config
        self.bundle = f"{launch.store}/{name}"
        self._launch = launch
        self._claimed = False
        self._held = -1
        self._init: Init | None = None

    @classmethod
    def create(cls, request: spec.ContainerRequest, launch: Launch) -> Self:
        """Make a container, all but executing its program.

        Raises `RequestError` before anything is made, `NameTaken`; `KernelError` and others when it
        cannot be made: nothing is left then.
        """
        config = spec.build(request, launch.store)
        setup = compiled(config, f"{launch.store}/{request.id}", launch.host)
        _refuse_unplaced(setup, launch.placement)  # once more in `create`, the only way to start
        container = cls(request.id, config, launch)
        try:
            container._claim()
            container._make(spec.layers(request), setup)
        except BaseException:
            container.remove()
            raise
        return container

    @property
    def init(self) -> Init:
        if self._init is None:
            raise AssertionError("the container has no first process")
        return self._init

    @property
    def process(self) -> Process:
        """The first process: wait for it, signal it."""
        return self.init.process

    def start(self) -> None:
        """Execute the program.  Raises `KernelError` with operation "exec" and errno ENOENT,
        EACCES, ENOEXEC, ...; the container is then to be removed."""
        self.init.start()

    def remove(self) -> None:
        """Kill what runs, and take everything away; twice does no harm.

        A keyboard's signal waits until that is done.
        """
        if not self._claimed:
            return
        with _undisturbed():
            if self._init is not None:
                self._init.abort()
                self._init = None
            containers = self._launch.containers
            with containers.lock(self.id):
                bundle.remove(self.bundle)
                containers.remove(self.id)
            if self._held >= 0:
                os.close(self._held)
                self._held = -1
            self._claimed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.remove()

    def _claim(self) -> None:
        """Take the name, by the record that says who has it."""
        containers = self._launch.containers
        with containers.lock(self.id):
            if containers.load(self.id) is not None:
                raise NameTaken(
                    f"container {self.id!r} is there already",
                    operation="make container",
                    path=containers.path_of(self.id),
                    value=self.id,
                    errno=errno.EEXIST,
                    hint="cgmgr gc",
                )
            self._claimed = True
            containers.save(ContainerRecord.of_this_process(self.id, self.bundle))

    def _make(self, lowers: Sequence[str], setup: Setup) -> None:
        bundle.prepare_store(self._launch.store)
        bundle.make(self._launch.store, self.id, self.config, tuple(lowers))
        self._held = bundle.hold(self.bundle)
        self._init = create(setup, self._launch)
        containers = self._launch.containers
        with containers.lock(self.id):
            record = containers.load(self.id)
            if record is not None:
                pid = self._init.process.pid
                containers.save(record.replace(init=Owner.of(pid)))


def run_container(request: spec.ContainerRequest, launch: Launch) -> Ended:
    """Run a container from beginning to end, and take it away again.

    With a terminal, `launch.stdin` is put into raw mode where it is one, and what goes in and out
    is relayed.  Raises what `Container.create` and `Container.start` raise.
    """
    with Container.create(request, launch) as container:
        return attend(container, launch)


def attend(container: Container, launch: Launch) -> Ended:
    """Start a container, relay its terminal if it has one, and wait for its end."""
    init = container.init
    if init.terminal < 0:
        container.start()
        return init.process.wait_ended()
    with terminal.following(init.terminal, launch.stdin), terminal.raw(launch.stdin):
        container.start()
        terminal.relay(init.terminal, launch.stdin, launch.stdout, init.process.pidfd)
    return init.process.wait_ended()
