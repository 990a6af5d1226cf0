"""In the guest: a plugin of pytest that writes down what happens, as it happens.

Law: one JSON object a line, complete when it is there, so that a guest that dies has told all up to
then.  Kinds: `collected` (how many), `started` and `finished` (a test's node id and location),
`report` (as pytest serializes it), `ended` (pytest's exit status).  `results` reads them.
"""

import json
import os
from collections.abc import Generator
from typing import Any

import pytest

Location = tuple[str, int | None, str]

VARIABLE = "CGMGR_GUEST_RESULTS"
"""Names the file to write to; without it this plugin does nothing."""


def pytest_configure(config: pytest.Config) -> None:
    file = os.environ.get(VARIABLE)
    if file:
        config.pluginmanager.register(_Writer(config, file))


class _Writer:
    def __init__(self, config: pytest.Config, file: str) -> None:
        self._config = config
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def _write(self, kind: str, value: Any) -> None:
        os.write(self._descriptor, (json.dumps({kind: value}) + "\n").encode())

    def _write_report(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        said = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write("report", {**said, "keywords": {}})  # long, and nobody outside asks for them

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._write("collected", len(session.items))

    def pytest_runtest_logstart(self, nodeid: str, location: Location) -> None:
        self._write("started", {"nodeid": nodeid, "location": location})

    def pytest_runtest_logfinish(self, nodeid: str, location: Location) -> None:
        self._write("finished", {"nodeid": nodeid, "location": location})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._write_report(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that fails or skips as a whole is told as one test would be."""
        if not report.passed:
            self._write_report(
                pytest.TestReport(
                    nodeid=report.nodeid,
                    location=(report.nodeid.partition("::")[0], None, report.nodeid),
                    keywords={},
                    outcome=report.outcome,
                    longrepr=report.longrepr,
                    when="setup",
                )
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        yield  # the others may report yet, and change the exit status
        self._write("ended", int(session.exitstatus))
