"""System calls of containers on the kernel that runs here: what a filter lets happen, and what not.

The programs that try are this machine's python3, by libc's syscall(2) and by machine code.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cgmgr.errors import HostError, KernelError, RequestError
from cgmgr.host import Host
from cgmgr.runtime import capabilities, seccomp, seccomp_filter, spec
from cgmgr.runtime.seccomp import ACTIONS, OPERATORS
from cgmgr.runtime.seccomp_names import COMPILE, Library
from tests.cli.command import cgmgr

from .agent import agent
from .containers import Lab, Outcome

PYTHON = "/usr/bin/python3"

try:
    LIBRARY = Library()
except HostError as error:
    pytest.skip(str(error), allow_module_level=True)
if not Path(PYTHON).exists():
    pytest.skip(f"no {PYTHON} to try calls with", allow_module_level=True)

NATIVE = LIBRARY.architectures(seccomp.Filter(default=0))[0]
on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86_64")


def number(name: str) -> int:
    return LIBRARY.number(NATIVE, name)


#: a program that makes calls, each "name arg...", and says what came of each: 0 or the errno
TRY = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for word in sys.argv[1:]:
    args = [ctypes.c_long(int(part)) for part in word.split(",")]
    ctypes.set_errno(0)
    result = libc.syscall(*args)
    print(0 if result >= 0 else ctypes.get_errno())
"""


def call(name: str, *args: int) -> str:
    """A call as `TRY` takes it."""
    return ",".join(str(one) for one in (number(name), *args))


class SeccompLab(Lab):
    """Containers whose config.json has some `linux.seccomp`."""

    def try_calls(self, *calls: str, **fields: Any) -> list[int]:
        """The errno of each call, under the built-in profile unless a field says otherwise."""
        said = self.run(PYTHON, "-c", TRY, *calls, **fields)
        assert said.code == 0, said.err
        return [int(line) for line in said.out.split()]

    def under(self, profile: dict[str, Any], *argv: str, **fields: Any) -> Outcome:
        """Run a command under a profile."""
        return self.run(*argv, seccomp=self.file(profile), **fields)

    def try_under(self, profile: dict[str, Any], *calls: str, **fields: Any) -> list[int]:
        return self.try_calls(*calls, seccomp=self.file(profile), **fields)

    def file(self, profile: dict[str, Any]) -> str:
        path = self.folder / "profile.json"
        path.write_text(json.dumps(profile), encoding="ascii")
        return str(path)


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> SeccompLab:
    return SeccompLab(Host.detect(), tmp_path, run_token)


def rule(name: str, action: str, *args: tuple[int, str, int, int], **more: Any) -> dict[str, Any]:
    """A profile that allows everything but one thing."""
    conditions = [{"index": i, "op": op, "value": v, "valueTwo": two} for i, op, v, two in args]
    one = {"names": [name], "action": action, "args": conditions}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [one | more]}


