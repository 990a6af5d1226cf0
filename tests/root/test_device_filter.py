"""The device filter on this kernel's cgroup2: real programs, real opens, in a group of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from cgmgr import linux
from cgmgr.drivers import bpf, device_filter, device_program
from cgmgr.drivers.device_filter import ReplaceFilter
from cgmgr.errors import (
    CgmgrError,
    ControllerUnavailable,
    HostError,
    KernelError,
    NotDelegated,
)
from cgmgr.host import Host
from cgmgr.kernfs import Directory
from cgmgr.plan import Machine, MakeGroup, Plan, Step, Target
from cgmgr.resources import DeviceRule
from tests import bpf as kernel

NULL = Path("/dev/null")
FOREIGN = "not_cgmgr"

ALLOW_ALL = DeviceRule(kind="a")
READ_NULL = DeviceRule(kind="c", major=1, minor=3, access="r")
NULL_ALL = DeviceRule(kind="c", major=1, minor=3)
NO_READ_NULL = DeviceRule(kind="c", major=1, minor=3, access="r", allow=False)


@pytest.fixture(scope="module")
def host() -> Host:
    found = Host.detect()
    if found.v2 is None:
        pytest.skip("no cgroup2 is mounted")
    return found


@pytest.fixture
def machine(host: Host) -> Machine:
    return Machine(host)


@pytest.fixture
def target(machine: Machine, run_token: str) -> Iterator[Target]:
    """A group of our own, with its path as the target."""
    made = Target(group=f"/{run_token}-devices", key="")
    step = MakeGroup(target=made)
    step.execute(machine)
    try:
        yield made
    finally:
        step.undo(machine)


@pytest.fixture
def group(machine: Machine, target: Target) -> Iterator[Directory]:
    with machine.open(target) as opened:
        try:
            bpf.prog_query(opened.fd)
        except OSError as error:
            pytest.skip(f"no device filter on this kernel: {error.strerror}")
        yield opened


def inside(group: Directory, *acts: Callable[[], object]) -> list[int]:
    """What a process that was born in the group gets for each act: 0 or the errno."""
    reading, writing = os.pipe()
    pid, pidfd = linux.clone3(linux.CLONE_INTO_CGROUP, exit_signal=signal.SIGCHLD, cgroup=group.fd)
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.write(writing, " ".join(str(outcome(act)) for act in acts).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    os.close(pidfd)
    answers = os.read(reading, 4096).decode()
    os.close(reading)
    return [int(number) for number in answers.split()]


def outcome(act: Callable[[], object]) -> int:
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def opening(flags: int) -> Callable[[], object]:
    return lambda: os.close(os.open(NULL, flags))


def looking() -> None:
    """access(2) without a letter"""
    if not os.access(NULL, os.F_OK):
        raise PermissionError(errno.EPERM, "access")


def making(place: Path, device: tuple[int, int] = (1, 3)) -> Callable[[], object]:
    return lambda: os.mknod(place / "device", stat.S_IFCHR | 0o600, os.makedev(*device))


READ, WRITE, BOTH = opening(os.O_RDONLY), opening(os.O_WRONLY), opening(os.O_RDWR)


def ours(group: Directory) -> list[int]:
    return [program.id for program in device_filter.current(group) if program.ours]


def attach_foreign(group: Directory, flags: int, name: str = FOREIGN, allow: bool = True) -> int:
    """A program that is not ours, as systemd would attach one; returns its id."""
    code = device_program.assemble(device_program.build([DeviceRule(kind="a", allow=allow)]))
    fd = bpf.prog_load(code, name)
    try:
        bpf.prog_attach(group.fd, fd, flags)
        return bpf.obj_get_info_by_fd(fd).id
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((), [errno.EPERM] * 4, id="nothing"),
        pytest.param((READ_NULL,), [0, errno.EPERM, errno.EPERM, 0], id="reading"),
        pytest.param((NULL_ALL,), [0, 0, 0, 0], id="the device"),
        pytest.param((ALLOW_ALL,), [0, 0, 0, 0], id="everything"),
        pytest.param(
            (ALLOW_ALL, NO_READ_NULL), [errno.EPERM, 0, errno.EPERM, 0], id="all but reading"
        ),
        pytest.param(
            (DeviceRule(kind="c"), DeviceRule(kind="c", major=1, minor=3, allow=False)),
            [errno.EPERM] * 4,
            id="all but the device",
        ),
        pytest.param(
            (DeviceRule(kind="c", major=1, minor=3, allow=False), DeviceRule(kind="c", major=1)),
            [0, 0, 0, 0],
            id="the later rule wins",
        ),
    ],
)
def test_opens_of_a_device(
    group: Directory, rules: tuple[DeviceRule, ...], expected: list[int]
) -> None:
    device_filter.replace(group, rules)

    assert inside(group, READ, WRITE, BOTH, looking) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((DeviceRule(kind="c", access="m"),), [0, errno.EPERM], id="making alone"),
        pytest.param(
            (NULL_ALL, DeviceRule(kind="c", access="m", allow=False)),
            [errno.EPERM, 0],
            id="all but making",
        ),
        pytest.param((DeviceRule(kind="b", access="m"),), [errno.EPERM] * 2, id="another kind"),
    ],
)
def test_making_a_device_is_an_access_of_its_own(
    group: Directory, tmp_path: Path, rules: tuple[DeviceRule, ...], expected: list[int]
) -> None:
    device_filter.replace(group, rules)

    assert inside(group, making(tmp_path), READ) == expected


def test_without_a_filter_nothing_is_stopped(group: Directory, tmp_path: Path) -> None:
    assert inside(group, READ, BOTH, looking, making(tmp_path)) == [0, 0, 0, 0]


def anonymous_descriptors() -> list[str]:
    """What is open that has no file, as programs and links have none; kept directories of groups
    may be closed at any moment."""
    found: list[str] = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return sorted(target for target in found if target.startswith("anon_inode"))


def test_seventy_updates_leave_one_program_and_no_descriptor(group: Directory) -> None:
    before = anonymous_descriptors()
    programs = {program.id for program in kernel.programs()}
    for minor in range(70):
        device_filter.replace(group, (DeviceRule(kind="c", major=1, minor=minor),))

    held = ours(group)
    assert len(held) == 1
    assert len(device_filter.current(group)) == 1
    assert anonymous_descriptors() == before
    mine = {program.id for program in kernel.programs() if program.name == device_filter.NAME}
    assert gone(mine - programs - set(held))


def test_a_removed_group_leaves_no_program(
    machine: Machine, group: Directory, run_token: str
) -> None:
    below = Target(group=f"/{run_token}-devices/below", key="")
    step = MakeGroup(target=below)
    step.execute(machine)
    with machine.open(below) as opened:
        device_filter.replace(opened, (NULL_ALL,))
        held = set(ours(opened))
    step.undo(machine)

    assert held
    assert gone(held)


def gone(ids: set[int], seconds: float = 10.0) -> bool:
    """Whether the kernel let go of these programs, which it does a moment after the last use."""
    deadline = time.monotonic() + seconds
    while ids & {program.id for program in kernel.programs()}:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_replacement_has_no_moment_of_its_own(group: Directory) -> None:
    """What both filters allow never fails meanwhile, what both deny never succeeds."""
    filters = ((NULL_ALL,), (NULL_ALL, READ_NULL, DeviceRule(kind="b", major=8)))
    device_filter.replace(group, filters[0])
    begun_r, begun_w = os.pipe()
    done_r, done_w = os.pipe()
    stop_r, stop_w = os.pipe()
    pid, pidfd = linux.clone3(linux.CLONE_INTO_CGROUP, exit_signal=signal.SIGCHLD, cgroup=group.fd)
    if pid == 0:
        os.close(stop_w)
        failures, rounds = 0, 0
        os.set_blocking(stop_r, False)
        while outcome(lambda: os.read(stop_r, 1)) == errno.EAGAIN:
            failures += outcome(BOTH) != 0
            failures += outcome(lambda: os.close(os.open("/dev/zero", os.O_RDONLY))) == 0
            rounds += 1
            if rounds == 1:
                os.write(begun_w, b".")
        os.write(done_w, f"{failures} {rounds}".encode())
        os._exit(0)
    os.read(begun_r, 1)
    for number in range(1000):
        device_filter.replace(group, filters[number % 2])
    os.close(stop_w)
    os.waitpid(pid, 0)
    failures, rounds = (int(text) for text in os.read(done_r, 100).split())
    for fd in (begun_r, begun_w, done_r, done_w, stop_r, pidfd):
        os.close(fd)

    assert failures == 0
    assert rounds > 1


def test_other_programs_stay_and_can_only_narrow(group: Directory) -> None:
    foreign = attach_foreign(group, bpf.BPF_F_ALLOW_MULTI)
    for rules in ((NULL_ALL,), (READ_NULL,), (ALLOW_ALL,)):
        device_filter.replace(group, rules)
    assert [program.id for program in device_filter.current(group)] == [foreign, *ours(group)]
    assert inside(group, BOTH) == [0]

    denying = attach_foreign(group, bpf.BPF_F_ALLOW_MULTI, allow=False)
    assert inside(group, BOTH) == [errno.EPERM]

    assert device_filter.remove(group) == 1
    assert [program.id for program in device_filter.current(group)] == [foreign, denying]


def test_a_program_that_suffers_no_other_is_named(group: Directory) -> None:
    foreign = attach_foreign(group, 0)

    with pytest.raises(HostError, match=f"program {foreign} is attached") as caught:
        device_filter.replace(group, (NULL_ALL,))

    assert caught.value.errno == errno.EPERM
    assert caught.value.hint is not None
    assert [program.id for program in device_filter.current(group)] == [foreign]


def test_leftovers_of_ours_become_one(group: Directory) -> None:
    for _ in range(3):
        attach_foreign(group, bpf.BPF_F_ALLOW_MULTI, name=device_filter.NAME, allow=False)

    device_filter.replace(group, (NULL_ALL,))

    assert len(ours(group)) == 1
    assert inside(group, BOTH) == [0]


def test_a_full_group_is_said_so(group: Directory) -> None:
    for _ in range(bpf.MAX_PROGRAMS):
        attach_foreign(group, bpf.BPF_F_ALLOW_MULTI)

    with pytest.raises(KernelError, match="64 programs are attached already") as caught:
        device_filter.replace(group, (NULL_ALL,))

    assert caught.value.errno == errno.E2BIG


def test_a_kernel_without_bpf_lacks_the_controller(
    group: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an architecture whose number of bpf(2) is not known."""
    monkeypatch.setattr(linux, "SYS_bpf", -1)

    for act in (lambda: device_filter.current(group), lambda: device_filter.replace(group, ())):
        with pytest.raises(ControllerUnavailable, match=r"this kernel has no bpf\(2\)") as caught:
            act()
        assert caught.value.controller == "devices"


