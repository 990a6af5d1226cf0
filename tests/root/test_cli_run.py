"""`cgmgr run` on this kernel: real containers, real limits, nothing left."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM, STORE, Screen, cgmgr, directories, left, started

EAT = "x = bytearray(200 << 20)"


@pytest.fixture
def name(run_token: str) -> Iterator[str]:
    """A container's name; nothing of it may be left."""
    chosen = f"{run_token}-c"
    yield chosen
    assert left(chosen) == []


def test_the_command_is_process_1_in_a_world_of_its_own(name: str) -> None:
    script = "echo $$; hostname; cat /proc/self/cgroup; cat /proc/net/dev | wc -l; pwd; id -u"

    ended = cgmgr("run", "--name", name, "--hostname", "inside", "host", "sh", "-c", script)

    assert (ended.returncode, ended.stderr) == (0, "")
    first, host, *rest = ended.stdout.splitlines()
    groups, (devices, cwd, uid) = rest[:-3], rest[-3:]
    assert (first, host, cwd, uid) == ("1", "inside", "/", "0")
    assert {line.rpartition(":")[2] for line in groups} == {"/"}
    assert devices == "3", "two lines of head, and lo"


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 7", 7), ("exit 0", 0), ("exit 255", 255), ("sh -c 'kill -SEGV $$'", 139)],
)
def test_its_exit_status_is_the_commands(name: str, script: str, status: int) -> None:
    assert cgmgr("run", "--name", name, "host", "sh", "-c", script).returncode == status


def test_killed_at_its_limit_it_says_so(name: str) -> None:
    words = ["-m", "64m", "--swap=0", "host", "python3", "-c", EAT]

    ended = cgmgr("run", "--name", name, *words)

    assert ended.returncode == 137
    assert ended.stderr.startswith("killed: memory limit 64MiB (peak 6")
    assert ended.stderr.endswith(f"MiB) in /cgmgr/{name}\n")


def test_a_process_that_was_killed_and_survived_is_told_too(name: str) -> None:
    script = f"python3 -c '{EAT}'; exit 5"
    words = ["-m", "64m", "--swap=0", "--result=json", "host", "sh", "-c", script]

    ended = cgmgr("run", "--name", name, *words)

    result = json.loads(ended.stderr[ended.stderr.index("{\n") :])
    assert ended.returncode == 5
    assert (result["exit"], result["oom"]["kills"], result["oom"]["whose"]) == (5, 1, "own")
    assert result["verdict"].startswith("exit 5, and 1 process was killed: memory limit 64MiB")
    assert result["group"] == f"/cgmgr/{name}"
    assert result["peak_memory_bytes"] <= 64 << 20
    assert "stdout" not in result


def test_a_kill_from_elsewhere_is_no_matter_of_memory(name: str) -> None:
    with started("run", "--name", name, "host", "sh", "-c", "echo ready; exec sleep 60") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert cgmgr("group", "kill", name).returncode == 0
        assert running.wait(30) == 137
        assert running.stderr is not None
        assert running.stderr.read() == ""


