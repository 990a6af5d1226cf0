"""The small parsers of the command line, and how it shows things."""

import io
import os
import signal
from pathlib import Path

import pytest

from cgmgr import facts
from cgmgr.cli import failing, foreground, group_run, output, run_options, settings, usage
from cgmgr.cli.failing import UsageError
from cgmgr.cli.run_flags import GRAMMAR
from cgmgr.errors import CgmgrError, RequestError, kernel_error
from cgmgr.host import Host
from cgmgr.manager import Manager
from cgmgr.resources import Resources
from cgmgr.stats import CpuStats, MemoryStats, PidsStats, Stats
from cgmgr.units import MAX
from tests.fakefs import unpack

# -- run


@pytest.mark.parametrize(
    ("words", "root", "argv"),
    [
        pytest.param("host ps -ef", "host", ("ps", "-ef"), id="the host"),
        pytest.param("host", "host", ("/bin/sh",), id="the host's shell"),
        pytest.param("--rootfs /r ls host", "/r", ("ls", "host"), id="a directory has no image"),
        pytest.param("--rootfs host ls", "./host", ("ls",), id="a directory called host"),
        pytest.param("--entrypoint e host a b", "host", ("e", "a", "b"), id="entrypoint first"),
        pytest.param("--entrypoint e host", "host", ("e",), id="entrypoint alone"),
    ],
)
def test_image_and_command(words: str, root: str, argv: tuple[str, ...]) -> None:
    assert run_options.command_of(GRAMMAR.parse(words.split())) == (root, argv)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no image: write host, or --rootfs DIR"),
        ("debian ls", "no image 'debian'"),
        ("--rootfs /r", "no command"),
        ("host --memory 64m true", "--memory comes too late: options stand before the image"),
    ],
)
def test_no_image_or_no_command(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_options.command_of(GRAMMAR.parse(words.split()))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("-i host --memory 64m true -x", "cgmgr run -i --memory 64m host true -x"),
        ("host --nope true", "cgmgr run --help"),
    ],
)
def test_options_behind_the_image_are_told_their_place(words: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        run_options.command_of(GRAMMAR.parse(words.split()))
    assert raised.value.hint == hint


def test_a_parent_is_no_path_of_the_file_system() -> None:
    host = Host.detect()
    mountpoint = host.hierarchies[0].mountpoint
    for parent, hint in (
        (mountpoint, None),
        (f"{mountpoint}/a", "--cgroup-parent /a"),
        ("/sys/fs/cgroup", None),
        ("/sys/fs/cgroup/", None),
        ("/sys/fs/cgroup/no-mount/b", "--cgroup-parent /no-mount/b"),
        ("/sys/fs", None),
    ):
        with pytest.raises(RequestError, match="must be the name of a group") as raised:
            run_options.check_parent(GRAMMAR.parse([f"--cgroup-parent={parent}"]), host)
        assert raised.value.hint == hint
        assert ("usual one" in str(raised.value)) is (hint is None)
    for parent in ("/a", "sys/fs/cgroup", "/sys2", "/sys/fs/cgroups", ""):
        run_options.check_parent(GRAMMAR.parse([f"--cgroup-parent={parent}"]), host)


def test_a_bad_parent_is_told_by_its_flag(tmp_path: Path) -> None:
    host = unpack("debian12-unified", tmp_path)
    with pytest.raises(RequestError, match=r"^--cgroup-parent a/\.\./b: "):
        run_options.group_name(GRAMMAR.parse(["--cgroup-parent", "a/../b"]), "x", Manager(host))


def test_environment_comes_from_files_then_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "1")
    monkeypatch.delenv("NOWHERE", raising=False)
    path = tmp_path / "file"
    path.write_text("# a comment\n\n  A=from file\nB=x=y\nHERE\nNOWHERE\n")

    given = GRAMMAR.parse(["-e", "A=last", "--env-file", str(path), "-e", "NOWHERE", "host"])

    assert run_options.environment(given) == ("A=from file", "B=x=y", "HERE=1", "A=last")


def test_only_a_newline_ends_a_line_of_an_environment_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(
        "\ufeffA=1\r\nB=form\x0cfeed\u2028and\x1cmore\nC=\ud83d\n".encode("utf-8", "surrogatepass")
    )

    first, second, _ = run_options.environment(GRAMMAR.parse(["--env-file", str(path), "host"]))

    assert (first, second) == ("A=1", "B=form\x0cfeed\u2028and\x1cmore")


