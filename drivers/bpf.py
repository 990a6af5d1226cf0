"""bpf(2) for programs that are attached to cgroups, by ctypes, in the kernel's spelling.

Law: one thin wrapper a command; every failure is a plain `OSError`.  No policy, no retry, no
knowledge of rules or groups.

The attribute is always passed at one size, zeroed first and larger than any kernel's `union
bpf_attr`.  Linux 6.17 to 7.1 write `query.revision` behind a shorter attribute, which damages the
caller's memory; kernels that know fewer fields accept the rest as long as it is zero.

Every descriptor that bpf(2) makes is close-on-exec (kernel/bpf/syscall.c), and is moved above the
standard ones: 0 means "none" in several attributes.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

from cgmgr import linux
from cgmgr.record import Record

# enum bpf_cmd, linux/bpf.h
BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_OBJ_GET_INFO_BY_FD = 15
BPF_PROG_QUERY = 16

# enum bpf_prog_type, enum bpf_attach_type, linux/bpf.h
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6

# linux/bpf.h
BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2  # Linux 5.6
BPF_OBJ_NAME_LEN = 16
BPF_TAG_SIZE = 8

#: BPF_CGROUP_MAX_PROGS (linux/bpf-cgroup.h): what one group holds of one attach type
MAX_PROGRAMS = 64
_LOG_LEVEL = 1
_ATTR_BYTES = 256


class _load(ctypes.Structure):
    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * BPF_OBJ_NAME_LEN),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
    ]


class _attach(ctypes.Structure):
    _fields_ = [
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("replace_bpf_fd", ctypes.c_uint32),
    ]


class _query(ctypes.Structure):
    _fields_ = [
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("prog_cnt", ctypes.c_uint32),
    ]


class _info(ctypes.Structure):
    _fields_ = [
        ("bpf_fd", ctypes.c_uint32),
        ("info_len", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
    ]


class bpf_attr(ctypes.Union):
    """linux/bpf.h, the parts that are used here, and room for whatever the kernel writes back"""

    _fields_ = [
        ("load", _load),
        ("attach", _attach),
        ("query", _query),
        ("prog_id", ctypes.c_uint32),
        ("info", _info),
        ("room", ctypes.c_uint8 * _ATTR_BYTES),
    ]


class bpf_prog_info(ctypes.Structure):
    """linux/bpf.h, up to the name; the kernel fills in as much as it is given room for"""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * BPF_TAG_SIZE),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * BPF_OBJ_NAME_LEN),
    ]


class ProgramInfo(Record):
    """What the kernel says of a loaded program.  `tag` is a digest of its instructions, which tells
    two programs of one kernel apart (SHA-1, and SHA-256 since 6.18)."""

    id: int
    name: str
    tag: str


class Query(Record):
    """The ids of a group's own programs, in the order in which they run, and the flags
    (BPF_F_ALLOW_*) of the attachment."""

    ids: tuple[int, ...]
    flags: int


def prog_load(instructions: bytes, name: str, *, log_bytes: int = 0) -> int:
    """BPF_PROG_LOAD of a device program: its descriptor.

    `instructions` are whole `struct bpf_insn`s of 8 bytes.  With `log_bytes` the verifier's words
    about a program that it refuses are in the error's `strerror`; ENOSPC means that they were more.
    """
    attr = bpf_attr()
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_text = ctypes.create_string_buffer(b"Apache-2.0")
    log = ctypes.create_string_buffer(log_bytes) if log_bytes else None
    attr.load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE
    attr.load.insn_cnt = len(instructions) // 8
    attr.load.insns = ctypes.addressof(code)
    attr.load.license = ctypes.addressof(license_text)
    attr.load.prog_name = name.encode("ascii")[: BPF_OBJ_NAME_LEN - 1]
    attr.load.expected_attach_type = BPF_CGROUP_DEVICE
    if log is not None:
        attr.load.log_level = _LOG_LEVEL
        attr.load.log_size = log_bytes
        attr.load.log_buf = ctypes.addressof(log)
    try:
        fd = _bpf(BPF_PROG_LOAD, attr)
    except OSError as error:
        said = log.value.decode("utf-8", "replace").strip() if log is not None else ""
        raise OSError(error.errno, said or error.strerror) from error
    return _above_standard(fd)


def prog_attach(target_fd: int, prog_fd: int, flags: int, *, replace_fd: int = 0) -> None:
    """BPF_PROG_ATTACH to a cgroup2 directory; `replace_fd` with BPF_F_REPLACE."""
    attr = bpf_attr()
    attr.attach.target_fd = target_fd
    attr.attach.attach_bpf_fd = prog_fd
    attr.attach.attach_type = BPF_CGROUP_DEVICE
    attr.attach.attach_flags = flags
    attr.attach.replace_bpf_fd = replace_fd
    _bpf(BPF_PROG_ATTACH, attr)


def prog_detach(target_fd: int, prog_fd: int) -> None:
    """BPF_PROG_DETACH of one program; ENOENT when it is not attached to this very group."""
    attr = bpf_attr()
    attr.attach.target_fd = target_fd
    attr.attach.attach_bpf_fd = prog_fd
    attr.attach.attach_type = BPF_CGROUP_DEVICE
    _bpf(BPF_PROG_DETACH, attr)


def prog_query(target_fd: int) -> Query:
    """BPF_PROG_QUERY of what is attached to the group itself, not to those above it."""
    attr = bpf_attr()
    ids = (ctypes.c_uint32 * MAX_PROGRAMS)()
    attr.query.target_fd = target_fd
    attr.query.attach_type = BPF_CGROUP_DEVICE
    attr.query.prog_ids = ctypes.addressof(ids)
    attr.query.prog_cnt = MAX_PROGRAMS
    _bpf(BPF_PROG_QUERY, attr)
    return Query(ids=tuple(ids[: attr.query.prog_cnt]), flags=attr.query.attach_flags)


def prog_get_fd_by_id(program_id: int) -> int:
    """BPF_PROG_GET_FD_BY_ID; ENOENT when the program is gone, EPERM without CAP_SYS_ADMIN."""
    attr = bpf_attr()
    attr.prog_id = program_id
    return _above_standard(_bpf(BPF_PROG_GET_FD_BY_ID, attr))


def obj_get_info_by_fd(fd: int) -> ProgramInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a program's descriptor."""
    attr = bpf_attr()
    info = bpf_prog_info()
    attr.info.bpf_fd = fd
    attr.info.info_len = ctypes.sizeof(info)
    attr.info.info = ctypes.addressof(info)
    _bpf(BPF_OBJ_GET_INFO_BY_FD, attr)
    return ProgramInfo(
        id=info.id, name=info.name.decode("ascii", "replace"), tag=bytes(info.tag).hex()
    )


def _bpf(command: int, attr: bpf_attr) -> int:
    return linux.syscall(linux.SYS_bpf, command, ctypes.byref(attr), ctypes.sizeof(attr))


def _above_standard(fd: int) -> int:
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)