# -- the built-in profile

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
DENIED = {
    "mount": (0, 0, 0, 0, 0),
    "umount2": (0, 0),
    "unshare": (CLONE_NEWUSER,),
    "setns": (0, 0),
    "keyctl": (0, 0, 0),
    "add_key": (0, 0, 0, 0, 0),
    "bpf": (0, 0, 0),
    "pivot_root": (0, 0),
    "open_by_handle_at": (0, 0, 0),
    "userfaultfd": (0,),
    "io_uring_setup": (0, 0),
    "perf_event_open": (0, 0, 0, 0, 0),
    "kexec_load": (0, 0, 0, 0),
    "init_module": (0, 0, 0),
    "reboot": (0, 0, 0, 0),
    "swapon": (0, 0),
    "clone": (CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0),
    "socket": (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
}


def test_what_the_profile_denies_fails_with_eperm(lab: SeccompLab) -> None:
    """Also where the kernel would say something else, because the arguments make no sense."""
    said = lab.try_calls(*(call(name, *args) for name, args in DENIED.items()))

    assert dict(zip(DENIED, said, strict=True)) == dict.fromkeys(DENIED, errno.EPERM)


def test_what_is_newer_is_not_there(lab: SeccompLab) -> None:
    assert lab.try_calls(call("clone3", 0, 0), "900,0", "100000,0") == [errno.ENOSYS] * 3


def test_what_is_allowed_reaches_the_kernel(lab: SeccompLab) -> None:
    said = lab.try_calls(
        call("getpid"),
        call("faccessat2", -1, 0, 0, 0),
        call("socket", socket.AF_INET, socket.SOCK_STREAM, 0),
        call("personality", 0xFFFFFFFF),
        call("ptrace", 0xFFFF, 0, 0, 0),
    )

    assert said == [0, errno.EFAULT, 0, 0, errno.ESRCH]


def test_a_capability_allows_its_calls(lab: SeccompLab) -> None:
    """The very call that was denied: by the filter, not by the kernel."""
    calls = (call("mount", 0, 0, 0, 0, 0), call("clone3", 0, 0), call("pivot_root", 0, 0))
    held = (*capabilities.DEFAULT, "SYS_ADMIN")

    said = lab.try_calls(*calls, capabilities=held)

    assert said == [errno.EFAULT, errno.EINVAL, errno.EFAULT]
    made = lab.sh("mount -t tmpfs none /mnt && echo made", capabilities=held)
    assert made.out == "made\n", made.err


@pytest.mark.parametrize("user", ["0", "12345"])
@pytest.mark.parametrize("no_new", [True, False], ids=["no-new-privileges", "new-privileges"])
def test_the_filter_is_there_for_everybody(lab: SeccompLab, user: str, no_new: bool) -> None:
    """And what loads it without no_new_privs is not held by the program."""
    said = lab.run(
        "grep", "-E", "^(Seccomp|Cap|NoNew)", "/proc/self/status", user=user,
        no_new_privileges=no_new,
    )  # fmt: skip

    found = dict(line.split(":\t") for line in said.out.splitlines())
    assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "1")
    assert found["NoNewPrivs"] == str(int(no_new))
    held = linux_mask() if user == "0" else 0
    assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == held
    assert int(found["CapBnd"], 16) == linux_mask()
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0


def linux_mask() -> int:
    return capabilities.mask_of(capabilities.DEFAULT)


def test_unconfined_is_without(lab: SeccompLab) -> None:
    said = lab.run("grep", "^Seccomp:", "/proc/self/status", seccomp="unconfined")

    assert said.out.split() == ["Seccomp:", "0"]


PROGRAMS = (
    ("bash", "-c", "for i in 1 2 3; do /bin/true & done; wait; echo $((6*7))"),
    (PYTHON, "-c", "import threading,subprocess; t=threading.Thread(target=print, args=(42,)); "
     "t.start(); t.join(); subprocess.run(['true'], check=True)"),
    ("perl", "-e", "print 42, qq(\\n)"),
    ("apt-get", "--version"),
    ("tar", "--version"),
    ("sort", "--parallel=2", "/etc/passwd"),
)  # fmt: skip


@pytest.mark.parametrize("argv", PROGRAMS, ids=lambda argv: Path(argv[0]).name)
def test_programs_run(lab: SeccompLab, argv: tuple[str, ...]) -> None:
    if shutil.which(argv[0]) is None:
        pytest.skip(f"no {argv[0]} here")
    said = lab.run(*argv)

    assert (said.code, said.err) == (0, "")
    assert said.out


INT_0X80 = """
import ctypes, mmap
code = bytes.fromhex("53 89f8 89f3 cd80 5b c3".replace(" ", ""))  # nr in edi, ebx in esi
memory = mmap.mmap(-1, len(code), prot=7)
memory.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)
for number in (20, 21, 310, 120 | 0x40000):  # getpid, mount, unshare, none
    print(function(number, 0))
"""


