"""`cgmgr.runtime.unshare` beside util-linux's unshare(1), on this kernel."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cgmgr import linux
from cgmgr.runtime.unshare import UnshareOptions
from tests.leaks import mounts

ROOT = Path(__file__).parents[2]


def ours(options: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `UnshareOptions(OPTIONS)` in a process of its own; errors go to standard error."""
    program = (
        "import sys\n"
        "from cgmgr.errors import CgmgrError\n"
        "from cgmgr.runtime.unshare import IdRange, UnshareOptions, run\n"
        "try:\n"
        f"    sys.exit(run(UnshareOptions({options})))\n"
        "except CgmgrError as error:\n"
        "    print(error.operation, error.errno, error, sep='|', file=sys.stderr)\n"
        "    sys.exit(125)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program], check=check, capture_output=True, text=True, cwd=ROOT
    )


def sh(script: str, options: str = "", *, check: bool = True) -> str:
    return ours(f"argv=('sh', '-c', {script!r}), {options}", check=check).stdout


def theirs(*words: str) -> str:
    return subprocess.run(["unshare", *words], check=True, capture_output=True, text=True).stdout


KINDS = "mnt uts ipc net pid user cgroup time"
READ = f"for n in {KINDS}; do readlink /proc/self/ns/$n; done"


@pytest.mark.parametrize(
    ("names", "words", "new"),
    [
        ("'mount'", "-m", ["mnt"]),
        ("'uts'", "-u", ["uts"]),
        ("'ipc'", "-i", ["ipc"]),
        ("'network'", "-n", ["net"]),
        ("'cgroup'", "-C", ["cgroup"]),
        ("'user'", "-U", ["user"]),
        (
            "'mount', 'uts', 'ipc', 'network', 'cgroup'",
            "-muinC",
            ["mnt", "uts", "ipc", "net", "cgroup"],
        ),
    ],
)
def test_namespaces(names: str, words: str, new: list[str]) -> None:
    here = dict(zip(KINDS.split(), sh(READ).split(), strict=True))
    inside = dict(zip(KINDS.split(), sh(READ, f"namespaces=({names},)").split(), strict=True))
    peers = dict(zip(KINDS.split(), theirs(words, "sh", "-c", READ).split(), strict=True))

    assert [kind for kind in here if here[kind] != inside[kind]] == new
    assert [kind for kind in here if here[kind] != peers[kind]] == new


def test_a_child_is_process_one() -> None:
    script = "echo $$; ls -d /proc/[0-9]* | wc -l"

    said = sh(script, "namespaces=('pid', 'mount'), fork=True, mount_proc='/proc'").split()

    assert said[0] == "1"
    assert int(said[1]) <= 3


def test_the_childs_end_is_ours() -> None:
    assert ours("argv=('sh', '-c', 'exit 7'), fork=True", check=False).returncode == 7
    killed = ours("argv=('sh', '-c', 'kill -9 $$'), fork=True", check=False)
    assert killed.returncode == 128 + signal.SIGKILL


def test_mounts_stay_inside(tmp_path: Path) -> None:
    before = mounts()

    said = sh(f"mount -t tmpfs none {tmp_path}; stat -f -c %T {tmp_path}", "namespaces=('mount',)")

    assert said == "tmpfs\n"
    assert mounts() == before


def test_root_inside() -> None:
    maps = "users=(IdRange(inner=0, outer=0),), groups=(IdRange(inner=0, outer=0),)"
    script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"

    said = sh(script, f"namespaces=('user',), {maps}")

    assert said.split() == theirs("-Ur", "sh", "-c", script).split()


def test_maps_of_several_ranges() -> None:
    maps = ", ".join(
        f"{name}=(IdRange(inner=0, outer=100000, count=65536),)" for name in ("users", "groups")
    )

    said = sh("cat /proc/self/uid_map /proc/self/gid_map", f"namespaces=('user',), {maps}")

    assert said.split() == ["0", "100000", "65536"] * 2


def test_a_user_and_a_group() -> None:
    assert sh("id -u; id -g; id -G", "setuid=12, setgid=34").split() == ["12", "34", "34"]


