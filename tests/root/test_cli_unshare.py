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
        (["--map-users", "1,2", "true"], "write OUTER,INNER,COUNT"),
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
