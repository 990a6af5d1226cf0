"""The outer side of the guests, without one: what is told about them, and when they end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .vm import guest, image, inside, lane, results, stage

ROOT = Path(__file__).parents[1]


# --- results -------------------------------------------------------------------------------------


class Outside:
    """Keeps what it is told (`results.Outer`)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.reports: list[dict[str, Any]] = []
        self.more = 0

    def grow(self, count: int) -> None:
        self.more += count

    def start(self, test: dict[str, Any]) -> None:
        self.told.append(("start", test["nodeid"]))

    def finish(self, test: dict[str, Any]) -> None:
        self.told.append(("finish", test["nodeid"]))

    def show(self, report: dict[str, Any]) -> None:
        self.told.append((report["outcome"], report["nodeid"]))
        if report["outcome"] != "passed":
            self.reports.append(report)


def report(name: str, outcome: str = "passed", when: str = "call") -> dict[str, Any]:
    file = "tests/conformance/test_a.py"
    found = {"nodeid": f"{file}::{name}", "location": [file, 1, name]}
    return {"report": {**found, "outcome": outcome, "when": when}}


def started(name: str) -> dict[str, Any]:
    file = "tests/conformance/test_a.py"
    return {"started": {"nodeid": f"{file}::{name}", "location": [file, 1, name]}}


def ended(status: int | None = 0, trouble: str = "", output: str = "") -> guest.Ended:
    return guest.Ended(status, 1.0, trouble, output, console="the console's last words")


def told(*events: dict[str, Any]) -> tuple[results.Results, Outside]:
    outside = Outside()
    found = results.Results("legacy", outside)
    for event in events:
        found.take(event)
    return found, outside


@pytest.mark.parametrize(
    ("nodeid", "outer"),
    [
        ("tests/conformance/test_a.py::test_b[x/y]", "tests/vm/legacy/conformance/test_a.py"),
        ("tests/test_a.py::test_b[x/y]", "tests/vm/legacy/test_a.py"),
        ("elsewhere/test_a.py::test_b[x/y]", "tests/vm/legacy/elsewhere/test_a.py"),
    ],
)
def test_outer_id_names_the_guest(nodeid: str, outer: str) -> None:
    assert results.outer_id(nodeid, "legacy") == f"{outer}::test_b[x/y]"


def test_each_test_is_passed_on() -> None:
    found, outside = told(
        {"collected": 2},
        report("test_b", when="setup"),
        report("test_b"),
        report("test_b", when="teardown"),
        report("test_c", "skipped", when="setup"),
        {"ended": 0},
    )

    file = "tests/vm/legacy/conformance/test_a.py"
    assert outside.told == [
        *[("passed", f"{file}::test_b")] * 3,
        ("skipped", f"{file}::test_c"),
    ]
    assert outside.more == 2
    assert found.summary() == "1 passed, 1 skipped"
    assert found.trouble(ended()) == ""


TROUBLE: dict[str, tuple[list[dict[str, Any]], guest.Ended, str]] = {
    "none": ([{"collected": 1}, report("a"), {"ended": 0}], ended(), ""),
    "a failed test speaks for itself": (
        [{"collected": 1}, report("a", "failed"), {"ended": 1}],
        ended(1),
        "",
    ),
    "so does one whose setup failed": (
        [{"collected": 1}, report("a", "failed", "setup"), {"ended": 1}],
        ended(1),
        "",
    ),
    "and with -x the rest is not run": (
        [{"collected": 3}, report("a", "failed"), {"ended": 1}],
        ended(1),
        "",
    ),
    "hung": (
        [{"collected": 2}, report("a"), started("b")],
        ended(None, "was not off after 300 s and was killed"),
        "was not off after 300 s and was killed\nduring tests/conformance/test_a.py::b",
    ),
    "died": ([], ended(None, "went off before the job had ended"), "went off before"),
    "could not be prepared": ([], ended(1), "the tests did not run to their end: the job's status"),
    "wrong words": ([{"ended": 4}], ended(4), "the tests did not run to their end"),
    "nothing collected": ([{"collected": 0}, {"ended": 5}], ended(5), "no test was collected"),
    "fewer than collected": (
        [{"collected": 2}, report("a"), {"ended": 0}],
        ended(),
        "2 tests were collected, and 1 told how they ended",
    ),
    "failed without a failure": (
        [{"collected": 1}, report("a"), {"ended": 1}],
        ended(1),
        "the run failed, and no test did",
    ),
}


@pytest.mark.parametrize(("events", "how", "wanted"), TROUBLE.values(), ids=TROUBLE)
def test_trouble(events: list[dict[str, Any]], how: guest.Ended, wanted: str) -> None:
    said = told(*events)[0].trouble(how)

    assert said.startswith(f"guest legacy: {wanted}" if wanted else "")
    assert bool(said) == bool(wanted)
    assert ("the console's last words" in said) == bool(wanted)


def test_long_output_is_cut_to_its_end() -> None:
    lines = "\n".join(str(number) for number in range(1000))
    said = told()[0].trouble(ended(None, "died", lines)).splitlines()

    assert "999" in said
    assert "100" not in said
    assert "(940 lines before)" in said


def test_reader_leaves_an_unfinished_line_for_later(tmp_path: Path) -> None:
    file = tmp_path / "results"
    reader = results.Reader(file)
    assert reader.new() == []

    file.write_text('{"collected": 1}\n{"sta')
    assert reader.new() == [{"collected": 1}]
    with file.open("a") as stream:
        stream.write('rted": "b"}\n')
    assert reader.new() == [{"started": "b"}]
    assert reader.new() == []


