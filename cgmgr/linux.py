"""System calls that the standard library lacks, by ctypes, in the kernel's spelling.

Law: one thin wrapper a call, named as the manual page names it; every failure is a plain `OSError`
with errno, from one `errcheck`.  No policy, no retry, no knowledge of cgroups.  Each constant names
the header it comes from.  Longer than a module should be: it is a list, and has no parts.
"""

from __future__ import annotations

import ctypes
import errno as _errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

# /usr/include/asm-generic/unistd.h; the numbers from 424 on are the same on every architecture but
# alpha (where they are 110 higher), the older ones are not and are taken by machine.
SYS_open_tree = 428
SYS_move_mount = 429
SYS_fsopen = 430
SYS_fsconfig = 431
SYS_fsmount = 432
SYS_clone3 = 435
SYS_close_range = 436
SYS_openat2 = 437
SYS_pidfd_getfd = 438
SYS_mount_setattr = 442

# asm/unistd.h; s390x has the first two arguments of clone(2) the other way round
SYS_clone = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120, "s390x": 120}.get(
    os.uname().machine, -1
)

SYS_rt_sigaction = {"x86_64": 13, "aarch64": 134, "riscv64": 134, "ppc64le": 173, "s390x": 174}.get(
    os.uname().machine, -1
)

#: linux/signal.h: children that end leave no zombie; exec clears it
SA_NOCLDWAIT = 2

_BY_MACHINE = {  # bpf, keyctl, pivot_root, capget, capset, seccomp
    "x86_64": (321, 250, 155, 125, 126, 317),
    "aarch64": (280, 219, 41, 90, 91, 277),
    "riscv64": (280, 219, 41, 90, 91, 277),
    "ppc64le": (361, 271, 203, 183, 184, 358),
    "s390x": (351, 280, 217, 184, 185, 348),
}
SYS_bpf, SYS_keyctl, SYS_pivot_root, SYS_capget, SYS_capset, SYS_seccomp = _BY_MACHINE.get(
    os.uname().machine, (-1, -1, -1, -1, -1, -1)
)

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# linux/mount.h, sys/mount.h
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8
OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x200000
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# linux/seccomp.h
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_FILTER_FLAG_TSYNC = 0x1
SECCOMP_FILTER_FLAG_LOG = 0x2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 0x4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 0x8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 0x20
SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_KILL_THREAD = 0x00000000
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_LOG = 0x7FFC0000
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ACTION_FULL = 0xFFFF0000

# linux/magic.h
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
TMPFS_MAGIC = 0x01021994
PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572

CLOSE_RANGE_CLOEXEC = 0x4  # linux/close_range.h
TIOCGPTPEER = 0x5441  # asm-generic/ioctls.h

# linux/pidfd.h
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info) of the first size
PIDFD_INFO_EXIT = 0x8
PIDFD_INFO_SIZE_VER0 = 64

# sys/wait.h
WALL = 0x40000000

# asm-generic/socket.h
MSG_DONTWAIT = 0x40

_EVERY_CPU = b"\xff" * 1024  # CONFIG_NR_CPUS is at most 8192

# linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING = 1

_LINUX_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


class open_how(ctypes.Structure):
    """linux/openat2.h"""

    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


class clone_args(ctypes.Structure):
    """linux/sched.h, version 2 (5.7: with `cgroup`)"""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


class mount_attr(ctypes.Structure):
    """linux/mount.h"""

    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class statfs_t(ctypes.Structure):
    """bits/statfs.h; room is left because the size differs by architecture"""

    _fields_ = [("f_type", ctypes.c_long), ("room", ctypes.c_long * 30)]


class cap_header(ctypes.Structure):
    """linux/capability.h"""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class cap_data(ctypes.Structure):
    """linux/capability.h"""

    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


class sock_fprog(ctypes.Structure):
    """linux/filter.h"""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


#: named here because to make such a type takes 0.2 ms, in every process that is cloned before
cap_data_pair = cap_data * 2


def _errcheck(result: int, func: Any, _args: tuple[object, ...]) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _function(name: str, *argtypes: Any) -> Any:
    function = getattr(_libc, name)
    function.argtypes = argtypes
    function.restype = ctypes.c_int
    function.errcheck = _errcheck
    return function


_syscall: Any = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.errcheck = _errcheck

