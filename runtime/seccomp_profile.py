"""Which system calls a container may make: the profile of our own, and profiles in docker's format.

Law: pure, but for the file that a profile is read from.  A profile and what a container is (its
capabilities, the machine, the kernel) in, the `linux.seccomp` of a config.json out, whole: nothing
that is decided here is hidden from it.

The profile of our own is a list of what is allowed, and everything else fails with EPERM.  What it
allows is what docker's allows (moby/profiles, seccomp/default_linux.go), said once for all
architectures: names that one of them does not know mean nothing there.  On top of docker's a
container with CAP_SYS_ADMIN may use pivot_root(2), without which no container starts in it.

Not in it, because they reach beyond a container or have a history of holes: kernel modules, kexec,
swap, key rings, other processes' page tables, io_uring, userfaultfd, NUMA placement, new mount and
user namespaces, AF_ALG and AF_VSOCK sockets, old calls that nobody needs.
"""

from __future__ import annotations

import errno
import os
import sys

from cgmgr.errors import RequestError
from cgmgr.record import Record
from cgmgr.resources.document import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Any, Final, Self

#: docker's words for profiles that are no file
BUILTIN: Final = "builtin"
UNCONFINED: Final = "unconfined"

ALLOW: Final = "SCMP_ACT_ALLOW"
ERRNO: Final = "SCMP_ACT_ERRNO"

#: what every container may use, by subject
_EVERYBODY: Final = {
    "files that are open": """
        close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl
        fcntl64 fdatasync flock fsync ftruncate ftruncate64 ioctl _llseek lseek pipe pipe2 pread64
        preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice
        sync sync_file_range syncfs tee vmsplice write writev cachestat
    """,
    "paths and what they lead to": """
        access chdir chmod chown chown32 creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2
        fchown fchown32 fchownat fstat fstat64 fstatat64 fstatfs fstatfs64 futimesat getcwd getdents
        getdents64 lchown lchown32 link linkat lstat lstat64 mkdir mkdirat mknod mknodat
        name_to_handle_at newfstatat open openat openat2 readlink readlinkat rename renameat
        renameat2 rmdir stat stat64 statfs statfs64 statx symlink symlinkat truncate truncate64
        umask unlink unlinkat utime utimensat utimensat_time64 utimes listmount statmount
    """,
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr
        listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
    """,
    "waiting for files": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
        inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd
        signalfd4
    """,
    "input and output in the background": """
        io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
    """,
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
        mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
        pkey_free pkey_mprotect process_mrelease remap_file_pages
    """,
    "processes and threads": """
        execve execveat exit exit_group fork vfork wait4 waitid waitpid getpgid getpgrp getpid
        getppid gettid setpgid setsid prctl pidfd_open pidfd_send_signal set_tid_address
        get_thread_area set_thread_area
    """,
    "locks": """
        futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
        set_robust_list rseq
    """,
    "signals": """
        kill tgkill tkill pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
        rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn uretprobe
    """,
    "who one is": """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
        getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid
        setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32
        setresuid setresuid32 setreuid setreuid32 setuid setuid32
    """,
    "shares of the machine": """
        getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_getaffinity
        sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
        sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
        sched_setattr sched_setparam sched_setscheduler sched_yield setpriority setrlimit ugetrlimit
    """,
    "time": """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
        clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep
        setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
        timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
        timerfd_settime timerfd_settime64 times
    """,
    "messages between processes": """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
        mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
        semtimedop_time64 shmat shmctl shmdt shmget
    """,
    "sockets, once there is one": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall
        socketpair
    """,
    "fewer rights": """
        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
    """,
    "the machine": "getrandom riscv_hwprobe sysinfo uname",
}

#: what some machines have alone, by their names for docker
_MACHINES: Final = {
    ("ppc64le",): "sync_file_range2 swapcontext",
    ("arm", "arm64"): """
        arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls
    """,
    ("amd64", "x32"): "arch_prctl",
    ("amd64", "x32", "x86"): "modify_ldt",
    ("s390", "s390x"): "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ("riscv64",): "riscv_flush_icache",
}

