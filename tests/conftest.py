"""What every test run gets: lanes, one parent for all processes, and a look at what is left.

Law: wiring only; what it wires lives in lanes, supervisor and leaks.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from . import lanes, leaks, supervisor, support

ROOT = Path(__file__).parent.parent
TOKEN = f"cgmgr-test-{os.getpid()}"

# The machine is shared and slow at times: how long an example takes says nothing.
hypothesis.settings.register_profile("cgmgr", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "cgmgr")

_watch = pytest.StashKey[leaks.Watch]()
_unclear = pytest.StashKey[list[leaks.Leak]]()
_shown = pytest.StashKey[list[support.Shown]]()


# A shell starts what it puts into the background with ^C ignored, and cgmgr leaves that as it is.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    names = [lane.name for lane in lanes.LANES]
    parser.addoption("--lane", action="append", choices=names, help="only these lanes' tests")
    parser.addoption("--guest-args", help="for pytest in each guest: --guest-args='-k memory -x'")
    parser.addoption("--guest-tests", help="run in each guest: 'tests/root/test_gc.py tests/x'")
    parser.addoption("--fill-in", action="store_true", help="write README's table of the guests")
    parser.addoption("--guest-limit", help="seconds that one guest may take")


def _lanes_asked_for(config: pytest.Config) -> list[str]:
    chosen: list[str] | None = config.getoption("--lane")
    return chosen or [lane.name for lane in lanes.LANES]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    Path("/proc/self/comm").write_text(leaks.RUN_COMM)
    parent = supervisor.supervise()
    supervisor.finish_on_sigterm()
    session.config.stash[_watch] = leaks.Watch(parent, TOKEN, _state_roots())


def _state_roots() -> tuple[str, ...]:
    """Where cgmgr keeps its records and images, for root and for others (docs: rootless)."""
    if os.geteuid() == 0:
        return ("/run/cgmgr", "/var/lib/cgmgr")
    run = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    return (f"{run}/cgmgr", str(Path.home() / ".local/share/cgmgr"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    wanted = lanes.lane_of(collection_path).name in _lanes_asked_for(config)
    return None if wanted or collection_path.is_dir() else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lanes.mark(items)


@pytest.fixture(scope="session")
def run_token() -> str:
    """A name of this run alone.

    A group, container or file that outlives a process bears it, so that a leak is told apart from
    what another run on the same machine is at.
    """
    return TOKEN


@pytest.fixture(scope="session", autouse=True)
def _folders_of_the_run(  # pyright: ignore[reportUnusedFunction]
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    request.config.stash[_watch].folders = (str(tmp_path_factory.getbasetemp()),)
    yield


def pytest_configure(config: pytest.Config) -> None:
    shown: list[support.Shown] = []
    config.stash[_shown] = shown

    class Collector:
        @staticmethod
        def pytest_runtest_logreport(report: pytest.TestReport) -> None:
            if report.when == "call" and report.passed:
                shown.extend(support.shown_by(report.nodeid, report.user_properties))

    config.pluginmanager.register(Collector())


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    _compare_the_table(session)
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.getoption("--lane"):
        session.exitstatus = pytest.ExitCode.OK  # the summary says that the lane is empty
    if _watch not in config.stash:
        return
    _let_go()
    left, config.stash[_unclear] = config.stash[_watch].left()
    if left:
        _report_as_error(session, left)


def _let_go() -> None:
    """End what lives as long as this process does, by design: garbage, and the spawner of cgmgr."""
    gc.collect()
    link = sys.modules.get("cgmgr.spawn.link")
    if link is not None:
        link.shutdown()


def _compare_the_table(session: pytest.Session) -> None:
    """What all guests showed is what README says, or is written there."""
    shown = session.config.stash[_shown]
    everywhere = {one.layout for one in shown} >= set(support.LAYOUTS)
    part = session.config.getoption("--guest-args") or session.config.getoption("--guest-tests")
    if not everywhere or part:
        return
    readme = ROOT / "README.md"
    text = readme.read_text()
    true = support.filled_in(text, support.table(shown))
    if session.config.getoption("--fill-in"):
        readme.write_text(true)
    elif true != text and session.exitstatus == pytest.ExitCode.OK:
        words = "README's table is not what the guests showed; make support writes this:"
        _report_error(session, "the_table_is_true", f"{words}\n{support.table(shown)}")


def _report_as_error(session: pytest.Session, left: list[leaks.Leak]) -> None:
    listed = "\n".join(f"  {leak}" for leak in left)
    _report_error(session, "nothing_is_left_behind", f"this run left on the machine:\n{listed}")


def _report_error(session: pytest.Session, name: str, words: str) -> None:
    """Count it among the errors, so that pytest's closing line tells it too."""
    report = pytest.TestReport(
        nodeid=f"tests/conftest.py::{name}",
        location=("tests/conftest.py", None, name),
        keywords={},
        outcome="failed",
        longrepr=words,
        when="teardown",
    )
    session.config.hook.pytest_runtest_logreport(report=report)
    session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    write = terminalreporter.write_line
    unclear: list[leaks.Leak] = config.stash.get(_unclear, list[leaks.Leak]())
    terminalreporter.ensure_newline()
    if unclear:
        terminalreporter.section("left, by this run or by another that is under way")
        for leak in unclear:
            write(str(leak))
    skipped = lanes.skip_lines(terminalreporter.stats)
    if skipped:
        terminalreporter.section("skipped, by reason")
        for line in skipped:
            write(line)
    ends = (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    )
    ran_to_its_end = exitstatus in ends
    if ran_to_its_end and (config.getoption("--lane") or lanes.whole_suite(config.args, ROOT)):
        terminalreporter.section("lanes")
        for line in lanes.lines(terminalreporter.stats, _lanes_asked_for(config)):
            write(line)