def test_an_empty_name_is_no_variable() -> None:
    with pytest.raises(UsageError, match="--env '': write NAME=VALUE or NAME"):
        run_options.environment(GRAMMAR.parse(["-e", "", "host"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [("A B=1\n", "line 1: invalid name 'A B'"), ("\n=1\n", "line 2: invalid name ''")],
)
def test_a_bad_environment_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)

    with pytest.raises(UsageError, match=message):
        run_options.environment(GRAMMAR.parse(["--env-file", str(path), "host"]))


def test_a_missing_environment_file_is_named() -> None:
    with pytest.raises(UsageError, match="--env-file /no/such: no such file or directory"):
        run_options.environment(GRAMMAR.parse(["--env-file=/no/such", "host"]))


ALL = ("mount", "uts", "pid", "network", "ipc", "cgroup")


@pytest.mark.parametrize(
    ("words", "shared"),
    [
        ("", set[str]()),
        ("--network none --pid=private --cgroupns private", set[str]()),
        ("--network host", {"network"}),
        ("--net=host --ipc host", {"network", "ipc"}),
        ("--pid host --uts host --cgroupns host", {"pid", "uts", "cgroup"}),
    ],
)
def test_namespaces(words: str, shared: set[str]) -> None:
    given = GRAMMAR.parse([*words.split(), "host"])

    assert set(ALL) - set(run_options.own_namespaces(given, ALL)) == shared


@pytest.mark.parametrize("words", ["--network bridge", "--pid container:x", "--cgroupns no"])
def test_namespaces_that_are_not_there(words: str) -> None:
    with pytest.raises(UsageError, match="there are"):
        run_options.own_namespaces(GRAMMAR.parse([*words.split(), "host"]), ALL)


@pytest.mark.parametrize(
    ("text", "soft", "hard"),
    [("nofile=10", 10, 10), ("nofile=10:20", 10, 20), ("core=0:-1", 0, -1), ("cpu=-1", -1, -1)],
)
def test_ulimits(text: str, soft: int, hard: int) -> None:
    (limit,) = run_options.ulimits(GRAMMAR.parse(["--ulimit", text, "host"]))

    assert (limit.name, limit.soft, limit.hard) == (text.partition("=")[0], soft, hard)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nofiles=1", "unknown limit 'nofiles'"),
        ("nofile", "write NAME=SOFT"),
        ("nofile=", "write NAME=SOFT"),
        ("nofile=1:x", "write NAME=SOFT"),
        ("nofile=20:10", "the soft limit is above the hard one"),
        ("nofile=-1:10", "the soft limit is above the hard one"),
    ],
)
def test_bad_ulimits(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=f"--ulimit '{text.partition('=')[0]}.*{message}"):
        run_options.ulimits(GRAMMAR.parse(["--ulimit", text, "host"]))


@pytest.mark.parametrize(
    ("words", "stay"),
    [
        ([], True),
        (["--security-opt=no-new-privileges"], True),
        (["--security-opt=no-new-privileges:true"], True),
        (["--security-opt", "no-new-privileges=false"], False),
    ],
    ids=str,
)
def test_new_privileges(words: list[str], stay: bool) -> None:
    assert run_options.privileges_stay(GRAMMAR.parse([*words, "host"])) is stay


@pytest.mark.parametrize(
    ("words", "writable"),
    [
        ([], False),
        (["--security-opt=writable-cgroups"], True),
        (["--security-opt=writable-cgroups=true", "--security-opt=no-new-privileges"], True),
        (["--security-opt", "writable-cgroups=false"], False),
    ],
    ids=str,
)
def test_writable_cgroups(words: list[str], writable: bool) -> None:
    asked = run_options.request(GRAMMAR.parse([*words, "host"]))
    assert asked.writable_cgroups is writable
    assert asked.no_new_privileges


@pytest.mark.parametrize(
    ("words", "profile"),
    [
        ([], "builtin"),
        (["--security-opt", "seccomp=builtin"], "builtin"),
        (["--security-opt=seccomp=unconfined"], "unconfined"),
        (["--security-opt=seccomp:unconfined"], "unconfined"),
        (["--security-opt=seccomp=/a:b=c.json", "--security-opt=no-new-privileges"], "/a:b=c.json"),
        (["--security-opt=seccomp=a.json", "--security-opt=seccomp=unconfined"], "unconfined"),
    ],
    ids=str,
)
def test_the_profile_of_system_calls(words: list[str], profile: str) -> None:
    asked = run_options.request(GRAMMAR.parse([*words, "host"]))
    assert asked.seccomp == profile
    assert asked.no_new_privileges


@pytest.mark.parametrize("word", ["apparmor=x", "seccomp", "seccomp=", "no-new-privileges=no"])
def test_a_security_option_that_is_not_there_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"{word}'.*seccomp=FILE"):
        run_options.request(GRAMMAR.parse([f"--security-opt={word}", "host"]))