#: what a capability lets a container use
_CAPABLE: Final = {
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns
        syslog umount umount2 unshare
    """,
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module finit_module init_module",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": """
        kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace
    """,
    "SYS_RAWIO": "ioperm iopl",
    "SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "SYS_TTY_CONFIG": "vhangup",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYSLOG": "syslog",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
}

#: before, a traced process could get around its filter (seccomp(2), NOTES)
_TRACING: Final = "process_vm_readv process_vm_writev ptrace"
_TRACING_SINCE: Final = (4, 8)

#: personality(2): PER_LINUX, PER_LINUX32, these with UNAME26, and the question what it is
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

#: AF_* (linux/socket.h) that nobody gets: gone from the kernel, or there and not for containers,
#: which are AF_ALG (38) and AF_VSOCK (40)
_NO_FAMILY: Final = frozenset({12, 19, 20, 23, 24, 34, 37, 38, 40})
_LAST_FAMILY: Final = 45  # AF_MCTP

#: CLONE_NEW* of clone(2) but for the time namespace, whose bit is a signal's there
_NEW_NAMESPACES: Final = 0x7E020000

#: the architecture of a machine and those whose programs it runs, too
_SUBARCHITECTURES: Final = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",),
    "SCMP_ARCH_MIPS64": ("SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"),
    "SCMP_ARCH_MIPSEL64": ("SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"),
    "SCMP_ARCH_S390X": ("SCMP_ARCH_S390",),
}
#: uname -m -> architecture, docker's name for it
_NAMES: Final = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "i386": ("SCMP_ARCH_X86", "x86"),
    "i686": ("SCMP_ARCH_X86", "x86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "loongarch64": ("SCMP_ARCH_LOONGARCH64", "loong64"),
    "ppc64": ("SCMP_ARCH_PPC64", "ppc64"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
    "mips64": ("SCMP_ARCH_MIPS64", "mips64")
    if sys.byteorder == "big"
    else ("SCMP_ARCH_MIPSEL64", "mipsel64"),
}


class Situation(Record):
    """What a profile depends on: the bounding set (without CAP_), `uname -m` and the kernel."""

    capabilities: tuple[str, ...] = ()
    machine: str = ""
    kernel: tuple[int, int] = (0, 0)

    @classmethod
    def here(cls, capabilities: tuple[str, ...]) -> Self:
        """On this machine."""
        uname = os.uname()
        return cls(
            capabilities=capabilities, machine=uname.machine, kernel=version_of(uname.release)
        )

    @property
    def architecture(self) -> str:
        """SCMP_ARCH_*; "" for a machine that is not known, whose own is meant then."""
        return _NAMES.get(self.machine, ("", ""))[0]

    @property
    def dockers(self) -> str:
        """Docker's name for the machine."""
        return _NAMES.get(self.machine, ("", self.machine))[1]


def version_of(release: str) -> tuple[int, int]:
    """The first two numbers of a kernel's version.  Raises `ValueError`."""
    major, minor = release.split(".")[:2]
    digits = minor[: next((i for i, c in enumerate(minor) if not c.isdigit()), len(minor))]
    return int(major), int(digits)


def builtin(situation: Situation) -> dict[str, Any]:
    """`linux.seccomp` by the profile of our own."""
    document: dict[str, Any] = {"defaultAction": ERRNO, "defaultErrnoRet": errno.EPERM}
    if situation.architecture:
        more = _SUBARCHITECTURES.get(situation.architecture, ())
        document["architectures"] = [situation.architecture, *more]
    document["syscalls"] = [
        {"names": _plain_names(situation), "action": ALLOW},
        *_with_arguments("socket", _families()),
        *_with_arguments("personality", [(0, "SCMP_CMP_EQ", p, 0) for p in _PERSONALITIES]),
        *_clone(situation),
    ]
    return document


def _plain_names(situation: Situation) -> list[str]:
    """The calls that are allowed whatever their arguments."""
    texts = list(_EVERYBODY.values())
    texts += [text for names, text in _MACHINES.items() if situation.dockers in names]
    texts += [text for name, text in _CAPABLE.items() if name in situation.capabilities]
    if situation.kernel >= _TRACING_SINCE:
        texts.append(_TRACING)
    return sorted({name for text in texts for name in text.split()})


def _families() -> list[tuple[int, str, int, int]]:
    """The sockets that may be made; those up to the first that may not by one comparison."""
    first = min(_NO_FAMILY)
    others = sorted(set(range(first, _LAST_FAMILY + 1)) - _NO_FAMILY)
    return [(0, "SCMP_CMP_LT", first, 0), *((0, "SCMP_CMP_EQ", n, 0) for n in others)]


def _clone(situation: Situation) -> list[dict[str, Any]]:
    """New processes and threads, but no namespaces.  clone3(2) has its flags in memory, where no
    filter can look: as if it were not there, so that the C library takes clone(2)."""
    if "SYS_ADMIN" in situation.capabilities:
        return []
    flags = 1 if situation.machine in ("s390", "s390x") else 0
    return [
        *_with_arguments("clone", [(flags, "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACES, 0)]),
        {"names": ["clone3"], "action": ERRNO, "errnoRet": errno.ENOSYS},
    ]


def _with_arguments(
    name: str, conditions: Collection[tuple[int, str, int, int]]
) -> Iterator[dict[str, Any]]:
    """A rule for each condition: one that holds is enough."""
    for index, operator, value, two in conditions:
        condition = {"index": index, "value": value, "valueTwo": two, "op": operator}
        yield {"names": [name], "action": ALLOW, "args": [condition]}


def from_file(path: str, situation: Situation) -> dict[str, Any] | None:
    """`from_docker` of a file's content.  Raises `RequestError`."""
    import json

    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise _refused(f"seccomp profile {path}", f"it has more than {_MOST_BYTES >> 20} MiB")
        found: object = json.loads(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _refused(f"seccomp profile {path}", reason) from error
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        reason = "nested too deeply" if deep else str(error)
        raise _refused(f"seccomp profile {path}", f"it is no JSON: {reason}") from error
    if not isinstance(found, dict):
        raise _refused(f"seccomp profile {path}", "it is no JSON object")
    return from_docker({**found}, situation, path)


_MOST_BYTES: Final = 16 << 20


def from_docker(
    document: Mapping[str, Any], situation: Situation, path: str
) -> dict[str, Any] | None:
    """`linux.seccomp` by a profile in docker's format; None where it asks for nothing.

    What a rule's `includes` and `excludes` say is decided, and the architecture is chosen.  What
    else it says is checked where a config.json is read.  Raises `RequestError`.
    """
    profile = Node(document, path)
    if not profile.text("defaultAction") and not any(True for _ in profile.nodes("syscalls")):
        return None
    architectures = profile.texts("architectures")
    maps = list(profile.nodes("archMap"))
    if architectures and maps:
        raise _refused(profile.at("archMap"), "there are architectures, too")
    for one in maps:
        if one.text("architecture") == situation.architecture:
            architectures = (situation.architecture, *one.texts("subArchitectures"))
    made: dict[str, Any] = {key: document[key] for key in _COPIED if document.get(key) is not None}
    if architectures:
        made["architectures"] = list(architectures)
    made["syscalls"] = [
        _rule(call, raw)
        for call, raw in zip(profile.nodes("syscalls"), document.get("syscalls") or (), strict=True)
        if _holds(call, situation)
    ]
    return made


_COPIED: Final = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")


def _rule(call: Node, raw: Mapping[str, Any]) -> dict[str, Any]:
    name = call.text("name")
    names = list(call.texts("names"))
    if name and names:
        raise _refused(call.at("name"), "there are names, too")
    made: dict[str, Any] = {"names": [name] if name else names}
    made |= {key: raw[key] for key in ("action", "errnoRet", "args") if raw.get(key) is not None}
    return made


def _holds(call: Node, situation: Situation) -> bool:
    """Whether all that is in `includes` is the case, and nothing that is in `excludes`."""
    with_, without = call.node("includes"), call.node("excludes")
    needed, unwanted = _capabilities(with_), _capabilities(without)
    machines, others = with_.texts("arches"), without.texts("arches")
    since, until = _kernel(with_), _kernel(without)
    return (
        needed <= set(situation.capabilities)
        and not unwanted & set(situation.capabilities)
        and (not machines or situation.dockers in machines)
        and situation.dockers not in others
        and (since is None or situation.kernel >= since)
        and (until is None or situation.kernel < until)
    )


def _capabilities(node: Node) -> set[str]:
    return {name.removeprefix("CAP_") for name in node.texts("caps")}


def _kernel(node: Node) -> tuple[int, int] | None:
    text = node.text("minKernel")
    if not text:
        return None
    try:
        return version_of(text)
    except ValueError:
        raise _refused(node.at("minKernel"), f"{text!r} is not a version such as 4.8") from None


def _refused(place: str, reason: str) -> RequestError:
    return RequestError(f"{place}: {reason}", operation="read seccomp profile", value=place)
