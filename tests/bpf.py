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
        query = attr(struct.pack("=II", number, 0))
        if call(BPF_PROG_GET_NEXT_ID, query) < 0:  # ENOENT after the last, EPERM, ENOSYS
            return
        _, number = struct.unpack_from("=II", query)
        yield number


def _name(number: int) -> str:
    """The name that its loader gave, empty when the program went away meanwhile."""
    fd = call(BPF_PROG_GET_FD_BY_ID, attr(struct.pack("=I", number)))
    if fd < 0:
        return ""
    try:
        info = ctypes.create_string_buffer(_INFO_BYTES)
        query = attr(struct.pack("=IIQ", fd, _INFO_BYTES, ctypes.addressof(info)))
        if call(BPF_OBJ_GET_INFO_BY_FD, query) < 0:
            return ""
        return info.raw[_INFO_NAME].rstrip(b"\0").decode(errors="replace")
    finally:
        os.close(fd)


def attr(values: bytes) -> "ctypes.Array[ctypes.c_char]":
    """`union bpf_attr` that begins with these bytes."""
    return ctypes.create_string_buffer(values, _ATTR_BYTES)


def call(command: int, query: "ctypes.Array[ctypes.c_char]") -> int:
    """The syscall's result, -1 when it failed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    number = SYS_BPF.get(platform.machine())
    if number is None:
        return -1
    return int(libc.syscall(ctypes.c_long(number), ctypes.c_int(command), query, _ATTR_BYTES))
