"""The lane's own run: which tests the guests get, and how they are shown in the run outside.

Law: the only place that joins image, stage, guest and results; and the only one that knows pytest's
terminal.
"""

import contextlib
import os
import shlex
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from . import guest, image, inside, recipe, results, stage

LIMIT_S = 10 * 60
TESTS = ("tests/conformance",)
#: what is left out there is about systemd and containers, and the same as on hybrid
SHORTER = {
    "mixed": tuple(
        f"tests/conformance/test_{name}.py" for name in ("boot", "groups", "bites", "systemd")
    )
}
PASSED_ON = ("CI", "CGMGR_BUS", "CGMGR_DRIVER")
"""Variables that mean in a guest what they mean here."""


class Asked(NamedTuple):
    """What the tests in the guests are to be; without any, the suite."""

    tests: tuple[str, ...]
    arguments: tuple[str, ...]
    limit_s: float = LIMIT_S
    """How long one guest may take."""

    @property
    def is_a_part(self) -> bool:
        """Some guests may have none of these."""
        return bool(self.arguments)


def asked(config: pytest.Config) -> Asked:
    """As the options say, else the environment, else all of the suite."""

    def said(option: str) -> str:
        variable = option.upper().replace("-", "_")
        return config.getoption(f"--{option}") or os.environ.get(f"CGMGR_{variable}", "")

    return Asked(
        tests=tuple(shlex.split(said("guest-tests"))),
        arguments=tuple(shlex.split(said("guest-args"))),
        limit_s=float(said("guest-limit") or LIMIT_S),
    )


def script(layout: str, wanted: Asked) -> str:
    """The job of a guest: the checkout, what the controllers need, one pytest."""
    words = [
        *(".venv/bin/python", "-m", "pytest", "-p", "tests.vm.inside", "-p", "no:cacheprovider"),
        *("--color=no", "-o", f"faulthandler_timeout={LIMIT_S // 3}"),
        *(wanted.tests or SHORTER.get(layout, TESTS)),
        *wanted.arguments,
    ]
    environ = {
        "CGMGR_GUEST": layout,
        inside.VARIABLE: f"{recipe.JOB}/results",
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }
    return "\n".join((prologue(), _exports(environ), shlex.join(words), ""))


def prologue() -> str:
    disk = "/dev/disk/by-id/virtio-checkout"
    return f"""\
set -eu
udevadm wait --timeout=30 {disk}
mkdir -p {stage.PLACE}
mount {disk} {stage.PLACE}
cd {stage.PLACE}
bash tests/vm/prepare.sh"""


def _exports(environ: dict[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environ.items())


class Terminal:
    """Speaks in the run outside, also while a test's output is caught (`results.Outer`)."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config = session.config
        self._hook = session.config.hook
        self._capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        self._reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")

    def _uncaught(self) -> contextlib.AbstractContextManager[None]:
        if self._capture is None:
            return contextlib.nullcontext()
        uncaught: contextlib.AbstractContextManager[None]
        uncaught = self._capture.global_and_fixture_disabled()
        return uncaught

    def say(self, text: str) -> None:
        if self._reporter is None:
            return
        with self._uncaught():
            self._reporter.ensure_newline()
            self._reporter.write_line(text, flush=True)

    def grow(self, count: int) -> None:
        self._session.testscollected += count

    def start(self, test: dict[str, Any]) -> None:
        with self._uncaught():
            self._hook.pytest_runtest_logstart(**test)

    def finish(self, test: dict[str, Any]) -> None:
        with self._uncaught():
            self._hook.pytest_runtest_logfinish(**test)

    def show(self, report: dict[str, Any]) -> None:
        """A test of a guest is counted and told about as if it had run here."""
        whole = self._hook.pytest_report_from_serializable(config=self._config, data=report)
        with self._uncaught():
            self._hook.pytest_runtest_logreport(report=whole)


class Bench(NamedTuple):
    """What all guests of one run share."""

    image: image.Image
    stage: stage.Stage
    folder: Path


@contextlib.contextmanager
def bench(token: str, terminal: Terminal) -> Generator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix=f"{token}-guests-") as folder,
        image.held(terminal.say) as disk,
    ):
        terminal.say("copying the checkout for the guests")
        yield Bench(disk, stage.make(Path(folder)), Path(folder))


def run(layout: str, at: Bench, terminal: Terminal, wanted: Asked) -> str:
    """One guest; what went wrong with the run as a whole, or nothing."""
    folder = guest.Folder(at.folder / layout)
    found = results.Results(layout, terminal)
    reader = results.Reader(folder.results)

    def look() -> None:
        for event in reader.new():
            found.take(event)

    terminal.say(f"guest {layout} boots")
    words = guest.command(at.image, layout, folder, at.stage.disks())
    ended = guest.run(words, folder, script(layout, wanted), wanted.limit_s, look)
    terminal.say(f"guest {layout}: {found.summary()} in {ended.seconds:.0f} s")
    if found.exit_status == pytest.ExitCode.NO_TESTS_COLLECTED and wanted.is_a_part:
        return ""
    return found.trouble(ended)