# -- group run


SPLIT: list[tuple[str, bool, tuple[str | None, list[str], list[str]]]] = [
    ("g ls -l", False, ("g", [], ["ls", "-l"])),
    ("g memory=1M cpus=1 -- ls -l", False, ("g", ["memory=1M", "cpus=1"], ["ls", "-l"])),
    ("g memory=1M make A=1", False, ("g", ["memory=1M"], ["make", "A=1"])),
    ("memory=1M ls", True, (None, ["memory=1M"], ["ls"])),
    ("-- A=1 x", True, (None, [], ["A=1", "x"])),
    ("./a=b x", True, (None, [], ["./a=b", "x"])),
]


@pytest.mark.parametrize(("rest", "temp", "expected"), SPLIT)
def test_group_settings_and_command(
    rest: str, temp: bool, expected: tuple[str | None, list[str], list[str]]
) -> None:
    assert group_run.split(rest.split(), temp) == expected


@pytest.mark.parametrize(
    ("rest", "temp", "message"),
    [
        ("", False, "no group"),
        ("-- ls", False, "no group"),
        ("g", False, "no command"),
        ("memory=1M", True, "no command"),
        ("g --", False, "no command"),
        ("g --timeout 1 ls", False, "--timeout comes too late"),
    ],
)
def test_group_or_command_missing(rest: str, temp: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        group_run.split(rest.split(), temp)


# -- small words


@pytest.mark.parametrize("text", ["TERM", "SIGTERM", "term", "15"])
def test_signals_by_name_and_number(text: str) -> None:
    assert settings.signal_number(text) == signal.SIGTERM
    assert settings.signal_name(signal.SIGTERM) == "TERM"


@pytest.mark.parametrize("text", ["", "NOPE", "0", "65", "-9", "٩"])
def test_signals_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="unknown signal"):
        settings.signal_number(text)


def test_device_numbers() -> None:
    assert facts.device_number("/dev/null") == ("c", 1, 3)
    with pytest.raises(RequestError, match="/dev/no: no such file"):
        facts.device_number("/dev/no")
    with pytest.raises(RequestError, match="/dev is not a device"):
        facts.device_number("/dev")
    with pytest.raises(RequestError, match="embedded null"):
        facts.device_number("/dev/\0")


# -- output


def test_a_table_fits_or_becomes_paragraphs() -> None:
    head = ("NAME", "WHAT")
    rows = [("a", "b" * 50), ("cc", "d")]

    assert output.table(head, rows, 1000) == ["NAME  WHAT", f"a     {'b' * 50}", "cc    d"]
    assert output.table(head, rows, 20) == ["NAME  WHAT", f"a     {'b' * 11}...", "cc    d"]
    narrow = output.table(("NAME", "WHAT"), [("a" * 20, "b" * 50)], 25)
    assert narrow == [f"NAME {'a' * 20}", f"WHAT {'b' * 17}..."]


def test_columns_are_told_or_unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    try:
        monkeypatch.setenv("COLUMNS", "40")
        assert output.columns(write) == 40
        monkeypatch.setenv("COLUMNS", "1")
        assert output.columns(write) == output.NARROWEST
        for nonsense in ("", "x", "-3", "0"):
            monkeypatch.setenv("COLUMNS", nonsense)
            assert output.columns(write) == output.UNLIMITED
    finally:
        os.close(read)
        os.close(write)


def test_text_from_elsewhere_cannot_talk_to_the_terminal() -> None:
    assert output.printable("a\x1b[31m\nb\udc80") == "a\\x1b[31m\\nb\\udc80"


def test_json_of_records() -> None:
    stats = Stats(memory=MemoryStats(max_bytes=MAX, stat={"anon": 1}), pids=PidsStats(current=3))

    plain = output.plain(stats)

    assert plain["memory"]["max_bytes"] == "max"
    assert plain["memory"]["stat"] == {"anon": 1}
    assert plain["memory"]["usage_bytes"] is None
    assert plain["pids"]["current"] == 3
    assert plain["cpu"] is None