INNER = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.mark.skip(reason="no such thing")
def test_skips(): pass
"""


def test_inside_writes_what_results_read(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.vm.inside", "--rootdir=."]
    words += ["--continue-on-collection-errors", "-p", "no:cacheprovider", "."]
    file = tmp_path / "results"
    environ = {**os.environ, inside.VARIABLE: str(file), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(words, cwd=tmp_path, env=environ, check=False, capture_output=True)

    found, outside = told(*results.Reader(file).new())

    assert ran.returncode == found.exit_status == 1
    assert found.collected == 3
    assert found.summary() == "1 passed, 1 failed, 1 error, 1 skipped"
    assert ("failed", "tests/vm/legacy/test_broken.py") in outside.told
    restore = pytestconfig.hook.pytest_report_from_serializable
    reports = [restore(config=pytestconfig, data=report) for report in outside.reports]
    (failed,) = [report for report in reports if report.nodeid.endswith("::test_fails")]
    assert "assert 1 == 2" in failed.longreprtext
    (skipped,) = [report for report in reports if report.nodeid.endswith("::test_skips")]
    assert skipped.longrepr[2] == "Skipped: no such thing"
    assert isinstance(skipped.longrepr, tuple)  # as pytest's own summary insists on


# --- guest ---------------------------------------------------------------------------------------


def run(folder: guest.Folder, code: str, limit_s: float = 60) -> guest.Ended:
    """As a guest would be run, with a shell in QEMU's place."""
    return guest.run(["sh", "-c", code], folder, "the script", limit_s, lambda: None)


@pytest.mark.parametrize(
    ("code", "status", "trouble"),
    [
        ("echo 3 >share/status; echo all >share/output", 3, ""),
        ("echo oops >&2; exit 1", None, "QEMU ended with 1: oops"),
        ("true", None, "went off before the job had ended"),
    ],
)
def test_end_of_a_guest(code: str, status: int | None, trouble: str, tmp_path: Path) -> None:
    folder = guest.Folder(tmp_path)
    found = run(folder, f"cd {tmp_path}; {code}")

    assert (found.status, found.trouble) == (status, trouble)
    assert found.output == ("all\n" if status else "")
    assert (folder.share / "script").read_text() == "the script"


def test_guest_that_does_not_end_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    found = run(guest.Folder(tmp_path / "guest"), f"echo $$ >{pid}; exec sleep infinity", 0.5)

    assert found.trouble == "was not off after 0 s and was killed"
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_guest_is_killed_when_the_run_is_broken_off(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def look() -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    words = ["sh", "-c", f"echo $$ >{pid}; exec sleep infinity"]
    with pytest.raises(KeyboardInterrupt):
        guest.run(words, guest.Folder(tmp_path / "guest"), "", 60, look)

    assert not Path("/proc", pid.read_text().strip()).exists()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_guest_dies_with_the_run(tmp_path: Path) -> None:
    """The first words of the command line see to that; QEMU is replaced by something small."""
    words = guest.command(image.Image(tmp_path), "unified", guest.Folder(tmp_path / "guest"), {})
    before = words[: words.index("qemu-system-x86_64")]
    code = f"""
import subprocess, time
process = subprocess.Popen({before!r} + ["sh", "-c", "echo $$; exec sleep infinity"])
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        descriptor = os.pidfd_open(pid) if Path(f"/proc/{pid}").exists() else None
    if descriptor is not None:
        with os.fdopen(descriptor) as _:
            deadline = time.monotonic() + 10
            while Path(f"/proc/{pid}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)


@pytest.mark.parametrize("layout", guest.LAYOUTS)
def test_command_line_names_layout_and_disks(layout: str, tmp_path: Path) -> None:
    disks = {"checkout": tmp_path / "a,b.img"}
    words = guest.command(image.Image(tmp_path), layout, guest.Folder(tmp_path / "g"), disks)

    assert any(word.endswith(guest.LAYOUTS[layout]) for word in words)
    assert sum(word.startswith("virtio-blk-pci") for word in words) == 3
    assert any(word.endswith("/a,,b.img") for word in words)


# --- what is asked for ---------------------------------------------------------------------------


def test_script_takes_further_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGMGR_BUS", "pydbus")
    said = lane.script("hybrid", lane.Asked(("tests/root/test_gc.py",), ("-k", "a or b", "-x")))

    assert "export CGMGR_GUEST=hybrid\n" in said
    assert "export CGMGR_BUS=pydbus\n" in said
    assert said.endswith(" tests/root/test_gc.py -k 'a or b' -x\n")


# --- stage ---------------------------------------------------------------------------------------


def test_tools_come_with_what_they_need() -> None:
    found = stage.closure(("pytest", "cgmgr"))

    assert {"pluggy", "iniconfig", "jeepney", "psutil", "typer", "cgmgr"} <= set(found)
    assert not {"mypy", "pydbus", "pyright"} & set(found)


@pytest.mark.parametrize(
    ("layout", "tests", "runs"),
    [
        ("hybrid", (), "tests/conformance\n"),
        ("mixed", (), "tests/conformance/test_systemd.py\n"),
        ("mixed", ("tests/conformance/test_bus.py",), "tests/conformance/test_bus.py\n"),
    ],
    ids=["the suite", "a shorter list", "as asked"],
)
def test_what_a_guest_runs(layout: str, tests: tuple[str, ...], runs: str) -> None:
    text = lane.script(layout, lane.Asked(tests=tests, arguments=()))
    assert text.endswith(runs)
    assert all(Path(ROOT, word).exists() for word in text.split() if word.startswith("tests/conf"))
