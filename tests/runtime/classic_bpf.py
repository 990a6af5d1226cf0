"""A machine for seccomp's programs: what the kernel would answer to a call.

Law: instructions as linux/bpf_common.h has them, and only those that a seccomp filter may use here;
any other is a fault of whoever made the program.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: a & k != 0,
}


def run(program: bytes, number: int, architecture: int, args: Sequence[int] = ()) -> int:
    """SECCOMP_RET_* for one call; the arguments that are not given are 0."""
    six = [*args, *(0,) * (6 - len(args))]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *six)
    lines = list(_INSTRUCTION.iter_unpack(program))
    accumulator, at = 0, 0
    while True:
        code, true, false, k = lines[at]
        at += 1
        if code == _RETURN:
            return int(k)
        if code == _LOAD:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif code == _AND:
            accumulator &= k
        elif code == _JUMP:
            at += k
        else:
            at += true if _JUMPS[code](accumulator, k) else false