def test_capabilities_are_kept() -> None:
    maps = "users=(IdRange(inner=1000, outer=0),), groups=(IdRange(inner=1000, outer=0),)"
    script = "grep -E 'Cap(Eff|Amb)' /proc/self/status | cut -f2"

    kept = sh(script, f"namespaces=('user',), {maps}, keep_caps=True").split()
    lost = sh(script, f"namespaces=('user',), {maps}").split()

    assert kept == theirs("-U", "--map-user=1000", "--keep-caps", "sh", "-c", script).split()
    assert int(kept[0], 16) == int(kept[1], 16) > 0
    assert lost == ["0" * 16] * 2


def test_a_directory_and_a_root(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "bin/busybox").chmod(0o755)

    assert sh("pwd", f"wd={str(tmp_path)!r}") == f"{tmp_path}\n"
    said = ours(f"argv=('/bin/busybox', 'ls', '/'), root={str(tmp_path)!r}").stdout
    assert said == "bin\n"


def test_clocks() -> None:
    options = "namespaces=('time',), fork=True, monotonic=1000000, boottime=2000000"

    uptime = float(sh("cut -d' ' -f1 /proc/uptime", options))

    assert uptime > 2000000
    assert time.clock_gettime(time.CLOCK_BOOTTIME) < 2000000


@pytest.mark.parametrize(
    ("name", "file", "extra"),
    [
        ("uts", "uts", ""),
        ("network", "net", ""),
        ("mount", "mnt", ""),
        ("pid", "pid", "fork=True,"),
    ],
)
def test_a_namespace_is_kept_in_a_file(tmp_path: Path, name: str, file: str, extra: str) -> None:
    kept = tmp_path / "kept"
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    subprocess.run(["mount", "--make-private", tmp_path], check=True)
    try:
        said = sh(
            f"readlink /proc/self/ns/{file}",
            f"namespaces=('{name}',), {extra} files=(({name!r}, {str(kept)!r}),)",
        )
        fd = os.open(kept, os.O_RDONLY)
        assert f"{file}:[{os.fstat(fd).st_ino}]" == said.strip()
        os.close(fd)
    finally:
        subprocess.run(["umount", kept], check=True)
        subprocess.run(["umount", tmp_path], check=True)


def test_a_file_that_cannot_be_made() -> None:
    said = ours(
        "argv=('true',), namespaces=('uts',), files=(('uts', '/nonexistent/x'),)", check=False
    )

    assert said.returncode == 125
    assert "/nonexistent/x" in said.stderr


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "from cgmgr.runtime.unshare import UnshareOptions, run\n"
        "run(UnshareOptions(argv=('sh', '-c', 'echo $$; exec sleep 1000'), fork=True,"
        " kill_child=9))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    child = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()

    assert select.select([child], [], [], 10)[0]
    os.close(child)


@pytest.mark.parametrize("fork", [False, True], ids=["itself", "a-child"])
@pytest.mark.parametrize(
    ("argv", "number"), [(("/nope",), 2), (("/etc/passwd",), 13)], ids=["missing", "no-program"]
)
def test_a_program_that_cannot_be_executed(fork: bool, argv: tuple[str, ...], number: int) -> None:
    said = ours(f"argv={argv!r}, fork={fork}", check=False)

    assert said.returncode == 125
    assert said.stderr.startswith(f"exec|{number}|exec {argv[0]}: ")


@pytest.mark.parametrize("fork", [False, True], ids=["itself", "a-child"])
def test_a_step_that_fails_is_named(fork: bool) -> None:
    said = ours(f"argv=('true',), root='/nonexistent', fork={fork}", check=False)

    assert said.stderr.strip() == (
        "chroot /nonexistent|2|chroot /nonexistent: no such file or directory"
    )


def test_the_shell_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/dash")
    assert UnshareOptions().program == ("/bin/dash",)
    monkeypatch.delenv("SHELL")
    assert UnshareOptions().program == ("/bin/sh",)


def test_the_flags_are_the_kernels() -> None:
    options = UnshareOptions(namespaces=("mount", "user", "time"))

    assert options.flags == linux.CLONE_NEWNS | linux.CLONE_NEWUSER | linux.CLONE_NEWTIME