@on_x86
def test_calls_of_32_bits_are_filtered_too(lab: SeccompLab) -> None:
    said = lab.run(PYTHON, "-c", INT_0X80)

    assert said.out.split() == ["1", str(-errno.EPERM), str(-errno.EPERM), str(-errno.ENOSYS)]


@on_x86
def test_an_architecture_that_is_not_listed_ends_the_thread(lab: SeccompLab) -> None:
    said = lab.under({"defaultAction": "SCMP_ACT_ALLOW"}, PYTHON, "-c", INT_0X80)

    assert said.code == 128 + signal.SIGSYS


# -- actions


def test_errno(lab: SeccompLab) -> None:
    profile = rule("sysinfo", "SCMP_ACT_ERRNO", errnoRet=errno.EDOM)

    assert lab.try_under(profile, call("sysinfo", 0), call("getpid")) == [errno.EDOM, 0]


def test_errno_is_eperm_unless_it_is_said(lab: SeccompLab) -> None:
    assert lab.try_under(rule("sysinfo", "SCMP_ACT_ERRNO"), call("sysinfo", 0)) == [errno.EPERM]


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"])
def test_what_kills_is_told_as_the_signal(lab: SeccompLab, action: str) -> None:
    said = lab.under(rule("sysinfo", action), PYTHON, "-c", TRY, call("sysinfo", 0))

    assert said.ended.signal == signal.SIGSYS
    assert said.code == 159


def test_trace_without_a_tracer(lab: SeccompLab) -> None:
    assert lab.try_under(rule("sysinfo", "SCMP_ACT_TRACE"), call("sysinfo", 0)) == [errno.ENOSYS]


def test_log_lets_it_happen(lab: SeccompLab) -> None:
    assert lab.try_under(rule("getppid", "SCMP_ACT_LOG"), call("getppid")) == [0]


FLAGS = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]


def test_flags(lab: SeccompLab) -> None:
    profile = rule("sysinfo", "SCMP_ACT_ERRNO") | {"flags": FLAGS}

    assert lab.try_under(profile, call("sysinfo", 0)) == [errno.EPERM]