def test_the_least_that_works_is_6_mib_and_one_process(name: str) -> None:
    words = ["-m", "6m", "--pids-limit", "1", "host", "true"]

    ended = cgmgr("run", "--name", name, *words)

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--memory 12Q host true", "invalid --memory '12Q'"),
        ("--memory 100 host true", "the least is 6M"),
        ("--memory host true", "invalid --memory 'host'"),
        ("--cpus=-1 host true", "invalid --cpus '-1'"),
        ("--cpus 4000 host true", "--cpus cannot be 4000 CPUs: this machine has"),
        ("--cpuset-cpus 0-x host true", "invalid --cpuset-cpus '0-x'"),
        ("--cpuset-cpus 4000 host true", "--cpuset-cpus cannot be 4000: this machine has"),
        ("--device-read-bps /dev/nope:1mb host true", "device /dev/nope: no such file"),
        ("--device-read-bps /dev/null:1mb host true", "a disk is needed"),
        ("--hugetlb 3MB=1M host true", "3MB"),
        ("--hugetlb 2MB/x=1M host true", "2MB/x"),
        ("--network bridge host true", "invalid --network 'bridge'"),
        ("--user nobody-here host true", "nobody-here"),
        ("--volume rel:/x host true", "--volume 'rel:/x'"),
        ("--volume /no/such:/x host true", "/no/such"),
        ("--tmpfs x host true", "--tmpfs 'x'"),
        ("--workdir x host true", "--workdir 'x'"),
        ("--env =x host true", "--env '=x'"),
        ("--cap-add NOPE host true", "unknown capability 'NOPE'"),
        ("--oom-score-adj 2000 host true", "invalid --oom-score-adj '2000'"),
        ("--rootfs /no/such true", "there is no such directory"),
        ("--rootfs /etc/passwd true", "it is no directory"),
        ("--name a/b host true", "a/b"),
        ("--name .. host true", ".."),
        (f"--name {'x' * 300} host true", "x" * 20),
        ("--cgroup-parent /../x host true", ".."),
        ("--driver nope host true", "no driver 'nope'"),
        ("--result xml host true", "invalid --result 'xml'"),
        ("--timeout soon host true", "invalid --timeout 'soon'"),
        ("--detach host true", "there is no --detach: containers run in the foreground"),
        ("--memroy 1g host true", "did you mean --memory?"),
        ("nope", "no image 'nope'"),
        ("", "no image"),
    ],
)
def test_bad_input_is_named_and_nothing_is_changed(words: str, message: str) -> None:
    before = sorted(path.name for path in STORE.glob("*"))

    ended = cgmgr("run", *words.split())

    assert ended.returncode == 125
    assert ended.stderr.startswith("cgmgr: ")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(path.name for path in STORE.glob("*")) == before


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        ("no-such-command", 127, "executable file not found in $PATH"),
        ("/no/such", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_a_command_that_is_none(name: str, argv: str, status: int, message: str) -> None:
    ended = cgmgr("run", "--name", name, "host", argv)

    assert ended.returncode == status
    assert message in ended.stderr


def test_files_environment_and_limits_of_a_process(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "in").write_text("from outside")
    (tmp_path / "env").write_text("B=2\n")
    script = (
        "echo $A$B; cat /mnt/v/in; touch /mnt/v/x 2>/dev/null || echo ro; "
        "touch /etc/x 2>/dev/null || echo fixed; touch /scratch/x && echo rw; "
        "ulimit -n; pwd; id -u; grep NoNewPrivs /proc/self/status"
    )
    options = ["-e", "A=1", "--env-file", str(tmp_path / "env"), "-v", f"{tmp_path}:/mnt/v:ro"]
    options += ["--read-only", "--tmpfs", "/scratch:size=1m,mode=1777", "--ulimit", "nofile=77"]
    options += ["-w", "/var/tmp", "-u", "nobody"]

    ended = cgmgr("run", "--name", name, *options, "host", "sh", "-c", script)

    expected = ["12", "from outsidero", "fixed", "rw", "77", "/var/tmp", "65534"]
    assert ended.stdout.splitlines() == [*expected, "NoNewPrivs:\t1"]


def test_standard_input_is_given_on_request_only(name: str) -> None:
    assert cgmgr("run", "-i", "--name", name, "host", "cat", text_in="hello").stdout == "hello"
    assert cgmgr("run", "--name", name, "host", "cat", text_in="hello").stdout == ""


def test_what_is_shared_with_the_host(name: str) -> None:
    options = ["--network=host", "--pid=host", "--uts=host", "--ipc=host", "--cgroupns=host"]
    script = "readlink /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc; cat /proc/self/cgroup"

    ended = cgmgr("run", "--name", name, *options, "host", "sh", "-c", script)

    ours = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "uts", "ipc")]
    assert ended.stdout.splitlines()[:3] == ours
    assert f"/cgmgr/{name}" in ended.stdout


