"""`cgmgr group` and the other commands on this kernel."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import cgmgr as package
from tests.cli.command import PROGRAM, Screen, cgmgr, directories, left, started

EAT = "x = bytearray(200 << 20)"


@pytest.fixture
def name(run_token: str) -> Iterator[str]:
    """A group's name; nothing of it is left afterwards, whatever the test did."""
    chosen = f"{run_token}-g"
    yield chosen
    if left(chosen):
        cgmgr("group", "rm", "-f", chosen)
    assert left(chosen) == []


@pytest.fixture
def group(name: str) -> str:
    """A group with limits."""
    made = cgmgr("group", "create", name, "memory=64M", "swap=0", "cpus=0.5", "pids=50")
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    return name


def held(group: str, file: str) -> str:
    (path,) = [folder / file for folder in directories(group) if (folder / file).exists()]
    return path.read_text().strip()


def enter(group: str, pid: int) -> None:
    for folder in directories(group):
        (folder / "cgroup.procs").write_text(str(pid))


@pytest.fixture
def sleeper(group: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the group."""
    with subprocess.Popen(["sleep", "60"]) as process:
        enter(group, process.pid)
        yield process
        process.kill()


def test_created_and_removed(group: str) -> None:
    assert held(group, "pids.max") == "50"

    removed = cgmgr("group", "rm", group)

    assert (removed.returncode, removed.stdout, removed.stderr) == (0, "", "")
    assert left(group) == []


def test_settings_are_asked_held_and_used(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    lines = cgmgr("group", "get", group).stdout.splitlines()

    assert lines[0] == f"/cgmgr/{group}: thawed, 1 process, driver cgroupfs"
    assert lines[1].split() == ["SETTING", "ASKED", "HELD", "USED"]
    rows = {line.split()[0]: line.split()[1:3] for line in lines[2:6]}
    assert rows["memory"] == ["64M", "64M"]
    assert rows["cpus"] == ["0.5", "0.5"]
    assert rows["pids"] == ["50", "50"]
    assert not any(line.startswith("!") for line in lines)
    assert sleeper.poll() is None


def test_settings_for_programs(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    shown = json.loads(cgmgr("group", "get", group, "memory", "cpus", "--json").stdout)

    assert shown["name"] == f"/cgmgr/{group}"
    assert shown["processes"] == [sleeper.pid]
    assert shown["asked"] == {"memory": "64M", "cpus": "0.5"}
    assert shown["held"] == {"memory": 64 << 20, "cpus": 0.5}
    assert shown["drift"] == []
    assert shown["use"]["pids"] == {"current": 1, "peak": 1, "max": 50, "events_max": 0}


def test_what_somebody_else_changed_is_marked(group: str) -> None:
    (path,) = [folder / "pids.max" for folder in directories(group) if "pids" in str(folder)]
    path.write_text("7")

    ended = cgmgr("group", "get", group, "pids")

    assert f"! {path} holds 7, asked was 50" in ended.stdout
    assert ["pids", "50", "!", "7"] in [line.split()[:4] for line in ended.stdout.splitlines()]
    assert json.loads(cgmgr("group", "get", group, "--json").stdout)["drift"] == [
        {"path": str(path), "asked": "50", "held": "7"}
    ]


def test_settings_are_changed_together_or_not_at_all(group: str) -> None:
    assert cgmgr("group", "set", group, "pids=60", "memory=128M").returncode == 0
    assert held(group, "pids.max") == "60"

    ended = cgmgr("group", "set", group, "pids=70", "rdma=mlx=hca_handle:1")

    assert ended.returncode == 1
    assert "the rdma controller is not available" in ended.stderr
    assert held(group, "pids.max") == "60"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("memory=12Q", "invalid memory '12Q'"),
        ("memory=0", "memory"),
        ("memroy=1M", "did you mean 'memory'?"),
        ("memory", "write WORD=VALUE"),
        ("memory=", "invalid memory ''"),
        ("memory=1M memory=2M", "memory is said twice"),
        ("cpus=-1", "invalid cpus '-1'"),
        ("cpus=4000", "cpus cannot be 4000 CPUs: this machine has"),
        ("cpuset=4000", "this machine has CPUs"),
        ("cpuset=x", "invalid cpuset 'x'"),
        ("pids=0", "pids"),
        ("io_rbps=/dev/nope=1M", "/dev/nope"),
        ("cgroup.kill=1", "a setting, not an act"),
    ],
)
def test_bad_settings_are_named_and_nothing_is_changed(
    group: str, words: str, message: str
) -> None:
    ended = cgmgr("group", "set", group, *words.split())

    assert ended.returncode == 1
    assert ended.stderr.startswith("cgmgr: ")
    assert message in ended.stderr
    assert held(group, "pids.max") == "50"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("group set", 2, "missing argument"),
        ("group set x", 2, "nothing to set"),
        ("group nope", 2, "nope"),
        ("group rm", 2, "missing argument"),
        ("group ls --jsno", 2, "--jsno"),
        ("group freeze x --timeout", 2, "--timeout"),
        ("group freeze /no-such-group --timeout soon", 1, "invalid --timeout 'soon'"),
        ("group get /no-such-group", 1, "there is no group /no-such-group"),
        ("group rm /no-such-group", 1, "there is no group /no-such-group"),
        ("group tree /no-such-group", 1, "there is no group /no-such-group"),
        ("group kill /no-such-group -s NOPE", 1, "unknown signal 'NOPE'"),
        ("group create /", 1, "the root is not a group of ours"),
        ("group create a/../b", 1, ".."),
        (f"group create {'x' * 300}", 1, "x" * 20),
        ("group run", 125, "no group"),
        ("group run /no-such-group true", 125, "there is no group"),
        ("group run --temp", 125, "no command"),
        ("group run --temp memory=1Q true", 125, "invalid memory '1Q'"),
        ("group run --nope x true", 125, "--nope"),
        ("nope", 2, "nope"),
        ("--nope", 2, "--nope"),
        ("doctor --nope", 2, "--nope"),
    ],
)
def test_bad_words_are_named(words: str, status: int, message: str) -> None:
    ended = cgmgr(*words.split())

    assert ended.returncode == status
    assert ended.stderr.startswith("cgmgr: ")
    assert message.lower() in ended.stderr.lower()
    assert "Traceback" not in ended.stderr


def test_a_name_in_use_is_refused(group: str) -> None:
    ended = cgmgr("group", "create", group)

    assert ended.returncode == 1
    assert f"group /cgmgr/{group} exists already" in ended.stderr


def test_a_limit_below_use_is_refused(group: str) -> None:
    script = "x = bytearray(40 << 20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [PROGRAM, "group", "run", group, "--", "python3", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        ended = cgmgr("group", "set", group, "memory=8M")
        assert ended.returncode == 1
        assert "memory" in ended.stderr
        running.communicate("\n")
    assert json.loads(cgmgr("group", "get", group, "--json").stdout)["held"]["memory"] == 64 << 20


def test_listed(group: str) -> None:
    rows = {row["name"]: row for row in json.loads(cgmgr("group", "ls", "--json").stdout)}
    lines = cgmgr("group", "ls").stdout.splitlines()

    row = rows[f"/cgmgr/{group}"]
    assert row["asked"] == {"memory": "64M", "swap": "0", "pids": "50", "cpus": "0.5"}
    assert (row["state"], row["processes"], row["driver"]) == ("thawed", 0, "cgroupfs")
    assert isinstance(row["memory_bytes"], int)
    assert lines[0].split()[0] == "NAME"
    assert any(line.startswith(f"/cgmgr/{group} ") for line in lines)


def test_tree_shows_who_is_in_there(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    assert cgmgr("group", "create", f"{group}/below", "pids=5").returncode == 0

    lines = cgmgr("group", "tree", group).stdout.splitlines()

    assert lines[0] == f"/cgmgr/{group}"
    assert "of 64MiB" in lines[1]
    assert "at most 0.5 cpus" in lines[1]
    (member,) = [line for line in lines if "sleep 60" in line]
    words = member.replace("|", " ").split()
    assert words[:2] == [str(sleeper.pid), "root"]
    assert words[2].endswith("%")
    assert words[3].endswith("iB")
    assert any("- below" in line for line in lines)
    assert "tasks 0 of 5" in lines[-1]

    bare = cgmgr("group", "tree", group, "--no-processes").stdout
    assert "sleep" not in bare


def test_nothing_is_wider_than_the_terminal(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    narrow = {"COLUMNS": "40"}
    for words in (["tree", group], ["ls"]):
        shown = cgmgr("group", *words, environ=narrow).stdout
        assert max(len(line) for line in shown.splitlines()) <= 40
    assert sleeper.poll() is None


@pytest.mark.parametrize("words", [("get", "{}"), ("ls",)], ids=["get", "ls"])
def test_help_says_what_json_has(group: str, words: tuple[str, ...]) -> None:
    answer = json.loads(cgmgr("group", *(word.format(group) for word in words), "--json").stdout)
    keys: list[str] = list(answer[0] if words[0] == "ls" else answer)
    told = " ".join(cgmgr("group", words[0], "--help").stdout.split())
    about = told.partition("Print JSON: ")[2]
    assert keys
    assert [key for key in keys if key not in about] == []


@pytest.mark.parametrize("dry", [False, True], ids=["done", "foreseen"])
def test_what_is_not_held_is_told_as_it_was_typed(group: str, name: str, dry: bool) -> None:
    """A word that the host cannot hold, whichever its version of the memory controller is."""
    v1 = any((folder / "memory.limit_in_bytes").exists() for folder in directories(group))
    word = "MemoryHigh=5M" if v1 else "memory-swappiness=5"
    said = word.partition("=")[0]
    how = ["--best-effort", *(["--dry-run"] if dry else [])]
    for words in (
        ["create", *how, f"{name}/x", word],
        ["set", *how, group, word],
        ["run", *how, group, word, "--", "true"],
        ["run", *how, "--temp", word, "--", "true"],
    ):
        ended = cgmgr("group", *words)
        assert ended.returncode == 0, ended.stderr
        assert f"not held: {said} cannot be held here" in ended.stdout + ended.stderr
    strict = cgmgr("group", "set", group, word)
    assert strict.stderr.startswith(f"cgmgr: {said} cannot be held here")


def test_frozen_and_thawed(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    assert cgmgr("group", "freeze", group).returncode == 0
    assert cgmgr("group", "get", group).stdout.startswith(f"/cgmgr/{group}: frozen")
    assert "frozen" in cgmgr("group", "tree", group).stdout
    assert cgmgr("group", "thaw", group).returncode == 0
    assert cgmgr("group", "get", group).stdout.startswith(f"/cgmgr/{group}: thawed")
    assert sleeper.poll() is None


@pytest.mark.parametrize("below", ["", "/below"])
def test_nothing_is_started_in_a_frozen_group(group: str, below: str) -> None:
    if below:
        assert cgmgr("group", "create", group + below).returncode == 0
    assert cgmgr("group", "freeze", group).returncode == 0
    try:
        ended = cgmgr("group", "run", "--timeout", "1s", group + below, "true")
        inside = cgmgr("run", "--cgroup-parent", f"/cgmgr/{group}", "host", "true")
    finally:
        assert cgmgr("group", "thaw", group).returncode == 0

    assert ended.returncode == inside.returncode == 125
    assert f"group /cgmgr/{group}{below} is frozen" in ended.stderr
    assert "is frozen by an ancestor" in inside.stderr
    for stderr in (ended.stderr, inside.stderr):
        assert f"hint: cgmgr group thaw /cgmgr/{group}\n" in stderr


def test_killed(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    assert cgmgr("group", "kill", "-s", "TERM", group).returncode == 0
    assert sleeper.wait(30) == -signal.SIGTERM
    with subprocess.Popen(["sleep", "60"]) as other:
        enter(group, other.pid)
        # its parent takes its exit status only afterwards; a zombie is no process of the group
        assert cgmgr("group", "kill", group).returncode == 0
        assert other.wait(30) == -signal.SIGKILL


def test_a_group_with_processes_stays_unless_told(
    group: str, sleeper: "subprocess.Popen[bytes]"
) -> None:
    ended = cgmgr("group", "rm", group)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"cgmgr: group /cgmgr/{group} holds a process ({sleeper.pid})\n"
        f"hint: cgmgr group rm -f /cgmgr/{group}\n"
    )
    assert sleeper.poll() is None

    assert cgmgr("group", "rm", "-f", group).returncode == 0
    assert sleeper.wait(30) == -signal.SIGKILL
    assert left(group) == []


def test_what_can_be_removed_is_although_something_cannot(
    group: str, name: str, sleeper: "subprocess.Popen[bytes]"
) -> None:
    other = f"{name}/other"
    assert cgmgr("group", "create", other).returncode == 0

    ended = cgmgr("group", "rm", "/no-such-group", group, "a/../b", other)

    assert ended.returncode == 1
    told = [line for line in ended.stderr.splitlines() if line.startswith("cgmgr: ")]
    assert len(told) == 3
    assert "there is no group /no-such-group" in told[0]
    assert f"group /cgmgr/{group} holds a process" in told[1]
    assert "'..'" in told[2]
    assert left(other) == []
    assert sleeper.poll() is None


def test_a_group_in_some_hierarchies_only_is_removed_as_the_hint_says(group: str) -> None:
    for directory in directories(group)[::2]:
        directory.rmdir()
    words = ["memory=1G", "pids=9", "cpus=1", "cpuset=0"]
    refused = [cgmgr("group", "set", group, word) for word in words]
    hints = {ended.stderr.partition("hint: ")[2].strip() for ended in refused if ended.returncode}

    assert f"cgmgr group rm /cgmgr/{group}" in hints
    ended = cgmgr("group", "rm", f"/cgmgr/{group}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert left(group) == []


@pytest.mark.parametrize(
    "odd",
    ["a b", "-x", ".x", "memory.x", "tab\there", "\x1b[31mred", "caf\xe9", "\udcff", "a;b$(c)"],
)
def test_a_group_of_somebody_else_is_shown_whatever_it_is_called(group: str, odd: str) -> None:
    (pids,) = [path for path in directories(group) if path.parts[4] == "pids"]
    (pids / odd).mkdir()
    full = f"/cgmgr/{group}/{odd}"

    refused = cgmgr("group", "create", full)
    listed = cgmgr("group", "ls")
    rows = json.loads(cgmgr("group", "ls", "--json").stdout)
    tree = cgmgr("group", "tree", group)
    got = cgmgr("group", "get", full)
    changed = cgmgr("group", "set", full, "pids=7")
    held_now = (pids / odd / "pids.max").read_text()
    removed = cgmgr("group", "rm", full)

    if odd not in ("caf\xe9", "a;b$(c)"):
        assert (refused.returncode, "invalid group name" in refused.stderr) == (1, True)
    assert full in [row["name"] for row in rows]
    for shown in (listed, tree, got, changed, removed):
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "\x1b" not in shown.stdout
        assert "\t" not in shown.stdout
    assert held_now == "7\n"
    assert not (pids / odd).exists()


@pytest.mark.parametrize("place", ["/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/none"])
def test_a_path_of_the_file_system_is_no_group(place: str, name: str) -> None:
    ended = cgmgr("group", "create", f"{place}/{name}")
    shown = cgmgr("group", "get", f"{place}/{name}")

    for one in (ended, shown):
        assert one.returncode == 1
        assert f"{place}/{name} is a path of the file system" in one.stderr
        where = place.removeprefix("/sys/fs/cgroup").replace("/pids", "")
        assert f"hint: {where}/{name}\n" in one.stderr


def test_the_driver_that_only_says_it_is_a_dry_run(name: str) -> None:
    said = cgmgr("group", "create", name, "pids=3", "--driver", "dryrun")

    assert said.returncode == 0
    assert said.stdout == cgmgr("group", "create", name, "pids=3", "--dry-run").stdout
    assert left(name) == []


def test_dry_runs_change_nothing(group: str, sleeper: "subprocess.Popen[bytes]") -> None:
    other = f"{group}-other"
    said = {
        words: cgmgr("group", *words.split(), "--dry-run").stdout.splitlines()
        for words in (
            f"create {other} memory=64M pids=3",
            f"set {group} memory=32M",
            f"freeze {group}",
            f"thaw {group}",
            f"kill {group}",
            f"rm -f {group}",
        )
    }

    create, change, freeze, thaw, kill, remove = said.values()
    assert any(line.startswith("mkdir ") and line.endswith(other) for line in create)
    assert any(line.startswith("write 3 > ") and line.endswith("pids.max") for line in create)
    assert any("(was 67108864)" in line for line in change)
    assert len(freeze) == 1
    assert freeze[0].startswith("write FROZEN > " if "freezer" in freeze[0] else "write 1 > ")
    assert thaw
    assert kill == [f"kill -KILL {sleeper.pid}"]
    assert remove[0] == kill[0]
    assert any(line.startswith("rmdir ") for line in remove)
    assert left(other) == []
    assert held(group, "pids.max") == "50"
    assert sleeper.poll() is None
    assert "thawed" in cgmgr("group", "get", group).stdout


# -- run


def test_a_command_runs_in_the_group(group: str) -> None:
    ended = cgmgr(
        "group", "run", group, "pids=40", "--", "sh", "-c", "cat /proc/self/cgroup; exit 3"
    )

    assert ended.returncode == 3
    places = {line.rpartition(":")[2] for line in ended.stdout.splitlines()}
    assert places == {f"/cgmgr/{group}"}
    assert held(group, "pids.max") == "40"


def test_a_group_for_one_command() -> None:
    ended = cgmgr(
        "group", "run", "--temp", "pids=40", "sh", "-c", "cat /proc/self/cgroup | tail -1"
    )

    place = ended.stdout.strip().rpartition(":")[2]
    assert place.startswith("/cgmgr/")
    assert left(place.rpartition("/")[2]) == []


def test_how_it_ended_is_told(group: str) -> None:
    ended = cgmgr("group", "run", "--result=json", group, "python3", "-c", EAT)

    result = json.loads(ended.stderr)
    assert ended.returncode == 137
    assert result["verdict"].startswith("killed: memory limit 64MiB (peak 6")
    assert result["signal"] == signal.SIGKILL
    assert result["cpu_usage_usec"] > 0

    text = cgmgr("group", "run", "--result", "text", group, "true").stderr.splitlines()
    assert text[0] == "exit 0"
    assert {line.split()[0] for line in text[1:]} >= {"time", "cpu", "memory", "tasks"}


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["no-such-command"], 127, "no-such-command: no such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: permission denied"),
        (["sh", "-c", "kill -SEGV $$"], 139, ""),
    ],
    ids=str,
)
def test_its_exit_status(argv: list[str], status: int, message: str) -> None:
    ended = cgmgr("group", "run", "--temp", *argv)

    assert ended.returncode == status
    assert message in ended.stderr


def test_a_timeout_kills_all_of_it(group: str) -> None:
    ended = cgmgr("group", "run", "--timeout=100ms", group, "sh", "-c", "sleep 60 & sleep 60")

    assert ended.returncode == 124
    assert json.loads(cgmgr("group", "get", group, "--json").stdout)["processes"] == []


def test_signals_are_the_commands(group: str) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with started("group", "run", group, "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.wait(30) == 9


@pytest.mark.parametrize("form", [None, "text", "json"])
@pytest.mark.parametrize("temp", [False, True], ids=["named", "temporary"])
def test_a_group_that_is_removed_meanwhile_is_told(group: str, temp: bool, form: str) -> None:
    options = [f"--result={form}"] if form else []
    target = ["--temp"] if temp else [group]
    words = ("sh", "-c", "grep -o 'cgmgr/[^/]*$' /proc/self/cgroup | head -n1; exec sleep 60")
    with started("group", "run", *options, *target, *words) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        name = "/" + running.stdout.readline().strip()
        running.send_signal(signal.SIGSTOP)  # else it may look before the group is gone
        assert cgmgr("group", "rm", "--force", name).returncode == 0
        running.send_signal(signal.SIGCONT)
        assert running.wait(30) == 137
        said = running.stderr.read()
    told = f"group {name}: it was removed meanwhile: what was used, and whether memory ran out"
    assert said.count(told) == 1
    if form == "json":
        found = json.loads(said)
        assert (found["group_gone"], found["cpu_usage_usec"], found["oom_known"]) == (
            True, None, False,
        )  # fmt: skip
    else:
        assert len(said.splitlines()) == (1 if form is None else 3)
    if not temp:
        assert cgmgr("group", "create", group).returncode == 0


def pids_from(running: "subprocess.Popen[str]") -> list[int]:
    assert running.stdout is not None
    return [int(pid) for pid in running.stdout.readline().split()]


def test_killed_itself_it_takes_a_temporary_group_along() -> None:
    """The command, and what that has started, at once."""
    with started("group", "run", "--temp", "sh", "-c", "sleep 60 & echo $$ $!; wait") as running:
        held = [os.pidfd_open(pid) for pid in pids_from(running)]
        running.kill()
        assert running.wait(30) == -signal.SIGKILL
        for pidfd in held:
            assert select.select([pidfd], [], [], 30)[0]
            os.close(pidfd)
    assert cgmgr("gc").returncode == 0


def test_killed_itself_it_leaves_a_named_group_alone(group: str) -> None:
    script = "sleep 60 & echo $$ $!; wait"
    with started("group", "run", group, "sh", "-c", script) as running:
        pids = pids_from(running)
        running.kill()
        assert running.wait(30) == -signal.SIGKILL
        assert json.loads(cgmgr("group", "get", group, "--json").stdout)["processes"] == sorted(
            pids
        )
        assert cgmgr("group", "kill", group).returncode == 0


def test_what_the_terminal_sends_comes_once(group: str) -> None:
    """The command is in the terminal's foreground, and gets ^C from it as we do."""
    script = "trap 'echo caught' INT; echo ready; read line; read line; echo $line"
    screen = Screen("group", "run", group, "bash", "-c", script)

    screen.until("ready")
    screen.type("\x03")
    screen.until("caught")
    screen.type("one\rtwo\r")
    screen.until("two\r\ntwo")

    assert screen.end() == 0
    assert screen.seen.count("caught") == 1


def test_a_dry_run_of_a_command() -> None:
    lines = cgmgr("group", "run", "--temp", "--dry-run", "pids=40", "true").stdout.splitlines()

    assert any(line.startswith("write 40 > ") for line in lines)
    assert lines[-1] == "exec true"


# -- the others


def test_version_and_help() -> None:
    version = cgmgr("--version").stdout
    assert version == f"cgmgr {package.__version__}\n"
    assert cgmgr("help", "group", "set").stdout == cgmgr("group", "set", "--help").stdout
    assert cgmgr("help", "run").stdout == cgmgr("run", "--help").stdout
    bare = cgmgr()
    assert bare.returncode == 0
    assert bare.stdout == cgmgr("--help").stdout
    for command in ("run", "group", "doctor", "gc", "unshare"):
        assert f"  {command} " in bare.stdout


def test_doctor() -> None:
    ended = cgmgr("doctor")
    findings = json.loads(cgmgr("doctor", "--json").stdout)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert {finding["level"] for finding in findings} <= {"ok", "note", "no"}
    subjects = [finding["subject"] for finding in findings]
    assert {"hierarchy", "memory", "cpu", "pids", "io"} <= set(subjects)
    for finding in findings:
        assert finding["text"].split()[0] in ended.stdout
        assert set(finding) == {"subject", "level", "text", "fix"}
    narrow = cgmgr("doctor", environ={"COLUMNS": "40"}).stdout.splitlines()
    fixes = {line for f in findings for line in (f["fix"] or "").splitlines()}
    for line in narrow:
        assert len(line) <= 40 or line.strip() in fixes, "what is to be pasted stays whole"


@pytest.mark.parametrize(
    "words", [["doctor"], ["run", "--help"], ["group", "ls", "--json"]], ids=str
)
def test_a_closed_pipe_is_no_error(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    # buffered, so that something is left to be written at the very end
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    try:
        ended = subprocess.run(
            [PROGRAM, *words],
            env=environ,
            check=False,
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(write)

    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("command", "status", "output"),
    [
        ("group ls >&-", 0, ""),
        ("group ls >/dev/full", 1, "cgmgr: write standard output: no space left on device\n"),
        ("run nope 2>&-", 125, ""),
        ("run host sh -c 'echo a; echo b >&2; exit 3' >&- 2>&-", 3, ""),
        ("run -i host cat <&-", 0, ""),
        ("group run --temp cat <&-", 0, ""),
    ],
)
def test_standard_streams_may_be_closed_or_full(command: str, status: int, output: str) -> None:
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}

    ended = subprocess.run(
        ["sh", "-c", f"{PROGRAM} {command}"],
        env=environ,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (status, output)


def test_as_a_module() -> None:
    import sys

    ended = subprocess.run(
        [sys.executable, "-m", "cgmgr", "--version"],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path("/"),
        timeout=60,
    )

    assert ended.stdout == f"cgmgr {package.__version__}\n"


def test_a_test_that_fails_leaves_no_command_and_may_ignore_interrupts() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignored = -1
    try:
        with (
            pytest.raises(ZeroDivisionError),
            started("group", "run", "--temp", "sh", "-c", "echo ready; exec sleep 60") as running,
        ):
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            (ignored,) = [
                int(line.split()[1], 16)
                for line in Path(f"/proc/{running.pid}/status").read_text().splitlines()
                if line.startswith("SigIgn")
            ]
            raise ZeroDivisionError
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ignored >> (signal.SIGINT - 1) & 1
    assert running.returncode == -signal.SIGKILL
    assert cgmgr("gc").returncode == 0


def test_a_timeout_ends_what_is_frozen_meanwhile(group: str) -> None:
    words = ("sh", "-c", "echo ready; exec sleep 60")
    with started("group", "run", "--timeout", "3s", group, *words) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert cgmgr("group", "freeze", group).returncode == 0
        assert running.wait(30) == 124
