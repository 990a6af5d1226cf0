"""The device filter's program, read back from its bytes and run on paper.

Law: the decoder and the interpreter here know the encoding from linux/bpf.h alone, and the model
knows the meaning of rules from the module's docstring alone; nothing is taken from the code.
"""

import struct
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cgmgr.drivers.device_program import assemble, build
from cgmgr.resources import DeviceRule

LETTERS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}


class Decoded(NamedTuple):
    code: int
    dst: int
    src: int
    off: int
    imm: int


class Request(NamedTuple):
    kind: str
    major: int
    minor: int
    access: str


def decode(code: bytes, byteorder: str) -> list[Decoded]:
    found: list[Decoded] = []
    for opcode, registers, off, imm in struct.iter_unpack(
        "<BBhi" if byteorder == "little" else ">BBhi", code
    ):
        high, low = registers >> 4, registers & 15
        dst, src = (low, high) if byteorder == "little" else (high, low)
        found.append(Decoded(opcode, dst, src, off, imm))
    return found


def text(i: Decoded, place: int) -> str:
    target = place + 1 + i.off
    return {
        0x61: f"r{i.dst} = *(u32 *)(r{i.src} + {i.off})",
        0xBF: f"r{i.dst} = r{i.src}",
        0xB7: f"r{i.dst} = {i.imm}",
        0x57: f"r{i.dst} &= {i.imm:#x}",
        0x77: f"r{i.dst} >>= {i.imm}",
        0x05: f"goto {target}",
        0x55: f"if r{i.dst} != {i.imm} goto {target}",
        0x45: f"if r{i.dst} & {i.imm:#x} goto {target}",
        0x95: "exit",
    }[i.code]


def listing(*rules: DeviceRule) -> list[str]:
    decoded = decode(assemble(build(rules), "little"), "little")
    return [f"{place}: {text(i, place)}" for place, i in enumerate(decoded)]


def run(rules: list[DeviceRule], request: Request, byteorder: str = "little") -> bool:
    """What the program answers, by an interpreter of the opcodes that `text` knows."""
    access = sum(LETTERS[letter] for letter in request.access)
    context = {0: access << 16 | KINDS[request.kind], 4: request.major, 8: request.minor}
    code = decode(assemble(build(rules), byteorder), byteorder)
    registers: dict[int, int] = {}
    place = 0
    while True:
        i = code[place]
        wide = i.imm & (1 << 64) - 1  # the kernel extends the sign to 64 bits
        jump = False
        match i.code:
            case 0x61:
                registers[i.dst] = context[i.off]
            case 0xBF:
                registers[i.dst] = registers[i.src]
            case 0xB7:
                registers[i.dst] = wide
            case 0x57:
                registers[i.dst] &= wide
            case 0x77:
                registers[i.dst] >>= wide
            case 0x05:
                jump = True
            case 0x55:
                jump = registers[i.dst] != wide
            case 0x45:
                jump = registers[i.dst] & wide != 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(i)
        place += 1 + (i.off if jump else 0)


def names(rule: DeviceRule, request: Request) -> bool:
    return rule.kind == "a" or (
        rule.kind == request.kind
        and rule.major in (None, request.major)
        and rule.minor in (None, request.minor)
    )


def model(rules: list[DeviceRule], request: Request) -> bool:
    """For every letter asked for, the last rule decides that names the device and the letter."""
    return all(letter_allowed(rules, request, letter) for letter in request.access)


def letter_allowed(rules: list[DeviceRule], request: Request, letter: str) -> bool:
    allowed = False
    for rule in rules:
        if names(rule, request) and (rule.kind == "a" or letter in rule.access):
            allowed = rule.allow
    return allowed


