"""The BPF programs that the kernel holds, asked with bpf(2).

Law: nothing of cgmgr is imported here.  The attributes are always passed at full size and zeroed
first: the kernel reads as many bytes as it is told, and refuses what it does not know and is set.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from typing import NamedTuple

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

# enum bpf_cmd, /usr/include/linux/bpf.h
BPF_PROG_GET_NEXT_ID = 11
BPF_PROG_GET_FD_BY_ID = 13
BPF_OBJ_GET_INFO_BY_FD = 15

_ATTR_BYTES = 144
_INFO_BYTES = 256
_INFO_NAME = slice(64, 80)  # struct bpf_prog_info, name[BPF_OBJ_NAME_LEN]


class Program(NamedTuple):
    id: int
    name: str


def programs() -> list[Program]:
    """All of them; empty without CAP_BPF or CAP_SYS_ADMIN, and on kernels without bpf(2)."""
    return [Program(number, _name(number)) for number in _ids()]


def _ids() -> Iterator[int]:
    number = 0
    while True:
        attr = _attr(struct.pack("=II", number, 0))
        if _bpf(BPF_PROG_GET_NEXT_ID, attr) < 0:  # ENOENT after the last, EPERM, ENOSYS
            return
        _, number = struct.unpack_from("=II", attr)
        yield number


def _name(number: int) -> str:
    """The name that its loader gave, empty when the program went away meanwhile."""
    fd = _bpf(BPF_PROG_GET_FD_BY_ID, _attr(struct.pack("=I", number)))
    if fd < 0:
        return ""
    try:
        info = ctypes.create_string_buffer(_INFO_BYTES)
        attr = _attr(struct.pack("=IIQ", fd, _INFO_BYTES, ctypes.addressof(info)))
        if _bpf(BPF_OBJ_GET_INFO_BY_FD, attr) < 0:
            return ""
        return info.raw[_INFO_NAME].rstrip(b"\0").decode(errors="replace")
    finally:
        os.close(fd)


def _attr(values: bytes) -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(values, _ATTR_BYTES)


def _bpf(command: int, attr: "ctypes.Array[ctypes.c_char]") -> int:
    """The syscall's result, -1 when it failed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    number = SYS_BPF.get(platform.machine())
    if number is None:
        return -1
    return int(libc.syscall(ctypes.c_long(number), ctypes.c_int(command), attr, _ATTR_BYTES))
