"""`cgmgr unshare` does what util-linux's unshare does, with the same words."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM, cgmgr
from tests.leaks import mount_table

THEIRS = shutil.which("unshare")


def theirs(*words: str) -> "subprocess.CompletedProcess[str]":
    if THEIRS is None:
        pytest.skip("util-linux's unshare is not installed")
    return subprocess.run([THEIRS, *words], check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        ["-u", "sh", "-c", "hostname other; hostname"],
        ["--uts", "--ipc", "sh", "-c", "hostname other; hostname"],
        ["-n", "cat", "/proc/net/dev"],
        ["-fp", "sh", "-c", "echo $$"],
        ["-fp", "--mount-proc", "ps", "-e", "-o", "pid=,comm="],
        ["-f", "sh", "-c", "exit 4"],
        ["-f", "sh", "-c", "kill -TERM $$"],
        ["-r", "sh", "-c", "id -u; id -g; cat /proc/self/uid_map /proc/self/setgroups"],
        ["-c", "id", "-u"],
        ["--map-user=5", "--map-group=6", "sh", "-c", "id -u; id -g"],
        ["-U", "id", "-u"],
        ["-Urm", "--propagation=slave", "grep", "-c", "master:", "/proc/self/mountinfo"],
        ["-C", "cat", "/proc/self/cgroup"],
        ["-T", "--boottime=100000", "-f", "grep", "boottime", "/proc/self/timens_offsets"],
        ["-w", "/usr", "pwd"],
        ["-S", "7", "-G", "8", "sh", "-c", "id -u; id -g"],
        ["-r", "--keep-caps", "grep", "CapAmb", "/proc/self/status"],
        ["--kill-child", "sh", "-c", "exit 3"],
        ["-m", "--propagation=shared", "--mount-proc=/mnt", "ls", "/mnt/self/comm"],
        ["no-such-program"],
        ["/etc/passwd"],
        ["-w", "/no/such", "true"],
    ],
    ids=" ".join,
)
def test_the_same_words_do_the_same(words: list[str]) -> None:
    ours, other = cgmgr("unshare", *words), theirs(*words)

    # theirs ends by the signal that ended the program, ours as a shell would
    status = other.returncode if other.returncode >= 0 else 128 - other.returncode
    assert (ours.returncode, ours.stdout) == (status, other.stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown option --nope"),
        (["--monotonic"], "--monotonic needs a value"),
        (["--monotonic", "soon", "-T", "true"], "invalid --monotonic 'soon'"),
        (["--monotonic", "1", "true"], "they need a time namespace"),
        (["--propagation", "odd", "-m", "true"], "--propagation: private or shared"),
        (["--map-user", "nobody-here", "true"], "there is no such name"),
        (["--map-users", "1,2", "true"], "write INNER:OUTER:COUNT"),
        (["--map-users", "0:1:0", "true"], "write INNER:OUTER:COUNT"),
        (["--map-groups", "0:4294967290:9", "true"], "write INNER:OUTER:COUNT"),
        (["--owner", "root:root", "true"], "write UID:GID"),
        (["--whitelist-env", "A", "true"], "there is no --whitelist-env"),
        (["--kill-child=NOPE", "true"], "unknown signal 'NOPE'"),
        (["--setuid=-1", "true"], "invalid --setuid '-1'"),
    ],
    ids=str,
)
def test_bad_words_are_named(words: list[str], message: str) -> None:
    ended = cgmgr("unshare", *words)

    assert ended.returncode in (1, 2)
    assert ended.stderr.startswith("cgmgr: ")
    assert message in ended.stderr


def out(*words: str) -> str:
    ended = cgmgr("unshare", *words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_ranges_as_newer_versions_write_them() -> None:
    """Of util-linux 2.39 and later, so there may be nothing to compare with."""
    words = ["--map-users=0:100000:10", "--map-users=20:200000:5", "--map-groups=all"]

    users, groups = out(*words, "sh", "-c", "cat /proc/self/uid_map; echo; cat /proc/self/gid_map"
                        ).split("\n\n")  # fmt: skip

    assert users.split() == ["0", "100000", "10", "20", "200000", "5"]
    here = Path("/proc/self/gid_map").read_text().split()
    assert groups.split() == [word for first, _, n in zip(*[iter(here)] * 3, strict=True)
                              for word in (first, first, n)]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["--map-users=100000,0,10"], [[0, 100000, 10]]),
        (["--map-users=0:100000:10", "-r"], [[0, 0, 1], [1, 100000, 9]]),
        (["--map-users=0:100000:10", "--map-user=5"], [[5, 0, 1], [0, 100000, 5], [6, 100005, 4]]),
    ],
    ids=str,
)
def test_ranges_make_room_for_ones_own_id(words: list[str], rows: list[list[int]]) -> None:
    lines = out(*words, "cat", "/proc/self/uid_map").splitlines()

    assert [[int(number) for number in line.split()] for line in lines] == rows


def test_the_owner_of_a_user_namespace() -> None:
    """NS_GET_OWNER_UID (ioctl_nsfs(2)) tells who it is."""
    script = (
        "import array, fcntl, os; uid = array.array('I', [9]);"
        "fcntl.ioctl(os.open('/proc/self/ns/user', 0), 0xb704, uid); print(uid[0]);"
        "print(open('/proc/self/setgroups').read(), os.getuid(), os.getgid())"
    )
    words = ["--owner=1234:5678", "--map-users=0:1234:1", "--map-groups=0:5678:1"]

    said = out(*words, "--setgroups=deny", "/usr/bin/python3", "-c", script).split()

    # seen from inside the owner is 0
    assert said == ["0", "deny", "0", "0"]


def test_no_variable_of_the_environment() -> None:
    assert out("--clear-env", "env") == ""
    assert out("--clear-env", "-f", "env") == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_if_asked(number: signal.Signals) -> None:
    program = (
        "import signal, sys, time;"
        f"signal.signal({int(number)}, lambda *_: sys.exit(7));"
        "print('ready', flush=True); time.sleep(60)"
    )
    words = ["unshare", "--forward-signals", "/usr/bin/python3", "-c", program]
    with subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.wait(30) == 7


def binfmt_of_a_user_namespace() -> None:
    """Skip before Linux 6.7."""
    if cgmgr("unshare", "--mount-binfmt", "-rpf", "true").returncode:
        pytest.skip("no binfmt_misc for user namespaces on this kernel")


@pytest.mark.parametrize("flags", ["", "F"])
def test_an_interpreter_of_the_namespace(tmp_path: Path, flags: str) -> None:
    binfmt_of_a_user_namespace()
    program = tmp_path / "program"
    program.write_bytes(b"cgmgr\x00rest")
    program.chmod(0o755)
    line = f":cgmgr:M::cgmgr::/bin/echo:{flags}"

    assert out("-rpf", "--load-interp", line, str(program), "word") == f"{program} word\n"
    assert not Path("/proc/sys/fs/binfmt_misc/cgmgr").exists()


def test_an_interpreter_from_outside_of_the_root(tmp_path: Path) -> None:
    binfmt_of_a_user_namespace()
    for name in ("bin", "proc"):
        (tmp_path / name).mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin/sh")
    program = tmp_path / "program"
    program.write_bytes(b"cgmgr\x00rest")
    program.chmod(0o755)
    line = ":cgmgr:M::cgmgr::/bin/busybox:F"

    said = cgmgr("unshare", "-rpf", "-R", str(tmp_path), "-l", line, "/bin/sh", "-c", "/program")

    # busybox is called by the name of the program, which is none of its applets
    assert "program: applet not found" in said.stdout + said.stderr


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """A file on which a namespace may be kept."""
    path = tmp_path / "namespace"
    path.touch()
    yield path
    if any(mount.place == str(path) for mount in mount_table()):
        subprocess.run(["umount", path], check=True)


def test_a_namespace_is_kept_in_a_file(kept: Path) -> None:
    ended = cgmgr(
        "unshare", f"--uts={kept}", "sh", "-c", "hostname kept; readlink /proc/self/ns/uts"
    )

    assert ended.returncode == 0, ended.stderr
    assert f"uts:[{kept.stat().st_ino}]" == ended.stdout.strip()
    assert str(Path("/proc/self/ns/uts").readlink()) != ended.stdout.strip()


def test_a_dry_run_says_it_and_does_nothing() -> None:
    ended = cgmgr("unshare", "--dry-run", "-Urm", "ls", "-l")

    assert ended.stdout.splitlines() == [
        "unshare user, mount",
        "write 'deny' > /proc/self/setgroups",
        f"write '0 {os.geteuid()} 1' > /proc/self/uid_map",
        f"write '0 {os.getegid()} 1' > /proc/self/gid_map",
        "mount --make-rprivate /",
        "exec ls -l",
    ]


def test_without_fork_it_becomes_the_program() -> None:
    with subprocess.Popen([PROGRAM, "unshare", "-u", "sh", "-c", "echo $$; kill -KILL $$"],
                          stdout=subprocess.PIPE, text=True) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.read() == f"{running.pid}\n"
        assert running.wait(30) == -signal.SIGKILL
