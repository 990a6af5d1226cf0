"""The programs: what they answer to calls, by a machine of our own, against what the rules say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgmgr import linux
from cgmgr.errors import HostError, RequestError
from cgmgr.runtime import seccomp
from cgmgr.runtime.seccomp import OPERATORS, Filter
from cgmgr.runtime.seccomp_bpf import X32, X32_BIT, X86_64, compiled
from cgmgr.runtime.seccomp_names import COMPILE, Library

from .classic_bpf import run

if TYPE_CHECKING:
    from cgmgr.runtime.seccomp import Rule

ALLOW = linux.SECCOMP_RET_ALLOW
EPERM = linux.SECCOMP_RET_ERRNO | errno.EPERM
ENOSYS = linux.SECCOMP_RET_ERRNO | errno.ENOSYS
I386, AARCH64, S390X = 0x40000003, 0xC00000B7, 0x80000016

try:
    LIBRARY = Library()
except HostError as error:
    pytest.skip(str(error), allow_module_level=True)

NATIVE = LIBRARY.architectures(Filter(default=ALLOW))[0]
on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")


def answer(program: bytes, name: str, *args: int, architecture: int = NATIVE) -> int:
    return run(program, LIBRARY.number(architecture, name), architecture, args)


VALUES = [0, 1, 9, 15, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) + 9, (1 << 64) - 1]
HOLDS: dict[str, Callable[[int, int, int], bool]] = {
    "SCMP_CMP_NE": lambda arg, value, _: arg != value,
    "SCMP_CMP_LT": lambda arg, value, _: arg < value,
    "SCMP_CMP_LE": lambda arg, value, _: arg <= value,
    "SCMP_CMP_EQ": lambda arg, value, _: arg == value,
    "SCMP_CMP_GE": lambda arg, value, _: arg >= value,
    "SCMP_CMP_GT": lambda arg, value, _: arg > value,
    "SCMP_CMP_MASKED_EQ": lambda arg, value, two: arg & value == two & value,
}
BY_NUMBER = {number: HOLDS[word] for word, number in OPERATORS.items()}


@pytest.mark.parametrize("word", OPERATORS)
@pytest.mark.parametrize("value", [9, (1 << 32) + 9])
def test_every_operator(word: str, value: int) -> None:
    condition = (2, OPERATORS[word], value, 1)
    asked = Filter(default=EPERM, rules=(("fcntl", ALLOW, (condition,)),))

    program = compiled(asked, LIBRARY)

    for arg in {*VALUES, value - 1, value, value + 1}:
        expected = ALLOW if HOLDS[word](arg, value, 1) else EPERM
        assert answer(program, "fcntl", 0, 0, arg) == expected, arg


conditions = st.tuples(
    st.sampled_from((0, 2, 5)),
    st.sampled_from(sorted(OPERATORS.values())),
    st.sampled_from(VALUES),
    st.sampled_from(VALUES),
)


def index_of(condition: tuple[int, int, int, int]) -> int:
    return condition[0]


names = st.sampled_from(["read", "fcntl", "ioctl", "socket", "kill", "futex_waitv", "nosuchcall"])
rules = st.lists(
    st.tuples(
        names,
        st.just(ALLOW),
        st.lists(conditions, max_size=3, unique_by=index_of).map(tuple),
    ),
    max_size=8,
).map(tuple)


@settings(max_examples=150, deadline=None)
@given(rules=rules, args=st.tuples(*(st.sampled_from(VALUES),) * 6))
def test_a_program_answers_what_its_rules_say(
    rules: tuple[Rule, ...], args: tuple[int, ...]
) -> None:
    program = compiled(Filter(default=EPERM, rules=rules), LIBRARY)
    newest = max((LIBRARY.number(NATIVE, name) for name, _, _ in rules), default=-1)

    for name in ("read", "fcntl", "ioctl", "socket", "kill", "futex_waitv"):
        allowed = any(
            rule == name and all(BY_NUMBER[op](args[i], one, two) for i, op, one, two in conditions)
            for rule, _, conditions in rules
        )
        denied = ENOSYS if LIBRARY.number(NATIVE, name) > newest >= 0 else EPERM
        assert answer(program, name, *args) == (ALLOW if allowed else denied), name


@pytest.mark.parametrize("word", seccomp.ACTIONS)
def test_every_action_is_what_the_kernel_is_told(word: str) -> None:
    action = seccomp.ACTIONS[word] | (7 if word in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else 0)
    default = ALLOW if action != ALLOW else EPERM

    program = compiled(Filter(default=default, rules=(("mkdir", action, ()),)), LIBRARY)

    assert answer(program, "mkdir") == action
    assert answer(program, "chdir") == default


def test_a_name_that_nobody_knows_is_left_out() -> None:
    rules = (("nosuchcall", ALLOW, ()), ("read", ALLOW, ()))

    program = compiled(Filter(default=EPERM, rules=rules), LIBRARY)

    assert answer(program, "read") == ALLOW


@on_x86
def test_programs_of_other_architectures() -> None:
    rules = (("read", ALLOW, ()), ("socket", ALLOW, ()), ("mmap2", ALLOW, ()))
    alone = compiled(Filter(default=EPERM, rules=rules), LIBRARY)
    more = compiled(
        Filter(default=EPERM, rules=rules, architectures=("x86_64", "x86", "x32")), LIBRARY
    )
    x32 = X32_BIT

    assert answer(more, "read", architecture=I386) == ALLOW
    assert answer(more, "mmap2", architecture=I386) == ALLOW
    assert answer(more, "chdir", architecture=I386) == EPERM
    assert run(more, x32 | 0, X86_64) == ALLOW
    assert run(more, x32 | 1, X86_64) == EPERM
    assert run(more, 1 << 20, I386) == run(more, x32 | 1 << 20, X86_64) == ENOSYS
    killed = linux.SECCOMP_RET_KILL_THREAD
    assert answer(alone, "read", architecture=I386) == killed
    assert run(alone, x32 | 0, X86_64) == killed
    assert run(more, 63, AARCH64) == killed


@pytest.mark.parametrize(
    ("default", "newer"),
    [
        (EPERM, ENOSYS),
        (linux.SECCOMP_RET_KILL_PROCESS, ENOSYS),
        (linux.SECCOMP_RET_TRAP, ENOSYS),
        (ENOSYS, ENOSYS),
        (ALLOW, ALLOW),
        (linux.SECCOMP_RET_LOG, linux.SECCOMP_RET_LOG),
        (linux.SECCOMP_RET_TRACE | 1, linux.SECCOMP_RET_TRACE | 1),
    ],
    ids=lambda value: f"{value:#x}",
)
def test_a_call_newer_than_the_filter_is_not_there(default: int, newer: int) -> None:
    action = EPERM if default == ALLOW else ALLOW
    asked = Filter(default=default, rules=(("close", action, ()), ("kill", action, ())))

    program = compiled(asked, LIBRARY)

    highest = max(LIBRARY.number(NATIVE, name) for name in ("close", "kill"))
    assert run(program, highest, NATIVE) == action
    assert run(program, highest - 1, NATIVE) == default
    assert run(program, highest + 1, NATIVE) == newer
    assert run(program, 0x3FFFFFFF, NATIVE) == newer


def test_a_filter_without_rules_knows_no_newer_calls() -> None:
    assert run(compiled(Filter(default=EPERM), LIBRARY), 400, NATIVE) == EPERM


class Numbers(Library):
    """A machine of which we say what it is."""

    def __init__(self, **tables: dict[str, int]) -> None:
        self.tables = {TOKENS[name]: table for name, table in tables.items()}

    def number(self, architecture: int, name: str) -> int:
        return self.tables[architecture].get(name, -1)

    def architectures(self, asked: Filter) -> list[int]:
        return list(self.tables)


TOKENS = {"x86_64": X86_64, "x32": X32, "x86": I386, "aarch64": AARCH64, "s390x": S390X}


def test_numbers_are_those_of_the_architecture() -> None:
    library = Numbers(x86_64={"a": 1, "b": 100}, x32={"a": X32_BIT | 7}, aarch64={"b": 3})
    asked = Filter(default=EPERM, rules=(("a", ALLOW, ()), ("b", ALLOW, ())))

    program = compiled(asked, library)

    assert [n for n in range(200) if run(program, n, X86_64) == ALLOW] == [1, 100]
    assert [n for n in range(200) if run(program, X32_BIT | n, X86_64) == ALLOW] == [7]
    assert [n for n in range(200) if run(program, n, AARCH64) == ALLOW] == [3]
    assert run(program, X32_BIT | 8, X86_64) == run(program, 4, AARCH64) == ENOSYS
    assert run(program, 101, X86_64) == run(program, -1, X86_64) == ENOSYS
    assert run(program, 100, I386) == linux.SECCOMP_RET_KILL_THREAD


def test_a_call_that_a_tracer_skips_is_no_other_architecture() -> None:
    program = compiled(Filter(default=EPERM, rules=(("a", ALLOW, ()),)), Numbers(x86_64={"a": 1}))

    assert run(program, -1, X86_64) == ENOSYS
    assert run(program, X32_BIT | 1, X86_64) == linux.SECCOMP_RET_KILL_THREAD


def test_setup_of_s390_is_a_call_that_is_not_there() -> None:
    program = compiled(Filter(default=EPERM, rules=(("a", ALLOW, ()),)), Numbers(s390x={"a": 9}))

    assert run(program, 0, S390X) == ENOSYS
    assert run(program, 1, S390X) == EPERM
    assert run(program, 9, S390X) == ALLOW


@on_x86
def test_calls_that_are_one_on_other_architectures() -> None:
    rules = (("bind", ALLOW, ()), ("shmget", ALLOW, ()), ("socket", ALLOW, ((0, 4, 1, 0),)))
    program = compiled(Filter(default=EPERM, rules=rules, architectures=("x86",)), LIBRARY)

    assert answer(program, "bind", architecture=I386) == ALLOW
    assert answer(program, "socketcall", 2, architecture=I386) == ALLOW
    assert answer(program, "socketcall", 3, architecture=I386) == EPERM
    assert answer(program, "socketcall", 1, architecture=I386) == EPERM
    assert answer(program, "ipc", 23, architecture=I386) == ALLOW
    assert answer(program, "ipc", 24, architecture=I386) == EPERM


def test_a_rule_without_conditions_goes_before_those_with() -> None:
    trap = linux.SECCOMP_RET_TRAP
    rules = (("kill", trap, ((0, 4, 7, 0),)), ("kill", ALLOW, ()))

    program = compiled(Filter(default=EPERM, rules=rules), LIBRARY)

    assert answer(program, "kill", 7) == ALLOW


def test_of_conditions_the_first_that_hold_count() -> None:
    trap = linux.SECCOMP_RET_TRAP
    rules = (("kill", trap, ((0, 4, 7, 0),)), ("kill", ALLOW, ((0, 5, 7, 0),)))

    program = compiled(Filter(default=EPERM, rules=rules), LIBRARY)

    assert [answer(program, "kill", n) for n in (6, 7, 8)] == [EPERM, trap, ALLOW]


def test_without_the_library_there_is_an_error_that_says_so() -> None:
    with pytest.raises(HostError, match=r"libseccomp\.so\.none") as caught:
        Library("libseccomp.so.none")

    assert caught.value.hint == "apt-get install libseccomp2"
    assert caught.value.operation == COMPILE


def test_a_filter_that_is_too_long_is_refused() -> None:
    rules = tuple(
        ("ioctl", ALLOW, ((1, OPERATORS["SCMP_CMP_EQ"], value << 32 | value, 0),))
        for value in range(1400)
    )

    with pytest.raises(RequestError, match="4096 are the most"):
        compiled(Filter(default=EPERM, rules=rules), LIBRARY)
