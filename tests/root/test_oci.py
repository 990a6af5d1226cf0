"""cgmgr-oci's life of a container, in the words and exit statuses that clients count on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import directories

from .oci import Client, client


@pytest.fixture
def oci(tmp_path: Path, run_token: str) -> Iterator[Client]:
    with client(tmp_path, run_token) as made:
        yield made


def group_of(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[2] for line in lines}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_life(oci: Client, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    oci.change("/bin/sh", "-c", "echo started; exec sleep 1000")
    oci.create("--pid-file", str(pid_file))

    state = json.loads(oci.done("state", oci.id))
    pid = int(pid_file.read_text())
    assert (state["status"], state["pid"], state["id"]) == ("created", pid, oci.id)
    assert state["bundle"] == str(oci.bundle)
    assert state["rootfs"] == str(oci.rootfs)
    assert oci.output() == ""
    assert group_of(pid) == {f"/cgmgr/{oci.id}"}
    assert parent_of(pid) == os.getppid(), "an orphan, adopted by the nearest subreaper"

    assert oci.done("start", oci.id) == ""
    assert oci.status() == "running"
    assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    assert oci.output() == "started\n"
    assert json.loads(oci.done("list", "--format", "json"))[0]["id"] == oci.id
    assert oci.done("list", "-q") == f"{oci.id}\n"
    assert json.loads(oci.done("ps", "--format", "json", oci.id)) == [pid]
    assert "sleep 1000" in oci.done("ps", oci.id)

    oci.done("pause", oci.id)
    assert oci.status() == "paused"
    oci.done("resume", oci.id)
    assert oci.status() == "running"

    assert "not stopped: running" in oci.fails("delete", oci.id)
    oci.done("kill", oci.id, "KILL")
    oci.wait("stopped")
    assert json.loads(oci.done("state", oci.id))["pid"] == 0
    assert "container not running" in oci.fails("kill", oci.id)
    assert "has stopped" in oci.fails("start", oci.id)
    oci.done("delete", oci.id)
    assert oci.left() == []
    assert "does not exist" in oci.fails("delete", oci.id)
    assert "does not exist" in oci.fails("state", oci.id)
    oci.done("delete", "--force", oci.id)


def test_an_id_in_use_is_refused(oci: Client) -> None:
    oci.change("/bin/sleep", "1000")
    oci.create()
    message = oci.fails("create", "--bundle", str(oci.bundle), oci.id)
    assert f"container with id exists: {oci.id}" in message
    assert oci.status() == "created"
    oci.done("delete", oci.id)


def test_started_twice(oci: Client) -> None:
    oci.change("/bin/sleep", "1000")
    oci.create()
    oci.done("start", oci.id)
    assert "cannot start an already running container" in oci.fails("start", oci.id)


@pytest.mark.parametrize("identifier", ["", "a/b", "..", ".", "x" * 2000, "a\nb"], ids=repr)
def test_no_id(oci: Client, identifier: str) -> None:
    assert "invalid id" in oci.fails("create", "--bundle", str(oci.bundle), identifier)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"process": 5}', "config.json.process is 5, and must be an object"),
        ('{"process": {"args": "sh", "cwd": "/"}, "linux": {}}', "config.json.process.args"),
    ],
    ids=["empty", "cut short", "an array", "nested", "a number", "a string for a list"],
)
def test_a_config_that_is_none(oci: Client, text: str, message: str) -> None:
    (oci.bundle / "config.json").write_text(text)
    assert message in oci.fails("create", "--bundle", str(oci.bundle), oci.id)
    assert oci.left() == []


def test_no_bundle(oci: Client, tmp_path: Path) -> None:
    assert "config.json" in oci.fails("create", "--bundle", str(tmp_path / "none"), oci.id)
    assert oci.left() == []


def test_no_rootfs(oci: Client) -> None:
    oci.rootfs.rename(oci.bundle / "elsewhere")
    assert "rootfs" in oci.fails("create", "--bundle", str(oci.bundle), oci.id)
    assert oci.left() == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("nope", "executable file not found in $path"),
        ("/nope", "no such file or directory"),
        ("/etc", "permission denied"),
    ],
)
def test_a_program_that_is_not_there_is_told_by_create(
    oci: Client, program: str, message: str
) -> None:
    oci.change(program)
    assert message in oci.fails("create", "--bundle", str(oci.bundle), oci.id).lower()
    assert oci.left() == []


def test_a_program_that_cannot_be_executed_is_told_by_start(oci: Client) -> None:
    (oci.rootfs / "bin/bad").write_text("no program")
    (oci.rootfs / "bin/bad").chmod(0o755)
    oci.change("/bin/bad")
    oci.create()
    assert "exec: /bin/bad: exec format error" in oci.fails("start", oci.id).lower()
    oci.wait("stopped")


def test_errors_are_lines_of_the_log(oci: Client, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    words = ("--log", str(log), "--log-format", "json", "start", "nobody")
    assert oci.oci(*words).returncode == 1
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["level"], line["msg"]) == ("error", "container 'nobody' does not exist")
    assert line["time"].endswith("Z")


def test_limits_are_held_and_updated(oci: Client, tmp_path: Path) -> None:
    oci.limit(memory={"limit": 64 << 20}, pids={"limit": 20}, cpu={"shares": 512})
    oci.change("/bin/sleep", "1000")
    oci.create()

    def held(file: str) -> str:
        (path,) = [folder / file for folder in directories(oci.id) if (folder / file).exists()]
        return path.read_text().strip()

    assert held("pids.max") == "20"
    oci.done("update", "--pids-limit", "30", oci.id)
    assert held("pids.max") == "30"
    resources = tmp_path / "resources.json"
    resources.write_text(json.dumps({"pids": {"limit": 40}, "devices": [{"allow": False}]}))
    oci.done("update", f"--resources={resources}", oci.id)
    assert held("pids.max") == "40"
    oci.done("update", "--resources", "-", oci.id, stdin=None, input='{"pids": {"limit": 50}}')
    assert held("pids.max") == "50"
    figures = json.loads(oci.done("events", "--stats", oci.id))
    assert (figures["type"], figures["id"]) == ("stats", oci.id)
    assert figures["data"]["pids"]["limit"] == 50
    assert figures["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert "-5" in oci.fails("update", "--memory", "-5", oci.id)
    assert held("pids.max") == "50"


def test_run_passes_on_status_and_output(oci: Client) -> None:
    oci.change("/bin/sh", "-c", "echo $0; exit 7")
    ended = oci.oci("run", "--bundle", str(oci.bundle), oci.id)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "/bin/sh\n", "")
    assert oci.left() == []


def test_run_ends_with_what_it_is_sent(oci: Client) -> None:
    oci.change("/bin/sh", "-c", 'trap "echo got it; exit 3" TERM; echo ready; read never')
    read, write = os.pipe()
    with subprocess.Popen(
        oci.argv("run", "--bundle", str(oci.bundle), oci.id), stdin=read, stdout=subprocess.PIPE
    ) as running:
        os.close(read)
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == b"got it\n"
        assert running.wait() == 3
    os.close(write)


def test_detached_and_kept(oci: Client) -> None:
    oci.change("/bin/true")
    with (oci.bundle / "output").open("wb") as sink:
        words = ("run", "--detach", "--bundle", str(oci.bundle), oci.id)
        assert oci.oci(*words, stdout=sink, stderr=sink, capture_output=False).returncode == 0
    oci.wait("stopped")
    oci.done("delete", oci.id)
    oci.oci("run", "--keep", "--bundle", str(oci.bundle), oci.id)
    assert oci.status() == "stopped"


def running(oci: Client) -> None:
    oci.change("/bin/sleep", "1000")
    oci.create()
    oci.done("start", oci.id)


def test_exec(oci: Client) -> None:
    running(oci)
    script = "echo $PWD $A $(id -u); exit 9"
    words = ("exec", "--env", "A=b", "--cwd", "/tmp", oci.id, "/bin/sh", "-c", script)
    ended = oci.oci(*words)
    assert (ended.returncode, ended.stdout, ended.stderr) == (9, "/tmp b 0\n", "")

    ids = oci.oci("exec", "--user", "5:6", "-g", "7", oci.id, "/bin/id").stdout
    assert ids.startswith("uid=5 gid=6 groups=7")
    kernel = oci.done("exec", oci.id, "/bin/cat", "/proc/self/status")
    assert "NoNewPrivs:\t1" in kernel
    own = oci.done("exec", oci.id, "/bin/sh", "-c", "echo $$; cat /proc/1/cmdline")
    assert int(own.splitlines()[0]) > 1
    assert own.splitlines()[1].startswith("/bin/sleep\x001000")

    message = oci.fails("exec", oci.id, "nope", status=255)
    assert "executable file not found in $PATH" in message


def test_exec_by_a_document_and_detached(oci: Client, tmp_path: Path) -> None:
    running(oci)
    process = tmp_path / "process.json"
    process.write_text(json.dumps({"args": ["/bin/sleep", "1000"], "cwd": "/", "env": ["X=1"]}))
    pid_file = tmp_path / "exec-pid"
    words = ("--pid-file", str(pid_file), "--process", str(process), "--detach")
    with (oci.bundle / "output").open("ab") as sink:  # which it keeps open
        oci.oci("exec", *words, oci.id, stdout=sink, stderr=sink, capture_output=False)
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/environ").read_bytes() == b"X=1\0"
    assert group_of(pid) == {f"/cgmgr/{oci.id}"}
    assert parent_of(pid) == os.getppid()
    assert sorted(json.loads(oci.done("ps", "-f", "json", oci.id))) == sorted(
        {pid, json.loads(oci.done("state", oci.id))["pid"]}
    )
    oci.done("kill", "--all", oci.id, "KILL")
    assert (
        not Path(f"/proc/{pid}/environ").exists() or not Path(f"/proc/{pid}/environ").read_bytes()
    )


def test_exec_where_nothing_runs(oci: Client) -> None:
    assert "does not exist" in oci.fails("exec", "nobody", "true", status=255)
    oci.change("/bin/true")
    oci.create()
    assert "container not running" in oci.fails("exec", oci.id, "true", status=255)
    oci.done("start", oci.id)
    oci.wait("stopped")
    assert "container not running" in oci.fails("exec", oci.id, "true", status=255)


def test_exec_in_a_paused_container(oci: Client) -> None:
    running(oci)
    oci.done("pause", oci.id)
    assert "paused" in oci.fails("exec", oci.id, "true", status=255)
    oci.done("resume", oci.id)


def test_a_killed_container_that_is_paused_ends(oci: Client) -> None:
    running(oci)
    oci.done("pause", oci.id)
    oci.done("kill", oci.id, "KILL")
    oci.wait("stopped")


def test_a_terminal_goes_to_the_socket(oci: Client, tmp_path: Path) -> None:
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(1)
        oci.limit(devices=[{"allow": False, "access": "rwm"}])  # all but those of every container
        oci.change("/bin/sh", "-c", "tty; exec sleep 1000", terminal=True)
        oci.create("--console-socket", path)
        connection, _ = server.accept()
        with connection:
            name, fds, _, _ = socket.recv_fds(connection, 100, 1)
    (master,) = fds
    assert name == b"terminal"
    assert os.isatty(master)
    oci.done("start", oci.id)
    assert os.read(master, 100) == b"/dev/pts/0\r\n"
    os.close(master)


@pytest.mark.parametrize(
    ("terminal", "words", "message"),
    [
        (True, ("create",), "cannot allocate tty"),
        (False, ("create", "--console-socket", "/none"), "cannot use console socket"),
        (True, ("create", "--console-socket", "/none/none"), "send the terminal"),
        (False, ("create", "--preserve-fds", "3"), "is not open"),
        (False, ("create", "--pid-file", "/none/none"), "write the pid file"),
    ],
)
def test_what_cannot_be_handed_over(
    oci: Client, terminal: bool, words: tuple[str, ...], message: str
) -> None:
    oci.change("/bin/true", terminal=terminal)
    assert message in oci.fails(*words, "--bundle", str(oci.bundle), oci.id)
    assert oci.left() == []


def test_descriptors_are_handed_on(oci: Client, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    kept = os.open(file, os.O_WRONLY | os.O_CREAT)
    oci.change("/bin/sh", "-c", "echo hello >&3; ls /proc/self/fd | head -5")
    words = oci.argv("run", "--preserve-fds", "1", "--bundle", str(oci.bundle), oci.id)
    shell = f"exec 3>&{kept} {kept}>&-; exec " + '"$@"'
    ended = subprocess.run(
        ["bash", "-c", shell, "-", *words],
        pass_fds=(kept,),
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    os.close(kept)
    assert file.read_text() == "hello\n"
    assert ended.stdout.split() == [b"0", b"1", b"2", b"3", b"4"], "4 is ls's own"


def namespace(pid: int | str, name: str) -> str:
    return Path(f"/proc/{pid}/ns/{name}").readlink().name


@pytest.mark.parametrize(
    ("kind", "name"), [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")]
)
def test_a_namespace_that_is_there_is_joined(oci: Client, kind: str, name: str) -> None:
    flag = {"network": "--net", "ipc": "--ipc", "uts": "--uts", "pid": "--pid"}[kind]
    words = ("unshare", flag, "--fork", "sh", "-c", "echo; exec sleep 1000")
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        child = Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text().split()[0]
        try:
            config = oci.config
            for entry in config["linux"]["namespaces"]:
                if entry["type"] == kind:
                    entry["path"] = f"/proc/{child}/ns/{name}"
            oci.write(config)
            oci.change("/bin/sleep", "1000")
            oci.create()
            pid = json.loads(oci.done("state", oci.id))["pid"]
            assert namespace(pid, name) == namespace(child, name)
            assert namespace(pid, name) != namespace("self", name)
            assert namespace(pid, "mnt") != namespace(child, "mnt")
            oci.done("start", oci.id)
            assert oci.done("exec", oci.id, "/bin/echo", "in there") == "in there\n"
        finally:
            oci.done("delete", "--force", oci.id)
            subprocess.run(["kill", "-9", child], check=True)
            other.kill()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"type": "network", "path": "/proc/self/ns/ipc"}], "is no network namespace"),
        ([{"type": "network", "path": "/etc/passwd"}], "is no network namespace"),
        ([{"type": "network", "path": "/none"}], "join the network namespace /none"),
        ([{"type": "network", "path": "ns/net"}], "is not an absolute path"),
        ([{"type": "network"}, {"type": "network"}], "network is there twice"),
        ([{"type": "nonsense"}], "unknown namespace 'nonsense'"),
    ],
    ids=["another kind", "a file", "missing", "relative", "twice", "unknown"],
)
def test_no_namespace(oci: Client, entries: list[dict[str, str]], message: str) -> None:
    config = oci.config
    config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}, *entries]
    oci.write(config)
    assert message in oci.fails("create", "--bundle", str(oci.bundle), oci.id)
    assert oci.left() == []


def test_killed_in_the_middle_of_create(oci: Client) -> None:
    """What is left is deleted by the next command of the client."""
    oci.change("/bin/sleep", "1000")
    stop = "import os,signal\nfrom cgmgr.runtime.oci import handing\n"
    stop += "handing.hand_over = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
    argv = oci.argv("create", "--bundle", str(oci.bundle), oci.id)
    argv[2] = stop + argv[2]
    with (oci.bundle / "output").open("wb") as sink:
        ended = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    assert ended.returncode == -signal.SIGKILL
    assert oci.left() != []

    oci.done("delete", "--force", oci.id)
    assert oci.left() == []


def test_settings_of_its_namespaces(oci: Client) -> None:
    config = oci.config
    names = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000", "fs.mqueue.msg_max": "7"}
    config["linux"]["sysctl"] = names
    oci.write(config)
    files = [f"/proc/sys/{name.replace('.', '/')}" for name in names]
    before = [Path(file).read_text() for file in files]
    oci.change("/bin/cat", *files)

    ended = oci.oci("run", "--bundle", str(oci.bundle), oci.id)

    assert (ended.stdout, ended.stderr) == ("1\n9000\n7\n", "")
    assert [Path(file).read_text() for file in files] == before


def test_a_setting_that_the_kernel_has_not(oci: Client) -> None:
    config = oci.config
    config["linux"]["sysctl"] = {"net.no.such": "1"}
    oci.write(config)
    message = oci.fails("create", "--bundle", str(oci.bundle), oci.id)
    assert "sysctl -w net.no.such=1: no such file or directory" in message
    assert oci.left() == []


def test_debug_says_each_step(oci: Client) -> None:
    oci.change("/bin/true")
    ended = oci.oci("--debug", "run", "--bundle", str(oci.bundle), oci.id)
    lines = ended.stderr.splitlines()
    assert lines[0].startswith("cgmgr-oci: 1. clone a process into new namespaces: ")
    assert lines[-1] == f"cgmgr-oci: {len(lines)}. exec /bin/true"
