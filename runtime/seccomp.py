"""What a config.json says of system calls: `linux.seccomp`, read into numbers and checked.

Law: pure, and all that there is to refuse in the words is refused here, by its place.  How a
program of BPF comes of it is `cgmgr.runtime.seccomp_bpf`'s, what the first process does with that
`cgmgr.runtime.init`'s.

As with runc, several conditions on one argument of a call hold one or the other, on different
arguments all together; and a rule that does what happens anyway is left out.

Source: config-linux.md "Seccomp" of the OCI runtime specification 1.2; seccomp(2);
linux/seccomp.h; seccomp_rule_add(3).
"""

from __future__ import annotations

import errno

from cgmgr import linux
from cgmgr.record import Record
from cgmgr.units import MAX_U64

from .layout import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from cgmgr.resources.document import Node

    Condition = tuple[int, int, int, int]
    Rule = tuple[str, int, tuple[Condition, ...]]

#: the action of a rule -> SECCOMP_RET_*
ACTIONS: Final = {
    "SCMP_ACT_KILL": linux.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": linux.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": linux.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": linux.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": linux.SECCOMP_RET_ERRNO,
    "SCMP_ACT_NOTIFY": linux.SECCOMP_RET_USER_NOTIF,
    "SCMP_ACT_TRACE": linux.SECCOMP_RET_TRACE,
    "SCMP_ACT_LOG": linux.SECCOMP_RET_LOG,
    "SCMP_ACT_ALLOW": linux.SECCOMP_RET_ALLOW,
}
#: actions with a number of their own, and the most it can be (MAX_ERRNO, SECCOMP_RET_DATA)
_WITH_ERRNO: Final = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}

#: enum scmp_compare
OPERATORS: Final = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
MASKED_EQ: Final = OPERATORS["SCMP_CMP_MASKED_EQ"]

_ARCHITECTURES: Final = """
X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32
PARISC PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB
"""
#: those of linux.seccomp.architectures, without SCMP_ARCH_; in small letters libseccomp's names
ARCHITECTURES: Final = tuple(_ARCHITECTURES.split())

#: linux.seccomp.flags -> bits of seccomp(2)
FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_TSYNC": linux.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": linux.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": linux.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}
_MOST_ARGUMENTS: Final = 6
#: by this call a filter's first process says which descriptor the listener is
_SAYS_LISTENER: Final = "write"


class Filter(Record):
    """What is to happen at system calls.

    `default` and the action of a rule are SECCOMP_RET_* with their number.  A rule is
    (name, action, conditions), a condition (index, operator, value, value_two), all of which hold.
    `architectures` are libseccomp's names, beside the machine's own; `flags` those of seccomp(2).
    With a `listener`, the path of a socket, somebody is asked, and told `metadata`.
    """

    default: int
    architectures: tuple[str, ...] = ()
    flags: int = 0
    rules: tuple[Rule, ...] = ()
    listener: str = ""
    metadata: str = ""

    def describe(self) -> str:
        """The filter in one line."""
        others = f", also for {', '.join(self.architectures)}" if self.architectures else ""
        calls = len({name for name, _, _ in self.rules})
        asked = f", {self.listener} is asked" if self.listener else ""
        return f"load a seccomp filter: {calls} calls, else {said(self.default)}{others}{asked}"


def said(action: int) -> str:
    """An action in words: "errno EPERM", "kill_process", "allow"."""
    kind, number = action & linux.SECCOMP_RET_ACTION_FULL, action & 0xFFFF
    word = next(name for name, value in ACTIONS.items() if value == kind and name != _SHORT)
    word = word.removeprefix("SCMP_ACT_").lower()
    if kind == linux.SECCOMP_RET_ERRNO:
        return f"{word} {errno.errorcode.get(number, number)}"
    return word


_SHORT: Final = "SCMP_ACT_KILL"


