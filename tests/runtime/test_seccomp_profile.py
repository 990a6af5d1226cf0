"""The profile of our own, and profiles in docker's format."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cgmgr import linux
from cgmgr.errors import HostError, RequestError
from cgmgr.resources.document import Node
from cgmgr.runtime import capabilities, seccomp
from cgmgr.runtime.seccomp_bpf import compiled
from cgmgr.runtime.seccomp_names import Library
from cgmgr.runtime.seccomp_profile import (
    Situation,
    builtin,
    from_docker,
    from_file,
    version_of,
)

from .classic_bpf import run

X86 = Situation(capabilities=capabilities.DEFAULT, machine="x86_64", kernel=(6, 1))


def with_(*names: str, **changes: Any) -> Situation:
    return X86.replace(capabilities=(*capabilities.DEFAULT, *names), **changes)


def allowed(document: dict[str, Any]) -> set[str]:
    """What is allowed whatever the arguments are."""
    return {
        name
        for call in document["syscalls"]
        if call["action"] == "SCMP_ACT_ALLOW" and not call.get("args")
        for name in call["names"]
    }


DENIED = (
    "add_key keyctl request_key bpf mount umount2 unshare setns pivot_root swapon kexec_load "
    "reboot "
    "init_module userfaultfd perf_event_open open_by_handle_at io_uring_setup io_uring_enter "
    "move_pages migrate_pages mbind iopl nfsservctl uselib ustat sysfs acct quotactl settimeofday "
    "clock_settime vm86 pidfd_getfd open_tree fsopen move_mount mount_setattr syslog clone clone3 "
    "socket personality create_module _sysctl"
)
ALLOWED = (
    "read write openat openat2 execve execveat exit_group clock_gettime futex mmap fork vfork "
    "faccessat2 close_range ptrace chroot epoll_pwait2 statx rseq arch_prctl modify_ldt seccomp"
)


@pytest.mark.parametrize("name", DENIED.split())
def test_denied(name: str) -> None:
    assert name not in allowed(builtin(X86))


@pytest.mark.parametrize("name", ALLOWED.split())
def test_allowed(name: str) -> None:
    assert name in allowed(builtin(X86))


@pytest.mark.parametrize(
    ("situation", "more", "less"),
    [
        (
            with_("SYS_ADMIN"),
            "mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount "
            "fspick pivot_root unshare setns clone clone3 bpf perf_event_open fanotify_init syslog "
            "lookup_dcookie quotactl quotactl_fd sethostname setdomainname lsm_get_self_attr "
            "lsm_set_self_attr lsm_list_modules",
            "",
        ),
        (with_("SYS_TIME"), "settimeofday clock_settime stime clock_settime64", ""),
        (with_("SYS_PTRACE"), "pidfd_getfd kcmp process_madvise", ""),
        (with_("BPF"), "bpf", ""),
        (with_("SYS_NICE"), "mbind set_mempolicy get_mempolicy set_mempolicy_home_node", ""),
        (with_("DAC_READ_SEARCH"), "open_by_handle_at", ""),
        (X86.replace(capabilities=()), "", "chroot"),
        (with_(kernel=(4, 7)), "", "ptrace process_vm_readv process_vm_writev"),
        (with_("SYS_PTRACE", kernel=(4, 7)), "pidfd_getfd kcmp process_madvise", ""),
        (
            with_(machine="aarch64"),
            "breakpoint cacheflush set_tls arm_fadvise64_64 arm_sync_file_range sync_file_range2",
            "arch_prctl modify_ldt",
        ),
        (
            with_(machine="s390x"),
            "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
            "arch_prctl modify_ldt",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_depends_on(situation: Situation, more: str, less: str) -> None:
    usual, here = allowed(builtin(X86)), allowed(builtin(situation))

    assert here - usual == set(more.split())
    assert usual - here == set(less.split())


@pytest.mark.parametrize(
    ("machine", "architectures"),
    [
        ("x86_64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        ("aarch64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        ("riscv64", ["SCMP_ARCH_RISCV64"]),
        ("pdp11", None),
    ],
)
def test_architectures(machine: str, architectures: list[str] | None) -> None:
    assert builtin(with_(machine=machine)).get("architectures") == architectures


def test_flags_of_clone_have_another_place_on_s390() -> None:
    (call,) = (c for c in builtin(with_(machine="s390x"))["syscalls"] if c["names"] == ["clone"])

    assert call["args"][0]["index"] == 1


FINE, NOT_FINE = (0, 1, 2, 10, 11, 16, 17, 18, 36, 39, 41, 45), (12, 19, 34, 38, 40, 46, 1 << 32)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_by_arguments() -> None:
    try:
        library = Library()
    except HostError as error:
        pytest.skip(str(error))
    asked = seccomp.read(Node({"seccomp": builtin(X86)}, "linux"))
    assert asked is not None
    program = compiled(asked, library)
    native = library.architectures(asked)[0]

    def answer(name: str, *args: int) -> int:
        return run(program, library.number(native, name), native, args)

    allow, deny = linux.SECCOMP_RET_ALLOW, linux.SECCOMP_RET_ERRNO | errno.EPERM
    for family in (*FINE, *NOT_FINE):
        assert answer("socket", family) == (allow if family in FINE else deny), family
    for persona in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert answer("personality", persona) == allow
    assert answer("personality", 0x40000) == deny
    assert answer("clone", 0x11) == allow
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer("clone", flag | 0x11) == deny
    assert answer("clone3") == linux.SECCOMP_RET_ERRNO | errno.ENOSYS
    assert answer("keyctl") == deny
    assert run(program, 4000, native) == linux.SECCOMP_RET_ERRNO | errno.ENOSYS


def docker(**call: Any) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ALLOW", "comment": "x"} | call],
    }


@pytest.mark.parametrize(
    ("call", "there"),
    [
        ({}, True),
        ({"includes": {}, "excludes": None}, True),
        ({"includes": {"caps": ["CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_CHOWN", "CAP_SYS_TIME"]}}, False),
        ({"excludes": {"caps": ["CAP_CHOWN", "CAP_SYS_TIME"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_TIME"]}}, True),
        ({"includes": {"arches": ["amd64", "arm64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"includes": {"minKernel": "10.0"}}, False),
        ({"excludes": {"minKernel": "6.1"}}, False),
        ({"excludes": {"minKernel": "6.2"}}, True),
        ({"includes": {"caps": ["CAP_CHOWN"], "arches": ["s390"]}}, False),
    ],
    ids=str,
)
def test_rules_of_dockers_are_chosen(call: dict[str, Any], there: bool) -> None:
    made = from_docker(docker(**call), X86, "x.json")

    assert made is not None
    assert made == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ALLOW"}] if there else [],
    }


def test_the_old_form_with_one_name() -> None:
    made = from_docker(docker(name="acct", names=None), X86, "x.json")

    assert made is not None
    assert made["syscalls"][0]["names"] == ["acct"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (docker(name="acct"), r"syscalls\[0\].name: there are names"),
        (docker() | {"architectures": ["SCMP_ARCH_X86"]}, "archMap: there are architectures"),
        (docker(includes={"minKernel": "new"}), "'new' is not a version"),
        (docker(includes={"caps": "CAP_CHOWN"}), "includes.caps is"),
        (docker() | {"syscalls": "all"}, "syscalls is"),
    ],
)
def test_what_is_wrong_is_refused_by_name(document: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        from_docker(document, X86, "x.json")


@pytest.mark.parametrize("document", [{}, {"syscalls": []}], ids=str)
def test_an_empty_profile_asks_for_nothing(document: dict[str, Any]) -> None:
    assert from_docker(document, X86, "x.json") is None


def test_a_profile_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(docker()), encoding="ascii")

    assert from_file(str(path), X86) == from_docker(docker(), X86, str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        ("[" * 200_000, "nested too deeply"),
        ("\xff", "it is no JSON"),
        (" " * ((16 << 20) + 1), "it has more than 16 MiB"),
    ],
    ids=["cut", "list", "deep", "latin-1", "large"],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(RequestError, match=words):
        from_file(str(path), X86)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.json: no such file"):
        from_file(str(tmp_path / "none.json"), X86)


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc-v595", (6, 18)), ("5.15-rc1", (5, 15)), ("4.8", (4, 8)), ("6.1.0-13", (6, 1))],
)
def test_versions(release: str, version: tuple[int, int]) -> None:
    assert version_of(release) == version
