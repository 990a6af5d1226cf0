"""`linux.seccomp`: what is read of it, what is refused, and by what name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from cgmgr import linux
from cgmgr.errors import RequestError
from cgmgr.resources.document import Node
from cgmgr.runtime import seccomp

DENY = linux.SECCOMP_RET_ERRNO | 1


def read(document: dict[str, Any] | None) -> seccomp.Filter | None:
    return seccomp.read(Node({"seccomp": document}, "linux"))


def whole() -> dict[str, Any]:
    """Every field that there is."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerPath": "/run/agent",
        "listenerMetadata": "about it",
        "syscalls": [
            {"names": ["read", "close"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
            {
                "names": ["kill"],
                "action": "SCMP_ACT_TRACE",
                "errnoRet": 7,
                "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                    {"index": 5, "value": 15, "valueTwo": 9, "op": "SCMP_CMP_MASKED_EQ"},
                ],
            },
        ],
    }


def test_every_field_is_read() -> None:
    assert read(whole()) == seccomp.Filter(
        default=linux.SECCOMP_RET_ERRNO | 38,
        architectures=("x86_64", "x32"),
        flags=linux.SECCOMP_FILTER_FLAG_LOG
        | linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        | linux.SECCOMP_FILTER_FLAG_NEW_LISTENER,
        rules=(
            ("read", linux.SECCOMP_RET_ALLOW, ()),
            ("close", linux.SECCOMP_RET_ALLOW, ()),
            ("mkdir", linux.SECCOMP_RET_USER_NOTIF, ()),
            ("kill", linux.SECCOMP_RET_TRACE | 7, ((0, 4, 1, 0), (5, 7, 15, 9))),
        ),
        listener="/run/agent",
        metadata="about it",
    )


@pytest.mark.parametrize("document", [None, {}, {"syscalls": None}], ids=str)
def test_what_says_nothing_is_no_filter(document: dict[str, Any] | None) -> None:
    assert read(document) is None


@pytest.mark.parametrize("word", seccomp.ACTIONS)
def test_every_action(word: str) -> None:
    document = {
        "defaultAction": "SCMP_ACT_ALLOW" if word != "SCMP_ACT_ALLOW" else "SCMP_ACT_KILL",
        "listenerPath": "/x",
        "syscalls": [{"names": ["mkdir"], "action": word}],
    }

    found = read(document)

    assert found is not None
    number = 1 if word in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else 0
    assert found.rules == (("mkdir", seccomp.ACTIONS[word] | number, ()),)
    assert bool(found.listener) is (word == "SCMP_ACT_NOTIFY")


def test_conditions_on_one_argument_are_alternatives() -> None:
    args = [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"} for value in (3, 4)]
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": args}],
    }

    found = read(document)

    assert found is not None
    assert found.rules == (
        ("kill", linux.SECCOMP_RET_ALLOW, ((1, 4, 3, 0),)),
        ("kill", linux.SECCOMP_RET_ALLOW, ((1, 4, 4, 0),)),
    )


@pytest.mark.parametrize(("errno", "left"), [(None, 0), (1, 0), (2, 1)], ids=str)
def test_a_rule_that_does_what_happens_anyway_is_left_out(errno: int | None, left: int) -> None:
    call = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}

    found = read({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [call]})

    assert found is not None
    assert len(found.rules) == left


def put(*path: str | int, value: object) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        if value is None:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return change


def ask_of_everything(document: Any) -> None:
    document.update(defaultAction="SCMP_ACT_NOTIFY", defaultErrnoRet=None)


REFUSED = {
    "linux.seccomp lacks defaultAction": put("defaultAction", value=None),
    "linux.seccomp.defaultAction: unknown 'ALLOW'": put("defaultAction", value="ALLOW"),
    "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY": ask_of_everything,
    "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no": put(
        "defaultAction", value="SCMP_ACT_ALLOW"
    ),
    "linux.seccomp.defaultErrnoRet is 4096": put("defaultErrnoRet", value=4096),
    "linux.seccomp.architectures: unknown architecture 'SCMP_ARCH_VAX'": put(
        "architectures", value=["SCMP_ARCH_VAX"]
    ),
    "linux.seccomp.architectures: unknown architecture 'X86'": put("architectures", value=["X86"]),
    "linux.seccomp.flags: unknown 'SECCOMP_X'": put("flags", value=["SECCOMP_X"]),
    "linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs": put("listenerPath", value=""),
    "linux.seccomp.syscalls[0] lacks names": put("syscalls", 0, "names", value=None),
    "linux.seccomp.syscalls[0].names: there is none": put("syscalls", 0, "names", value=[]),
    "linux.seccomp.syscalls[0].names[0] is 1": put("syscalls", 0, "names", value=[1]),
    "linux.seccomp.syscalls[0] lacks action": put("syscalls", 0, "action", value=None),
    "linux.seccomp.syscalls[0].action: unknown 'DENY'": put("syscalls", 0, "action", value="DENY"),
    "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW has": put(
        "syscalls", 0, "errnoRet", value=1
    ),
    "linux.seccomp.syscalls[1].names: write": put("syscalls", 1, "names", value=["write"]),
    "linux.seccomp.syscalls[2].errnoRet is 65536": put("syscalls", 2, "errnoRet", value=1 << 16),
    "linux.seccomp.syscalls[2].args[0] lacks value": put(
        "syscalls", 2, "args", 0, "value", value=None
    ),
    "linux.seccomp.syscalls[2].args[0].index is 6": put("syscalls", 2, "args", 0, "index", value=6),
    "linux.seccomp.syscalls[2].args[0].value is -1": put(
        "syscalls", 2, "args", 0, "value", value=-1
    ),
    "linux.seccomp.syscalls[2].args[0].op: unknown '<'": put(
        "syscalls", 2, "args", 0, "op", value="<"
    ),
    "linux.seccomp.syscalls is": put("syscalls", value="read"),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused_by_name(
    change: Callable[[Any], None], request: pytest.FixtureRequest
) -> None:
    document = copy.deepcopy(whole())
    change(document)

    with pytest.raises(RequestError) as caught:
        read(document)

    assert request.node.callspec.id in str(caught.value)


def test_metadata_for_nobody_is_refused() -> None:
    document = {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}

    with pytest.raises(RequestError, match="listenerMetadata"):
        read(document)


def test_waiting_for_nobody_is_refused() -> None:
    flag = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"

    with pytest.raises(RequestError, match="WAIT_KILLABLE_RECV"):
        read({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]})


def test_a_path_for_nobody_is_ignored_as_the_specification_has_it() -> None:
    found = read({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere"})

    assert found is not None
    assert found.listener == ""
    assert not found.flags


def test_it_says_itself_in_one_line() -> None:
    found = read(whole())

    assert found is not None
    assert found.describe() == (
        "load a seccomp filter: 4 calls, else errno ENOSYS, also for x86_64, x32, "
        "/run/agent is asked"
    )