def test_use_beside_its_limit() -> None:
    stats = Stats(
        memory=MemoryStats(usage_bytes=12 << 20, max_bytes=64 << 20, events={"oom_kill": 2}),
        cpu=CpuStats(
            usage_usec=1_500_000,
            quota_us=50_000,
            period_us=100_000,
            nr_periods=20,
            nr_throttled=10,
            throttled_usec=2_000_000,
        ),
        pids=PidsStats(current=5, max=MAX),
    )

    assert usage.parts(stats) == [
        "memory 12MiB of 64MiB",
        "oom kills 2",
        "cpu time 1.50s, at most 0.5 cpus",
        "throttled 2.00s in 10 of 20 periods",
        "tasks 5",
    ]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ({"cpus": "0.5"}, {"cpus": "0.5"}),
        (
            {"cpu_quota": "25ms", "cpu_period": "50ms"},
            {"cpu_quota": "25000us", "cpu_period": "50000us"},
        ),
        ({"cpu_quota": "max"}, {"cpu_quota": "max"}),
        ({"memory": "64M", "cpus": "1/8"}, {"memory": "64M", "cpus": "0.125"}),
    ],
)
def test_asked_cpus_are_shown_where_that_says_the_same(
    words: dict[str, str], shown: dict[str, str]
) -> None:
    assert usage.asked(Resources.of(**words)) == shown


# -- failing


def failure(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def command(_words: list[str]) -> int:
        raise error

    status = failing.guarded(command, [])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (CgmgrError("no way", hint="try\nthis"), 1, "cgmgr: no way\nhint: try\n      this\n"),
        (UsageError("no such word"), 2, "cgmgr: no such word\n"),
        (kernel_error("exec", "/x", 2), 127, "cgmgr: exec /x: no such file or directory\n"),
        (kernel_error("exec", "/x", 13), 126, "cgmgr: exec /x: permission denied\n"),
        (kernel_error("read", "/x", 2), 1, "cgmgr: read /x: no such file or directory\n"),
        (PermissionError(13, "Permission denied", "/y"), 1, "cgmgr: /y: permission denied\n"),
        (CgmgrError("a\x1b[2Jb"), 1, "cgmgr: a\\x1b[2Jb\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=repr,
)
def test_an_error_is_two_lines_and_a_status(
    error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failure(error, capsys) == (status, text)


def test_notes_come_between_message_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    error = CgmgrError("no way", hint="try")
    error.add_note("not undone: x")

    assert failure(error, capsys)[1] == "cgmgr: no way\nnot undone: x\nhint: try\n"


def test_a_fault_of_our_own_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_words: list[str]) -> int:
        raise LookupError("our own")

    with pytest.raises(LookupError):
        failing.guarded(command, [])
    assert failing.guarded(command, [], failure=125) == 125
    assert "Traceback" in capsys.readouterr().err


def test_complaints_to_nobody_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(9, "bad file descriptor")

    monkeypatch.setattr("sys.stderr", Closed())
    monkeypatch.setattr(failing, "_mute", lambda fd: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    failing.complain("anybody?")


# -- signals


class Child:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.got: list[int] = []

    def send_signal(self, number: int, /) -> None:
        self.got.append(number)


def test_a_signal_before_there_is_a_process_is_remembered() -> None:
    with foreground.Foreground() as held:
        signal.raise_signal(signal.SIGTERM)
        assert held.pending == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert held.status(None) == 128 + signal.SIGTERM


def test_signals_go_to_the_child_then_nowhere() -> None:
    child = Child(os.getpid())
    with foreground.Foreground() as held:
        signal.raise_signal(signal.SIGWINCH)
        held.follow(child, first=False)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        held.finish()
        signal.raise_signal(signal.SIGINT)

    assert held.pending is None
    assert child.got == [signal.SIGTERM, signal.SIGINT]


def test_a_signal_between_start_and_follow_is_passed_on() -> None:
    child = Child(os.getpid())
    with foreground.Foreground() as held:
        signal.raise_signal(signal.SIGTERM)
        held.follow(child, first=False)

    assert child.got == [signal.SIGTERM]


def test_process_1_is_killed_by_what_it_has_no_handler_for() -> None:
    child = Child(os.getpid())  # which catches SIGINT and SIGTERM while a Foreground is entered
    with foreground.Foreground() as held:
        held.follow(child, first=True)
        signal.raise_signal(signal.SIGTERM)
        assert (child.got, held.killed_by) == ([signal.SIGTERM], None)
        held._take(signal.SIGIO, None)  # pyright: ignore[reportPrivateUsage]
        assert (child.got[1:], held.killed_by) == ([signal.SIGKILL], signal.SIGIO)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in foreground.FORWARDED]
    with foreground.Foreground(timeout_s=60):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in foreground.FORWARDED] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_whether_a_process_handles_a_signal() -> None:
    me = os.getpid()
    assert foreground.handles(me, signal.SIGINT)
    assert not foreground.handles(me, signal.SIGIO)
    assert foreground.handles(-1, signal.SIGIO), "where it cannot be told it has its say"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    try:
        assert foreground.handles(me, signal.SIGIO)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