def read(linux_node: Node) -> Filter | None:
    """The filter that `linux` of a config.json asks for; what is empty asks for none.

    Raises `RequestError`.
    """
    node = linux_node.node("seccomp")
    if not any(node.has(key) for key in node.keys()):  # noqa: SIM118 - it is no mapping
        return None
    node.required("defaultAction")
    default = _action(node, "defaultAction", "defaultErrnoRet")
    if default == linux.SECCOMP_RET_USER_NOTIF:
        raise refused(node.at("defaultAction"), "SCMP_ACT_NOTIFY is for some calls, not for all")
    rules = tuple(rule for call in node.nodes("syscalls") for rule in _rules(call, default))
    listener, metadata = _listener(node, rules)
    flags = 0
    for name in node.texts("flags"):
        flags |= _named(node.at("flags"), name, FLAGS)
    if listener:
        flags |= linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
    elif flags & linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        raise refused(node.at("flags"), "WAIT_KILLABLE_RECV is for calls with SCMP_ACT_NOTIFY")
    # there is but one thread, and with TSYNC seccomp(2) returns no listener
    flags &= ~linux.SECCOMP_FILTER_FLAG_TSYNC
    return Filter(
        default=default,
        architectures=tuple(_architecture(node, name) for name in node.texts("architectures")),
        flags=flags,
        rules=rules,
        listener=listener,
        metadata=metadata,
    )


def _rules(call: Node, default: int) -> list[Rule]:
    call.required("names", "action")
    names = call.texts("names")
    if not names:
        raise refused(call.at("names"), "there is none")
    action = _action(call, "action", "errnoRet")
    if action == linux.SECCOMP_RET_USER_NOTIF and _SAYS_LISTENER in names:
        raise refused(
            call.at("names"), "write cannot have SCMP_ACT_NOTIFY: a container's start needs it"
        )
    conditions = [_condition(arg) for arg in call.nodes("args")]
    if action == default:
        return []
    indices = [condition[0] for condition in conditions]
    if len(set(indices)) < len(indices):
        return [(name, action, (one,)) for name in names for one in conditions]
    return [(name, action, tuple(conditions)) for name in names]


def _condition(arg: Node) -> Condition:
    arg.required("index", "value", "op")
    return (
        arg.whole("index", 0, _MOST_ARGUMENTS - 1) or 0,
        _named(arg.at("op"), arg.text("op") or "", OPERATORS),
        arg.whole("value", 0, MAX_U64) or 0,
        arg.whole("valueTwo", 0, MAX_U64) or 0,
    )


def _action(node: Node, key: str, errno_key: str) -> int:
    word = node.text(key) or ""
    action = _named(node.at(key), word, ACTIONS)
    if word not in _WITH_ERRNO:
        if node.has(errno_key):
            raise refused(node.at(errno_key), f"{word} has no errno")
        return action
    number = node.whole(errno_key, 0, _WITH_ERRNO[word])
    return action | (errno.EPERM if number is None else number)


def _architecture(node: Node, name: str) -> str:
    short = name.removeprefix("SCMP_ARCH_")
    if short == name or short not in ARCHITECTURES:
        raise refused(node.at("architectures"), f"unknown architecture {name!r}")
    return short.lower()


def _listener(node: Node, rules: tuple[Rule, ...]) -> tuple[str, str]:
    """The path and the metadata, "" where nobody is asked: the path is then ignored, as the
    specification has it."""
    path, metadata = node.text("listenerPath") or "", node.text("listenerMetadata") or ""
    asks = any(action == linux.SECCOMP_RET_USER_NOTIF for _, action, _ in rules)
    if asks and not path:
        raise refused(node.at("listenerPath"), "SCMP_ACT_NOTIFY needs a socket to be asked")
    if metadata and not path:
        raise refused(node.at("listenerMetadata"), "there is no listenerPath")
    return (path, metadata) if asks else ("", "")


def _named(place: str, word: str, table: dict[str, int]) -> int:
    if word not in table:
        raise refused(place, f"unknown {word!r}, there are {', '.join(table)}")
    return table[word]
