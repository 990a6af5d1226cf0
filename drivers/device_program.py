"""The device filter as a BPF program: rules in, instructions out.

Law: pure.  Nothing is loaded here, and no system call is known.

What a list of rules means.  Each rule says of one device, or of many, that some kinds of access are
allowed or denied; a later rule changes what earlier ones said, as writes to devices.allow and
devices.deny of the v1 hierarchy do.  For every single access letter (r, w, m) the last rule that
names the device and the letter decides; where there is none, the answer is no.  A rule of kind "a"
forgets all before it and becomes the answer where no later rule decides.  A request is let through
when every letter that it asks for is.  So an allow rule must cover the whole request, and a deny
rule stops whatever it overlaps: `deny c 1:3 r` stops an open for reading and writing.

A request without a letter (access(2) with F_OK) passes by the last allow rule that names the
device, unless a rule after that denies all three letters of it.

The program walks the rules from the last to the first and keeps, in r3, the letters that are not
yet decided: one comparison for each part of a rule, and the order of the rules is kept exactly.
"""

from __future__ import annotations

import struct
import sys

from cgmgr.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from cgmgr.resources import DeviceRule

# linux/bpf.h: struct bpf_cgroup_dev_ctx { access_type, major, minor }; access_type is the access in
# its upper half and the type in its lower
BPF_DEVCG_ACC: Final = {"m": 1, "r": 2, "w": 4}
BPF_DEVCG_DEV: Final = {"b": 1, "c": 2}
_EVERYTHING: Final = 7

# linux/bpf.h, linux/bpf_common.h: a class with a size, an operation or a source in the higher bits
_LDX_MEM_W: Final = 0x61
_ALU64_MOV_X: Final = 0xBF
_ALU64_MOV_K: Final = 0xB7
_ALU64_AND_K: Final = 0x57
_ALU64_RSH_K: Final = 0x77
_JMP_JA: Final = 0x05
_JMP_JNE_K: Final = 0x55
_JMP_JSET_K: Final = 0x45
_JMP_EXIT: Final = 0x95

# r1 is the context, r0 the answer
_TYPE, _ACCESS, _MAJOR, _MINOR = 2, 3, 4, 5


class Instruction(Record):
    """One struct bpf_insn (linux/bpf.h)."""

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0


class _Entry(Record):
    """A rule as the program tests it.  `access` are the letters that it decides; `whole`: with the
    later rules for these devices that is every letter, so that there is nothing left to test."""

    rule: DeviceRule
    access: int
    whole: bool = False


def build(rules: Iterable[DeviceRule]) -> tuple[Instruction, ...]:
    """The program that answers as the rules do, over a default of deny."""
    default, entries = _settle(rules)
    program = list(_PROLOGUE)
    for entry in entries:
        program += _test(entry)
    return (*program, *_answer(default))


def assemble(program: Iterable[Instruction], byteorder: str = sys.byteorder) -> bytes:
    """The instructions as the kernel reads them: 8 bytes each, in the machine's byte order.

    The registers are two bit-fields of one byte, which big-endian machines lay out the other way.
    """
    little = byteorder == "little"
    form = struct.Struct("<BBhi" if little else ">BBhi")
    words: list[bytes] = []
    for i in program:
        registers = i.src << 4 | i.dst if little else i.dst << 4 | i.src
        words.append(form.pack(i.code, registers, i.off, i.imm))
    return b"".join(words)


def _settle(rules: Iterable[DeviceRule]) -> tuple[bool, list[_Entry]]:
    """The default, and the rules that still decide something, the last first."""
    listed = list(rules)
    resets = [place for place, rule in enumerate(listed) if rule.kind == "a"]
    start = resets[-1] + 1 if resets else 0
    default = listed[start - 1].allow if resets else False
    entries: list[_Entry] = []
    for rule in reversed(listed[start:]):
        decided = _union(entry for entry in entries if _covers(entry.rule, rule))
        access = _bits(rule.access) & ~decided
        if access:
            whole = access | decided == _EVERYTHING
            entries.append(_Entry(rule=rule, access=access, whole=whole))
    while entries and entries[-1].rule.allow == default:
        entries.pop()
    return default, entries


def _bits(access: str) -> int:
    return sum(BPF_DEVCG_ACC[letter] for letter in access)


def _union(entries: Iterable[_Entry]) -> int:
    total = 0
    for entry in entries:
        total |= entry.access
    return total


def _covers(wide: DeviceRule, narrow: DeviceRule) -> bool:
    """Whether `wide` names every device that `narrow` names."""
    return (
        wide.kind == narrow.kind
        and wide.major in (None, narrow.major)
        and wide.minor in (None, narrow.minor)
    )


# 32-bit loads only: a half-word would be the other half on a big-endian machine
_PROLOGUE: Final = (
    Instruction(code=_LDX_MEM_W, dst=_TYPE, src=1, off=0),
    Instruction(code=_ALU64_MOV_X, dst=_ACCESS, src=_TYPE),
    Instruction(code=_ALU64_AND_K, dst=_TYPE, imm=0xFFFF),
    Instruction(code=_ALU64_RSH_K, dst=_ACCESS, imm=16),
    Instruction(code=_LDX_MEM_W, dst=_MAJOR, src=1, off=4),
    Instruction(code=_LDX_MEM_W, dst=_MINOR, src=1, off=8),
)


def _answer(allow: bool) -> tuple[Instruction, ...]:
    return (Instruction(code=_ALU64_MOV_K, dst=0, imm=int(allow)), Instruction(code=_JMP_EXIT))


def _test(entry: _Entry) -> list[Instruction]:
    """Answer if the rule decides, else go on behind it."""
    rule = entry.rule
    tests = [(_TYPE, BPF_DEVCG_DEV[rule.kind])]
    tests += [
        (register, number)
        for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor))
        if number is not None
    ]
    behind = [Instruction(code=_JMP_JNE_K, dst=reg, imm=_signed(number)) for reg, number in tests]
    body = behind + _letters(entry) + list(_answer(rule.allow))
    return [_aim(instruction, len(body) - place - 1) for place, instruction in enumerate(body)]


def _letters(entry: _Entry) -> list[Instruction]:
    if entry.whole:
        return []
    if entry.rule.allow:
        left = Instruction(code=_ALU64_AND_K, dst=_ACCESS, imm=_EVERYTHING & ~entry.access)
        return [left, Instruction(code=_JMP_JNE_K, dst=_ACCESS, imm=0)]
    hit = Instruction(code=_JMP_JSET_K, dst=_ACCESS, off=1, imm=entry.access)
    return [hit, Instruction(code=_JMP_JA)]


def _aim(instruction: Instruction, distance: int) -> Instruction:
    """A jump without an offset leads behind the rule."""
    jumps = (_JMP_JNE_K, _JMP_JA)
    return instruction.replace(off=distance) if instruction.code in jumps else instruction


def _signed(number: int) -> int:
    """As the immediate holds it.  The kernel extends the sign, so a number above 2^31 is never met;
    no device has one (12 bits of major, 20 of minor, linux/kdev_t.h)."""
    return number - (1 << 32) if number >= 1 << 31 else number