def allow(kind: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return DeviceRule(kind=kind, major=major, minor=minor, access=access)


def deny(kind: str, major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return DeviceRule(kind=kind, major=major, minor=minor, access=access, allow=False)


ALLOW_ALL = DeviceRule(kind="a")
DENY_ALL = DeviceRule(kind="a", allow=False)

PROLOGUE = [
    "0: r2 = *(u32 *)(r1 + 0)",
    "1: r3 = r2",
    "2: r2 &= 0xffff",
    "3: r3 >>= 16",
    "4: r4 = *(u32 *)(r1 + 4)",
    "5: r5 = *(u32 *)(r1 + 8)",
]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([], ["6: r0 = 0", "7: exit"], id="nothing allowed"),
        pytest.param([ALLOW_ALL], ["6: r0 = 1", "7: exit"], id="everything allowed"),
        pytest.param(
            [allow("c", 1, 3)],
            [
                "6: if r2 != 2 goto 11",
                "7: if r4 != 1 goto 11",
                "8: if r5 != 3 goto 11",
                "9: r0 = 1",
                "10: exit",
                "11: r0 = 0",
                "12: exit",
            ],
            id="one device, every letter",
        ),
        pytest.param(
            [allow("b", 8, None, "r")],
            [
                "6: if r2 != 1 goto 12",
                "7: if r4 != 8 goto 12",
                "8: r3 &= 0x5",
                "9: if r3 != 0 goto 12",
                "10: r0 = 1",
                "11: exit",
                "12: r0 = 0",
                "13: exit",
            ],
            id="any minor, one letter",
        ),
        pytest.param(
            [ALLOW_ALL, deny("c", 1, 3, "w")],
            [
                "6: if r2 != 2 goto 13",
                "7: if r4 != 1 goto 13",
                "8: if r5 != 3 goto 13",
                "9: if r3 & 0x4 goto 11",
                "10: goto 13",
                "11: r0 = 0",
                "12: exit",
                "13: r0 = 1",
                "14: exit",
            ],
            id="all but writes of one device",
        ),
        pytest.param(
            [allow("c", None, None, "m"), allow("c", 1, 3), deny("c", 1, 3, "m")],
            [
                "6: if r2 != 2 goto 13",
                "7: if r4 != 1 goto 13",
                "8: if r5 != 3 goto 13",
                "9: if r3 & 0x1 goto 11",
                "10: goto 13",
                "11: r0 = 0",
                "12: exit",
                # all three letters are decided now, so there is nothing to test
                "13: if r2 != 2 goto 18",
                "14: if r4 != 1 goto 18",
                "15: if r5 != 3 goto 18",
                "16: r0 = 1",
                "17: exit",
                "18: if r2 != 2 goto 23",
                "19: r3 &= 0x6",
                "20: if r3 != 0 goto 23",
                "21: r0 = 1",
                "22: exit",
                "23: r0 = 0",
                "24: exit",
            ],
            id="the last rule first",
        ),
        pytest.param(
            [allow("c", 5, 0), deny("b", 8, 0), DENY_ALL, deny("c", 1, 3)],
            ["6: r0 = 0", "7: exit"],
            id="what decides nothing is left out",
        ),
        pytest.param(
            [allow("c", 1, 3, "r"), deny("c", 1, None), allow("c", 1, 3, "r")],
            [
                "6: if r2 != 2 goto 13",
                "7: if r4 != 1 goto 13",
                "8: if r5 != 3 goto 13",
                "9: r3 &= 0x5",
                "10: if r3 != 0 goto 13",
                "11: r0 = 1",
                "12: exit",
                "13: r0 = 0",
                "14: exit",
            ],
            id="an overruled rule and a deny over nothing",
        ),
        pytest.param(
            [allow("c", 0xFFFFFFFF, 3)],
            [
                "6: if r2 != 2 goto 11",
                "7: if r4 != -1 goto 11",
                "8: if r5 != 3 goto 11",
                "9: r0 = 1",
                "10: exit",
                "11: r0 = 0",
                "12: exit",
            ],
            id="a number that no device has",
        ),
    ],
)
def test_instructions(rules: list[DeviceRule], expected: list[str]) -> None:
    assert listing(*rules) == PROLOGUE + expected


NULL_READ, NULL_BOTH = Request("c", 1, 3, "r"), Request("c", 1, 3, "rw")
NULL_NOTHING = Request("c", 1, 3, "")