def test_a_user_may_not_and_is_told_what_would_help(group: Directory) -> None:
    def act() -> None:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(NotDelegated, match=r"not permitted|denied") as caught:
            device_filter.replace(group, ())
        assert "CAP_SYS_ADMIN" in str(caught.value)
        assert caught.value.hint is None, "there is nothing to paste"
        raise OSError(errno.EOWNERDEAD, "as it should be")

    assert inside(group, act) == [errno.EOWNERDEAD]
    assert device_filter.current(group) == ()


def test_removing_what_is_not_there(group: Directory) -> None:
    assert device_filter.remove(group) == 0


class Fails(Step):
    """A step that does not succeed, after the filter's."""

    def describe(self, machine: Machine) -> str:
        return "fail"

    def execute(self, machine: Machine) -> None:
        raise HostError("it failed")


def test_a_plan_that_fails_puts_the_old_program_back(
    machine: Machine, target: Target, group: Directory
) -> None:
    device_filter.replace(group, (READ_NULL,))
    before = ours(group)
    plan = Plan(steps=(ReplaceFilter(target=target, rules=(NULL_ALL,)), Fails()))

    with pytest.raises(HostError, match="it failed") as caught:
        plan.execute(machine)

    assert ours(group) == before
    assert inside(group, READ, WRITE) == [0, errno.EPERM]
    assert not getattr(caught.value, "__notes__", [])


