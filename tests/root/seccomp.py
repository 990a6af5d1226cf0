"""A seccomp filter that makes one system call fail, for tests that need a poorer kernel."""

import ctypes
import struct

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
SECCOMP_MODE_FILTER = 2  # linux/seccomp.h
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


def refuse(number: int, errno: int) -> None:
    """From now on system call `number` fails with `errno`, here and in all children."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD, 0, 0, 0),
            (EQUAL, 0, 1, number),
            (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno),
            (RETURN, 0, 0, SECCOMP_RET_ALLOW),
        )
    )
    code = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0),
        (PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.c_char_p(filter_), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