@pytest.mark.parametrize(
    ("rules", "request_", "expected"),
    [
        pytest.param([allow("c", 1, 3, "r")], NULL_READ, True, id="allow covers"),
        pytest.param([allow("c", 1, 3, "r")], NULL_BOTH, False, id="allow overlaps"),
        pytest.param([ALLOW_ALL, deny("c", 1, 3, "r")], NULL_BOTH, False, id="deny overlaps"),
        pytest.param(
            [ALLOW_ALL, deny("c", 1, 3, "w")], NULL_READ, True, id="deny of another letter"
        ),
        pytest.param(
            [allow("c", 1, 3, "r"), allow("c", 1, 3, "w")], NULL_BOTH, True, id="allows add up"
        ),
        pytest.param(
            [allow("c", 1, 3, "rw"), deny("c", 1, 3, "r"), allow("c", 1, 3, "r")],
            NULL_BOTH,
            True,
            id="a denied letter given back",
        ),
        pytest.param(
            [allow("c", 1, None), deny("c", 1, 3)], NULL_READ, False, id="a hole in a wildcard"
        ),
        pytest.param(
            [deny("c", 1, 3), allow("c", 1, None)], NULL_READ, True, id="the later rule wins"
        ),
        pytest.param([allow("c", 1, 3), DENY_ALL], NULL_READ, False, id="all denied at last"),
        pytest.param([deny("c", 1, 3), ALLOW_ALL], NULL_READ, True, id="all allowed at last"),
        pytest.param([allow("b", 1, 3)], NULL_READ, False, id="another kind"),
        pytest.param([allow("c", 1, 3, "r")], NULL_NOTHING, True, id="no letter, allowed"),
        pytest.param([], NULL_NOTHING, False, id="no letter, nothing allowed"),
        pytest.param(
            [allow("c", 1, 3), deny("c", 1, 3)], NULL_NOTHING, False, id="no letter, all denied"
        ),
        pytest.param(
            [allow("c", 1, 3), deny("c", 1, 3, "r"), deny("c", None, 3, "wm")],
            NULL_NOTHING,
            False,
            id="no letter, all denied by two rules",
        ),
        pytest.param(
            [ALLOW_ALL, deny("c", 1, 3, "w")], NULL_NOTHING, True, id="no letter, one denied"
        ),
    ],
)
def test_meaning(rules: list[DeviceRule], request_: Request, expected: bool) -> None:
    assert run(rules, request_) is expected


accesses = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
numbers = st.sampled_from([None, 1, 3])
device_rules = st.builds(
    DeviceRule,
    kind=st.sampled_from([*"ccccccb", "a"]),
    major=numbers,
    minor=numbers,
    access=accesses,
    allow=st.booleans(),
)
rule_lists = st.lists(device_rules, max_size=8)
devices = st.tuples(
    st.sampled_from(["c", "c", "b"]), st.sampled_from([1, 3]), st.sampled_from([1, 3, 0xFFFFF])
)


@settings(max_examples=500)
@given(rule_lists, devices, accesses)
@example([allow("c", 1, 3, "rw"), deny("c", 1, 3, "r"), allow("c", 1, 3, "r")], ("c", 1, 3), "rw")
def test_the_program_answers_as_the_rules_do(
    rules: list[DeviceRule], device: tuple[str, int, int], access: str
) -> None:
    request = Request(*device, access)
    assert run(rules, request) is model(rules, request)


@given(rule_lists, devices)
def test_a_request_without_a_letter_passes_where_any_letter_does(
    rules: list[DeviceRule], device: tuple[str, int, int]
) -> None:
    if any(letter_allowed(rules, Request(*device, ""), letter) for letter in LETTERS):
        assert run(rules, Request(*device, ""))


@given(rule_lists, devices)
def test_a_request_without_a_letter_needs_an_allow_rule(
    rules: list[DeviceRule], device: tuple[str, int, int]
) -> None:
    request = Request(*device, "")
    if not any(rule.allow and names(rule, request) for rule in rules):
        assert not run(rules, request)


@given(rule_lists, devices, accesses)
def test_both_byte_orders_are_one_program(
    rules: list[DeviceRule], device: tuple[str, int, int], access: str
) -> None:
    program = build(rules)
    assert decode(assemble(program, "big"), "big") == decode(assemble(program, "little"), "little")
    request = Request(*device, access)
    assert run(rules, request, "big") is run(rules, request, "little")