_mount = _function(
    "mount",
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_umount2 = _function("umount2", ctypes.c_char_p, ctypes.c_int)
_unshare = _function("unshare", ctypes.c_int)
_setns = _function("setns", ctypes.c_int, ctypes.c_int)
_prctl = _function("prctl", ctypes.c_int, *(ctypes.c_ulong,) * 4)
_fstatfs = _function("fstatfs", ctypes.c_int, ctypes.c_void_p)
_sethostname = _function("sethostname", ctypes.c_char_p, ctypes.c_size_t)
_sched_setaffinity = _function("sched_setaffinity", ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p)
_setdomainname = _function("setdomainname", ctypes.c_char_p, ctypes.c_size_t)


def syscall(number: int, *args: Any) -> int:
    """syscall(2).  Integers go as long; pass ctypes objects or bytes for pointers.

    A number that this machine's architecture does not have in our table raises ENOSYS.
    """
    if number < 0:
        raise OSError(_errno.ENOSYS, os.strerror(_errno.ENOSYS))
    passed = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return int(_syscall(ctypes.c_long(number), *passed))


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2), Linux 5.6.  O_CLOEXEC is always set."""
    how = open_how(flags=flags | os.O_CLOEXEC, mode=mode, resolve=resolve)
    return syscall(
        SYS_openat2, dir_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(open_how)
    )


def clone3(flags: int, *, exit_signal: int = 0, cgroup: int = -1) -> tuple[int, int]:
    """clone3(2), Linux 5.3, as fork: (pid, pidfd) in the parent, (0, -1) in the child.

    CLONE_PIDFD is always set.  `cgroup` is a directory descriptor, used with CLONE_INTO_CGROUP
    (5.7). Only for a process with one thread: the child runs Python on a copy of this stack.
    """
    pidfd = ctypes.c_int(-1)
    args = clone_args(
        flags=flags | CLONE_PIDFD,
        pidfd=ctypes.addressof(pidfd),
        exit_signal=exit_signal,
        cgroup=max(cgroup, 0),
    )
    pid = syscall(SYS_clone3, ctypes.byref(args), ctypes.sizeof(clone_args))
    return pid, pidfd.value if pid else -1


def clone(flags: int) -> tuple[int, int]:
    """clone(2) as `clone3` above, with the exit signal in the low byte of `flags` and without a
    cgroup, Linux 5.2: for a seccomp filter that hides clone3 because it cannot look into its
    arguments."""
    pidfd = ctypes.c_int(-1)
    first = (flags | CLONE_PIDFD, 0)
    if os.uname().machine == "s390x":
        first = (0, flags | CLONE_PIDFD)
    pid = syscall(SYS_clone, *first, ctypes.byref(pidfd), 0, 0)
    return pid, pidfd.value if pid else -1


def pidfd_exit_status(pidfd: int) -> int | None:
    """The wait status of a process that was reaped already, by ioctl PIDFD_GET_INFO (Linux 6.15);
    None where the kernel does not say."""
    from fcntl import ioctl

    info = bytearray(PIDFD_INFO_SIZE_VER0)
    info[:8] = PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder)
    try:
        ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not int.from_bytes(info[:8], sys.byteorder) & PIDFD_INFO_EXIT:
        return None
    return int.from_bytes(info[-4:], sys.byteorder)


def rt_sigaction_default(signum: int, flags: int = 0) -> None:
    """rt_sigaction(2) to SIG_DFL, for the signals that the C library keeps for itself (32 and 33):
    posix_spawn(3) of glibc leaves them ignored, and an ignored signal stays so through exec; and
    with flags, which Python cannot set."""
    action = bytes(8) + flags.to_bytes(8, sys.byteorder) + bytes(16)
    syscall(SYS_rt_sigaction, signum, action, None, 8)


def sched_setaffinity_all() -> None:
    """sched_setaffinity(2) of this thread to every CPU; the kernel keeps to the cpuset's."""
    _sched_setaffinity(0, len(_EVERY_CPU), _EVERY_CPU)


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2)"""
    encoded = [None if text is None else os.fsencode(text) for text in (source, fstype, data)]
    _mount(encoded[0], os.fsencode(target), encoded[1], flags, encoded[2])


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)"""
    _umount2(os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)"""
    syscall(SYS_pivot_root, os.fsencode(new_root), os.fsencode(put_old))


def unshare(flags: int) -> None:
    """unshare(2)"""
    _unshare(flags)


def setns(fd: int, nstype: int = 0) -> None:
    """setns(2)"""
    _setns(fd, nstype)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """open_tree(2), Linux 5.2"""
    return syscall(SYS_open_tree, dir_fd, os.fsencode(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2), Linux 5.2"""
    syscall(SYS_move_mount, from_fd, os.fsencode(from_path), to_fd, os.fsencode(to_path), flags)