def test_a_first_filter_is_undone_to_none(
    machine: Machine, target: Target, group: Directory
) -> None:
    undo = Plan(steps=(ReplaceFilter(target=target, rules=()),)).execute(machine)
    assert inside(group, READ) == [errno.EPERM]

    undo()

    assert device_filter.current(group) == ()
    assert inside(group, READ) == [0]


def test_undo_of_a_filter_whose_group_is_gone(
    machine: Machine, group: Directory, run_token: str
) -> None:
    below = Target(group=f"/{run_token}-devices/below", key="")
    made = MakeGroup(target=below)
    made.execute(machine)
    undo = Plan(steps=(ReplaceFilter(target=below, rules=()),)).execute(machine)
    made.undo(machine)

    undo()


def test_drift_is_any_other_program(machine: Machine, target: Target, group: Directory) -> None:
    step = ReplaceFilter(target=target, rules=(READ_NULL, NO_READ_NULL, NULL_ALL))
    [missing] = step.drift(machine)
    assert missing.held is None
    assert missing.asked == ("devices: deny all; allow c 1:3 r; deny c 1:3 r; allow c 1:3 rwm")

    step.execute(machine)
    assert list(step.drift(machine)) == []

    device_filter.replace(group, (NULL_ALL, READ_NULL, NO_READ_NULL))
    [other] = step.drift(machine)
    assert other.held == f"program {ours(group)[0]}"