def test_any_directory_may_be_the_root(name: str, tmp_path: Path) -> None:
    for folder in ("bin", "lib", "lib64", "usr"):
        (tmp_path / folder).mkdir()
    mounts = [word for d in ("bin", "lib", "lib64", "usr") for word in ("-v", f"/{d}:/{d}:ro")]
    options = ["--rootfs", str(tmp_path), *mounts]

    ended = cgmgr("run", "--name", name, *options, "/bin/sh", "-c", "echo /*; echo > /made")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "/etc" not in ended.stdout.split()
    assert not (tmp_path / "made").exists(), "what it writes goes into a layer above"


def test_signals_are_the_containers(name: str) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with started("run", "--name", name, "host", "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.readline() == "caught\n"
        assert running.wait(30) == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_process_1_would_not_see_ends_it(name: str, number: int) -> None:
    # no shell: one that catches ^C and then executes something loses it in between
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "print('ready', flush=True); signal.pause()"
    )
    with started("run", "--name", name, "host", "python3", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.wait(30) == 128 + number


def test_a_timeout_ends_it(name: str) -> None:
    ended = cgmgr(
        "run", "--name", name, "--timeout", "100ms", "--result=text", "host", "sleep", "60"
    )

    assert ended.returncode == 124
    assert ended.stderr.startswith("timed out after 0.1s\n")


def test_what_a_killed_command_leaves_the_next_one_removes(name: str) -> None:
    with started("run", "--name", name, "host", "sh", "-c", "echo ready; exec sleep 60") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.kill()
    assert left(name) != []

    assert cgmgr("run", "host", "true").returncode == 0

    assert left(name) == []


def test_gc_says_what_it_removes(name: str) -> None:
    with started("run", "--name", name, "host", "sh", "-c", "echo ready; exec sleep 60") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.kill()

    said = cgmgr("gc", "--dry-run").stdout
    assert {f"remove group /cgmgr/{name}", f"remove container {name}"} <= set(said.splitlines())
    assert left(name) != []

    done = cgmgr("gc")
    assert (done.returncode, done.stderr) == (0, "")
    assert {f"removed group /cgmgr/{name}", f"removed container {name}"} <= set(
        done.stdout.splitlines()
    )


def test_a_name_in_use_is_refused_and_its_container_lives_on(name: str) -> None:
    script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    with started("run", "--name", name, "host", "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"

        second = cgmgr("run", "--name", name, "host", "true")

        assert second.returncode == 125
        assert f"container '{name}' is there already" in second.stderr
        assert running.poll() is None
        running.terminate()
        assert running.wait(30) == 0


def test_a_group_that_is_removed_meanwhile_is_told(name: str) -> None:
    with started("run", "--name", name, "host", "sh", "-c", "echo ready; exec sleep 60") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGSTOP)  # else it may look before the group is gone
        assert cgmgr("group", "rm", "--force", name).returncode == 0
        running.send_signal(signal.SIGCONT)
        assert running.wait(30) == 137
        said = running.stderr.read()
    assert said == (
        f"cgmgr: warning: group /cgmgr/{name}: it was removed meanwhile: what was used, and "
        "whether memory ran out, is not known\n"
    )
    assert left(name) == []


def test_a_container_is_frozen_by_its_name(name: str) -> None:
    script = "echo ready; exec sleep 60"
    options = ["--cgroup-parent", f"/{name}-parent"]
    with started("run", "--name", name, *options, "host", "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert cgmgr("group", "freeze", name).returncode == 0
        shown = json.loads(cgmgr("group", "get", name, "--json").stdout)
        assert (shown["name"], shown["state"]) == (f"/{name}-parent/{name}", "frozen")
        assert cgmgr("group", "thaw", name).returncode == 0
        running.terminate()
        assert running.wait(30) == 143
    assert list(Path("/sys/fs/cgroup").glob(f"*/{name}-parent")) == []


def test_a_dry_run_says_all_of_it_and_does_nothing(name: str) -> None:
    words = ["--dry-run", "-m", "64m", "--pids-limit", "20", "host", "ps", "-ef"]

    ended = cgmgr("run", "--name", name, *words)

    lines = ended.stdout.splitlines()
    assert ended.returncode == 0
    assert any(line.startswith("write 67108864 > ") for line in lines)
    assert any(line.startswith("mount -t proc ") for line in lines)
    assert "clone a process into new namespaces: mount, uts, ipc, network, pid, cgroup" in lines
    assert f"write {STORE}/{name}/config.json" in lines
    assert lines.index("exec ps -ef") > lines.index("pivot_root . . && umount -l .")
    assert left(name) == []


def test_what_the_host_cannot_hold_is_refused_or_reported(name: str) -> None:
    words = ["--name", name, "--rdma", "mlx=hca_handle:2", "host", "true"]

    strict = cgmgr("run", *words)
    assert strict.returncode == 125
    assert "the rdma controller is not available" in strict.stderr

    relaxed = cgmgr("run", "--best-effort", *words)
    assert relaxed.returncode == 0
    assert "cgmgr: not held: the rdma controller is not available" in relaxed.stderr


def test_a_reader_that_goes_away_ends_it_quietly(name: str) -> None:
    command = f"{PROGRAM} run --name {name} host sh -c 'yes; exit $?' | head -1"

    ended = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.stdout == f"y\n{128 + signal.SIGPIPE}\n"
    assert ended.stderr == ""


# -- a terminal


def test_a_terminal_of_its_own(name: str) -> None:
    script = (
        "trap 'echo interrupted' INT; tty; stty size; echo ready; "
        "until test \"$(stty size)\" = '40 120'; do sleep 0.05; done; echo resized; "
        "read line; echo got $line; exit 3"
    )
    screen = Screen("run", "-it", "--name", name, "host", "sh", "-c", script)

    screen.until("ready")
    assert "/dev/pts/0" in screen.seen
    assert "30 100" in screen.seen
    screen.type("\x03")
    screen.until("interrupted")
    screen.resize(40, 120)
    screen.until("resized")
    screen.type("words\r")
    screen.until("got words")

    assert screen.end() == 3
    assert screen.after == screen.before, "the user's terminal is as it was"


def test_a_terminal_for_the_eyes_only(name: str) -> None:
    ended = cgmgr("run", "-t", "--name", name, "host", "sh", "-c", "tty; echo a")

    assert ended.stdout.split() == ["/dev/pts/0", "a"]


def test_no_terminal_to_give(name: str) -> None:
    ended = cgmgr("run", "-it", "--name", name, "host", "true")

    assert ended.returncode == 125
    assert "standard input is no terminal" in ended.stderr


def test_interrupted_at_any_moment_nothing_is_left(name: str) -> None:
    """^C while it starts; how far it came is told by what it had made when the signal went out."""
    for _ in range(4):
        with started("run", "--name", name, "host", "sleep", "60") as running:
            while running.poll() is None and not directories(name):
                pass
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 130
        assert left(name) == []


READY = ("sh", "-c", "echo ready; exec sleep 60")


def test_a_timeout_ends_what_is_frozen(name: str) -> None:
    """A v1 freezer lets nobody die of SIGKILL."""
    with started("run", "--name", name, "--timeout", "3s", "host", *READY) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert cgmgr("group", "freeze", name).returncode == 0
        assert running.wait(30) == 124
    assert left(name) == []


def test_a_signal_ends_what_is_frozen(name: str) -> None:
    with started("run", "--name", name, "host", *READY) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert cgmgr("group", "freeze", name).returncode == 0
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 143
    assert left(name) == []