def mount_setattr(
    dir_fd: int,
    path: str,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
) -> None:
    """mount_setattr(2), Linux 5.12"""
    attr = mount_attr(attr_set=attr_set, attr_clr=attr_clr, propagation=propagation)
    syscall(
        SYS_mount_setattr,
        dir_fd,
        os.fsencode(path),
        flags,
        ctypes.byref(attr),
        ctypes.sizeof(mount_attr),
    )


def fsopen(fstype: str) -> int:
    """fsopen(2), Linux 5.2"""
    return syscall(SYS_fsopen, os.fsencode(fstype), FSOPEN_CLOEXEC)


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """fsconfig(2), Linux 5.2: a flag, a string of at most 255 bytes, or a command without key"""
    encoded = [None if text is None else os.fsencode(text) for text in (key, value)]
    syscall(SYS_fsconfig, fs_fd, command, *encoded, 0)


def fsmount(fs_fd: int, attr_flags: int = 0) -> int:
    """fsmount(2), Linux 5.2"""
    return syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, attr_flags)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """close_range(2), Linux 5.9; CLOSE_RANGE_CLOEXEC 5.11"""
    syscall(SYS_close_range, first, last, flags)


def pidfd_getfd(pidfd: int, target: int) -> int:
    """pidfd_getfd(2), Linux 5.6: a copy, closed on exec, of another process's descriptor"""
    return syscall(SYS_pidfd_getfd, pidfd, target, 0)


def seccomp_filter(program: bytes, flags: int = 0) -> int:
    """seccomp(SECCOMP_SET_MODE_FILTER): a program of struct sock_filter for this thread; the
    listener's descriptor with SECCOMP_FILTER_FLAG_NEW_LISTENER"""
    code = sock_fprog(len(program) // 8, program)
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(code))


def seccomp_knows_flags(flags: int) -> None:
    """Raise `OSError` EINVAL where this kernel does not know these flags of seccomp(2): it looks at
    them before the program, which is none."""
    try:
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, None)
    except OSError as error:
        if error.errno != _errno.EFAULT:
            raise


def seccomp_knows_action(action: int) -> None:
    """seccomp(SECCOMP_GET_ACTION_AVAIL), Linux 4.14; raises `OSError` EOPNOTSUPP"""
    asked = ctypes.c_uint32(action)
    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(asked))


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)"""
    return int(_prctl(option, arg2, arg3, arg4, arg5))


def prctl_set_name(name: str) -> None:
    """prctl(PR_SET_NAME): the comm of this thread, 15 bytes of it."""
    encoded = ctypes.create_string_buffer(os.fsencode(name))
    prctl(PR_SET_NAME, ctypes.addressof(encoded))


def fstatfs_type(fd: int) -> int:
    """The `f_type` of fstatfs(2): the file system's magic number."""
    buffer = statfs_t()
    _fstatfs(fd, ctypes.byref(buffer))
    return int(buffer.f_type) & 0xFFFFFFFF


def sethostname(name: str) -> None:
    """sethostname(2)"""
    encoded = os.fsencode(name)
    _sethostname(encoded, len(encoded))


def setdomainname(name: str) -> None:
    """setdomainname(2)"""
    encoded = os.fsencode(name)
    _setdomainname(encoded, len(encoded))


def keyctl_join_session_keyring() -> None:
    """keyctl(KEYCTL_JOIN_SESSION_KEYRING): a new anonymous session keyring."""
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0)


def capget(pid: int = 0) -> tuple[int, int, int]:
    """capget(2): the effective, permitted and inheritable sets as bit masks."""
    header = cap_header(_LINUX_CAPABILITY_VERSION_3, pid)
    data = cap_data_pair()
    syscall(SYS_capget, ctypes.byref(header), ctypes.byref(data))
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of this thread, from bit masks."""
    header = cap_header(_LINUX_CAPABILITY_VERSION_3, 0)
    masks = (effective, permitted, inheritable)
    data = cap_data_pair(
        cap_data(*(mask & 0xFFFFFFFF for mask in masks)), cap_data(*(mask >> 32 for mask in masks))
    )
    syscall(SYS_capset, ctypes.byref(header), ctypes.byref(data))
