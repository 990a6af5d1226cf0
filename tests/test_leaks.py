"""Make a leak, see it reported; undo it, see it gone.  What needs root is in root/test_leaks.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import leaks

ROOT = Path(__file__).parent.parent

# A child that lives until its input is closed, so that no test waits for a time to pass.
LIVES = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
# The same as a grandchild whose parent is gone; it prints its pid.
ORPHANS = """
import os, sys
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    os.close(1)
    sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(LIVES, stdin=subprocess.PIPE) as process:
        yield process


def _watch(*state_roots: str, token: str = "cgmgr-test-0") -> leaks.Watch:
    return leaks.Watch(os.getpid(), token, state_roots)


def _kinds(watch: leaks.Watch) -> set[str]:
    certain, unclear = watch.left(grace_seconds=0)
    return {leak.kind for leak in (*certain, *unclear)}


def test_nothing_done_is_nothing_left() -> None:
    assert _watch().left(grace_seconds=0) == ([], [])


def test_a_child_that_lives_is_left() -> None:
    watch = _watch()
    with subprocess.Popen(LIVES, stdin=subprocess.PIPE) as process:
        certain, _ = watch.left(grace_seconds=0)

    assert [leak.kind for leak in certain] == ["process"]
    assert certain[0].what.startswith(f"{process.pid} {sys.executable}")
    assert _kinds(watch) == set()


def test_a_child_that_nobody_waited_for_is_left() -> None:
    watch = _watch()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    certain, _ = watch.left(grace_seconds=0)
    os.waitpid(pid, 0)

    assert [leak.what.endswith("ended and not waited for") for leak in certain] == [True]


def test_a_descriptor_of_another_network_namespace_is_left(tmp_path: Path) -> None:
    found = leaks.network_namespaces(os.getpid(), run=str(tmp_path))
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        opened = leaks.network_namespaces(os.getpid(), run=str(tmp_path)) - found
    finally:
        os.close(fd)

    assert [what.partition(" ")[2] for what in opened] == ["open as a descriptor of the test run"]


def test_a_named_network_namespace_is_left(tmp_path: Path) -> None:
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns/cgmgr-x").touch()

    found = leaks.network_namespaces(os.getpid(), run=str(tmp_path))

    assert f"{tmp_path}/netns/cgmgr-x" in found


def test_state_is_looked_at_three_levels_deep(tmp_path: Path) -> None:
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "seccomp").mkdir()
    (tmp_path / "seccomp/kept").touch()

    found = leaks.state_files(str(tmp_path), "/does/not/exist")

    assert found == {f"{tmp_path}/{name}" for name in ("file", "a/b", "a/b/c")}


MOUNTINFO = r"""31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:9 master:2 - cgroup cgroup rw,devices
41 31 0:38 / /mnt/with\040blank rw,relatime - cgroup2 cgroup2 rw
"""


def test_mount_table_is_read_with_optional_fields_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(MOUNTINFO)

    table = leaks.mount_table(str(tmp_path))

    assert [(mount.place, mount.fstype) for mount in table] == [
        ("/sys/fs/cgroup", "tmpfs"),
        ("/sys/fs/cgroup/devices", "cgroup"),
        ("/mnt/with blank", "cgroup2"),
    ]


def test_a_changed_cgroup2_root_is_seen(tmp_path: Path) -> None:
    """On recorded lines: the real ones belong to the machine."""
    (tmp_path / "self").mkdir()
    unified = tmp_path / "unified"
    unified.mkdir()
    line = f"41 31 0:38 / {unified} rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "self/mountinfo").write_text(line)
    (unified / "cgroup.controllers").write_text("hugetlb\n")
    (unified / "cgroup.subtree_control").write_text("\n")
    before = leaks.v2_roots(str(tmp_path))

    (unified / "cgroup.subtree_control").write_text("hugetlb\n")

    assert leaks.v2_roots(str(tmp_path)) - before == {
        f"{unified}/cgroup.subtree_control reads ['hugetlb']"
    }


OURS = "cgmgr-test-12"


@pytest.mark.parametrize(
    ("name", "others", "expected"),
    [
        pytest.param("cgmgr-test-12-a", False, "ours", id="own-token"),
        pytest.param("cgmgr-test-12-a", True, "ours", id="own-token-others-at-work"),
        pytest.param("cgmgr-test-123", False, "not", id="token-of-another-run"),
        pytest.param("cgmgr-x", False, "ours", id="called-cgmgr"),
        pytest.param("cgmgr-x", True, "unclear", id="called-cgmgr-others-at-work"),
        pytest.param("other_daemon", False, "not", id="foreign"),
    ],
)
def test_whose_is_it(
    name: str, others: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_work(_root_pid: int) -> set[str]:
        return {"1 cgmgr run"} if others else set()

    monkeypatch.setattr(leaks, "others_at_work", at_work)
    state = tmp_path / "run"
    watch = _watch(str(state), token=OURS)
    (state / "groups" / name).mkdir(parents=True)

    certain, unclear = watch.left(grace_seconds=0)

    found = {"ours": len(certain), "unclear": len(unclear), "not": 0}
    assert sum(found.values()) == found[expected] <= 1
    assert expected == "not" or found[expected] == 1


@pytest.mark.parametrize("signum", [None, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_supervised_run_leaves_as_its_child_did(signum: signal.Signals | None) -> None:
    act = "sys.exit(7)" if signum is None else f"os.kill(os.getpid(), {signum.value})"
    script = f"import os, sys; from tests import supervisor; supervisor.supervise(); {act}"

    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)

    assert ended.returncode == (7 if signum is None else -signum)


def test_supervisor_passes_sigterm_on() -> None:
    script = """
import signal, sys
from tests import supervisor
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
supervisor.supervise()
print("ready", flush=True)
signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()

    assert process.returncode == 9


def test_supervisor_adopts_and_reaps_an_orphan() -> None:
    script = f"""
import os, select, subprocess, sys
from tests import leaks, supervisor
parent = supervisor.supervise()
with subprocess.Popen([sys.executable, "-c", {ORPHANS!r}],
                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
    orphan = int(process.stdout.readline())
    process.wait()
    print([what.startswith(f"{{orphan}} ") for what in leaks.processes(parent)])
    end = os.pidfd_open(orphan)
select.select([end], [], [])
while os.path.exists(f"/proc/{{orphan}}"):
    os.sched_yield()
print(leaks.processes(parent))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )

    assert ended.stdout.splitlines() == ["[True]", "set()"]


LEAKY = """
import os, subprocess, sys
def test_that_forgets_a_process(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"],
                               stdin=int(os.environ["KEEP"]))
    process.returncode = 0  # silences the warning of Popen itself
    (tmp_path / "pid").write_text(str(process.pid))
"""


@pytest.mark.slow
def test_a_run_that_leaves_a_process_fails_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    keep, end = os.pipe()
    options = f"-q -c {ROOT}/pyproject.toml --rootdir={tmp_path} --basetemp={tmp_path}/base"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(), "-p", "tests.conftest", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "KEEP": str(keep), "PYTHONPATH": str(ROOT)},
        pass_fds=[keep],
        check=False,
        capture_output=True,
        text=True,
    )
    os.close(keep)
    os.close(end)

    pid = (tmp_path / "base/test_that_forgets_a_process0/pid").read_text()
    assert ended.returncode == 1
    assert "this run left on the machine:" in ended.stdout
    assert f"process: {pid} " in ended.stdout
    assert "1 passed, 1 error in" in ended.stdout.splitlines()[-1]