#: for each operator with 5: values of the argument for which it holds, and not
HOLDS = {
    "SCMP_CMP_NE": ((4, 6), (5,)),
    "SCMP_CMP_LT": ((4, 0), (5, 6, 1 << 32)),
    "SCMP_CMP_LE": ((4, 5), (6, 1 << 32)),
    "SCMP_CMP_EQ": ((5,), (4, 1 << 32 | 5)),
    "SCMP_CMP_GE": ((5, 6, 1 << 32), (4,)),
    "SCMP_CMP_GT": ((6, 1 << 32), (5,)),
    "SCMP_CMP_MASKED_EQ": ((1, 3), (0, 4)),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators(lab: SeccompLab, operator: str) -> None:
    """getpid takes no arguments, and does not mind."""
    profile = rule("getpid", "SCMP_ACT_ERRNO", (3, operator, 5, 1))
    does, not_ = HOLDS[operator]

    said = lab.try_under(profile, *(call("getpid", 0, 0, 0, value) for value in (*does, *not_)))

    assert said == [errno.EPERM] * len(does) + [0] * len(not_)


# -- what cannot be


def test_a_program_that_is_not_there_is_told_all_the_same(lab: SeccompLab) -> None:
    everything = {"defaultAction": "SCMP_ACT_KILL_PROCESS"}
    with pytest.raises(KernelError) as caught:
        lab.under(everything, "/no/such/program")

    assert (caught.value.operation, caught.value.errno) == ("exec", errno.ENOENT)
    assert lab.left() == []


def test_a_filter_that_forbids_exec_is_told(lab: SeccompLab) -> None:
    with pytest.raises(KernelError) as caught:
        lab.under(rule("execve", "SCMP_ACT_ERRNO", errnoRet=errno.EXDEV), "true")

    assert (caught.value.operation, caught.value.errno) == ("exec", errno.EXDEV)


def test_an_unknown_flag_of_the_kernel_is_refused_by_name(
    lab: SeccompLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(seccomp.FLAGS, "SECCOMP_FILTER_FLAG_LOG", 1 << 30)
    monkeypatch.setattr(seccomp_filter, "_FLAGS", seccomp.FLAGS)

    with pytest.raises(HostError, match="SECCOMP_FILTER_FLAG_LOG") as caught:
        lab.under({"defaultAction": "SCMP_ACT_ALLOW", "flags": FLAGS[:1]}, "true")

    assert caught.value.operation == COMPILE
    assert lab.left() == []


def test_a_profile_with_an_unknown_word_is_refused_before_anything_is_made(
    lab: SeccompLab,
) -> None:
    with pytest.raises(RequestError, match=r"syscalls\[0\].action: unknown 'DENY'"):
        lab.under(rule("kill", "DENY"), "true")

    assert lab.left() == []


# -- the cache


def cached(lab: SeccompLab) -> list[Path]:
    return sorted((lab.run_root / "seccomp").iterdir())


def test_a_program_is_made_once(lab: SeccompLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.sh("true")
    (entry,) = cached(lab)
    assert entry.stat().st_mode & 0o777 == 0o600

    def compiled(*_args: object) -> bytes:
        raise AssertionError("it is in the cache")

    monkeypatch.setattr(seccomp_filter, "compiled", compiled)

    assert lab.try_calls(call("keyctl", 0)) == [errno.EPERM]


ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, ACTIONS["SCMP_ACT_ALLOW"])


def damaged(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[40] ^= 1
    entry.write_bytes(data)


def cut(entry: Path) -> None:
    os.truncate(entry, 100)


def forged(entry: Path) -> None:
    entry.write_bytes(bytes(32) + ALLOW_ALL)


def empty(entry: Path) -> None:
    os.truncate(entry, 0)


def another(entry: Path) -> None:
    """What is right for another filter."""
    asked = seccomp.Filter(default=ACTIONS["SCMP_ACT_ALLOW"])
    seccomp_filter.program(asked, str(entry.parent.parent))
    (other,) = set(entry.parent.iterdir()) - {entry}
    other.rename(entry)


def somebody_elses(entry: Path) -> None:
    key = entry.name
    entry.write_bytes(seccomp_filter._sealed(key, ALLOW_ALL))  # pyright: ignore[reportPrivateUsage]
    os.chown(entry, 12345, 12345)


def readable(entry: Path) -> None:
    key = entry.name
    entry.write_bytes(seccomp_filter._sealed(key, ALLOW_ALL))  # pyright: ignore[reportPrivateUsage]
    entry.chmod(0o620)


def link(entry: Path) -> None:
    key = entry.name
    away = entry.parent.parent / "away"
    away.write_bytes(seccomp_filter._sealed(key, ALLOW_ALL))  # pyright: ignore[reportPrivateUsage]
    away.chmod(0o600)
    entry.unlink()
    entry.symlink_to(away)


def shared_folder(entry: Path) -> None:
    key = entry.name
    entry.write_bytes(seccomp_filter._sealed(key, ALLOW_ALL))  # pyright: ignore[reportPrivateUsage]
    entry.parent.chmod(0o777)


def fifo(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


@pytest.mark.parametrize(
    "harm",
    [damaged, cut, forged, empty, another, somebody_elses, readable, link, shared_folder, fifo],
)
def test_a_cache_that_was_touched_is_not_trusted(lab: SeccompLab, harm: Any) -> None:
    lab.sh("true")
    (entry,) = cached(lab)
    harm(entry)

    assert lab.try_calls(call("keyctl", 0), call("getpid")) == [errno.EPERM, 0]
    assert lab.try_calls(call("keyctl", 0)) == [errno.EPERM]


def test_the_cache_is_bounded(lab: SeccompLab) -> None:
    root = str(lab.run_root)
    for action in range(1, seccomp_filter.MOST_ENTRIES + 10):
        asked = seccomp.Filter(default=ACTIONS["SCMP_ACT_ERRNO"] | action)
        seccomp_filter.program(asked, root)

    assert len(cached(lab)) == seccomp_filter.MOST_ENTRIES


def test_without_a_place_for_the_cache_it_works(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = seccomp.Filter(default=ACTIONS["SCMP_ACT_ALLOW"])

    assert seccomp_filter.program(asked, str(tmp_path / "file"))


# -- somebody who is asked


def test_somebody_is_asked(lab: SeccompLab, tmp_path: Path) -> None:
    with agent(tmp_path, errno.EDOM) as who:
        profile = rule("sysinfo", "SCMP_ACT_NOTIFY") | {
            "listenerPath": str(who.path),
            "listenerMetadata": "of the test",
        }
        said = lab.try_under(profile, call("sysinfo", 0), call("getpid"))

    assert said == [errno.EDOM, 0]
    assert set(who.asked) == {number("sysinfo")}  # the C library may ask on its own, too
    state = who.told.pop("state")
    assert who.told.pop("pid") == state["pid"]
    assert who.told == {
        "ociVersion": spec.OCI_VERSION,
        "fds": ["seccompFd"],
        "metadata": "of the test",
    }
    assert state["status"] == "creating"
    assert state["bundle"] == f"{lab.store}/{state['id']}"
    assert state["annotations"]
    assert lab.left() == []


def test_what_is_ours_may_be_asked_about_too(lab: SeccompLab, tmp_path: Path) -> None:
    """The calls by which the first process talks to its launcher."""
    with agent(tmp_path, errno.EDOM) as who:
        profile = rule("sendmmsg", "SCMP_ACT_NOTIFY") | {"listenerPath": str(who.path)}
        names = [number(name) for name in ("sendmmsg", "socketpair")]
        said = lab.try_under(profile, *(f"{n},0,0,0,0" for n in names))

    assert said[0] == errno.EDOM
    assert who.asked == names[:1]


def test_where_nobody_listens_nothing_is_made(lab: SeccompLab, tmp_path: Path) -> None:
    profile = rule("sysinfo", "SCMP_ACT_NOTIFY") | {"listenerPath": str(tmp_path / "nobody")}

    with pytest.raises(KernelError, match="nobody") as caught:
        lab.under(profile, "true")

    assert caught.value.errno == errno.ENOENT
    assert lab.left() == []


# -- the command line

WITHOUT = """
import sys
from cgmgr.runtime import seccomp_names
seccomp_names.Library.__init__.__defaults__ = ("libseccomp.so.none",)
from cgmgr.cli import main
sys.exit(main())
"""


def test_without_the_library_the_command_says_what_to_do(run_token: str) -> None:
    words = ["run", "--name", f"{run_token}-without", "host", "true"]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )

    assert (ended.returncode, ended.stdout) == (125, "")
    assert "libseccomp.so.none is not there" in ended.stderr
    assert "--security-opt seccomp=unconfined does without it" in ended.stderr
    assert "hint: apt-get install libseccomp2" in ended.stderr


def test_a_profile_by_the_command_line(lab: SeccompLab, run_token: str) -> None:
    path = lab.file(rule("sysinfo", "SCMP_ACT_KILL_PROCESS"))
    words = ("--name", f"{run_token}-cli", "--security-opt", f"seccomp={path}", "host")

    said = cgmgr("run", "--result", "text", *words, PYTHON, "-c", TRY, call("sysinfo", 0))

    assert said.returncode == 159
    assert "signal 31" in said.stderr


def test_a_profile_that_is_not_there(lab: SeccompLab, run_token: str) -> None:
    said = cgmgr("run", "--security-opt", "seccomp=/no/such.json", "host", "true")

    assert said.returncode == 125
    assert "/no/such.json: no such file" in said.stderr