def test_a_step_says_what_it_does(machine: Machine, target: Target) -> None:
    step = ReplaceFilter(target=target, rules=(ALLOW_ALL, NO_READ_NULL))

    assert step.describe(machine) == (
        f"filter devices of {machine.absolute(target)}: deny all; allow all; deny c 1:3 r"
    )


def test_a_program_is_never_a_standard_descriptor(group: Directory) -> None:
    """0 means "none" to bpf(2), and would be the first descriptor that is free."""

    def act() -> None:
        os.close(0)
        with contextlib.suppress(CgmgrError):
            for rules in ((NULL_ALL,), (READ_NULL,)):
                change = device_filter.replace(group, rules)
                if change.new.fd < 3 or (change.old and change.old.fd < 3):
                    raise OSError(change.new.fd, "a standard descriptor")

    assert inside(group, act) == [0]
    assert device_filter.holds(group, (READ_NULL,))


def test_descriptors_do_not_survive_an_exec(group: Directory) -> None:
    code = device_program.assemble(device_program.build(()))
    loaded = bpf.prog_load(code, device_filter.NAME)
    again = bpf.prog_get_fd_by_id(bpf.obj_get_info_by_fd(loaded).id)
    try:
        assert not os.get_inheritable(loaded)
        assert not os.get_inheritable(again)
    finally:
        os.close(loaded)
        os.close(again)


def test_a_long_filter_is_taken(group: Directory) -> None:
    rules = [DeviceRule(kind="c", major=number, minor=number % 7) for number in range(1, 400)]
    device_filter.replace(group, (*rules, NULL_ALL))

    assert inside(group, BOTH) == [0]


def test_what_the_verifier_refuses_is_said_in_its_words() -> None:
    bare_exit = device_program.assemble(device_program.build(()))[-8:]

    with pytest.raises(OSError, match="R0 !read_ok") as caught:
        os.close(bpf.prog_load(bare_exit, device_filter.NAME, log_bytes=1 << 16))

    assert caught.value.errno in (errno.EACCES, errno.EINVAL)


def test_a_program_that_the_verifier_refuses_changes_nothing(
    group: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    device_filter.replace(group, (NULL_ALL,))
    before = ours(group)
    whole = device_program.build

    def bare_exit(rules: Iterable[DeviceRule]) -> tuple[device_program.Instruction, ...]:
        return whole(rules)[-1:]

    monkeypatch.setattr(device_program, "build", bare_exit)

    with pytest.raises(KernelError, match="R0 !read_ok"):
        device_filter.replace(group, (READ_NULL,))

    assert ours(group) == before
