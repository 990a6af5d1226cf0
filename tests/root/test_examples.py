"""Each example, run as a reader would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        pytest.param(["true"], "accepted", id="accepted"),
        pytest.param(["false"], "wrong-exit", id="wrong-exit"),
        pytest.param(["sleep", "1000"], "time-limit", id="time-limit"),
        pytest.param(["tail", "/dev/zero"], "memory-limit", id="memory-limit"),
        pytest.param(["sh", "-c", "kill -KILL $$"], "crashed", id="killed-by-itself"),
    ],
)
def test_the_judge_tells_the_ends_apart(command: list[str], verdict: str) -> None:
    seconds = "1" if verdict == "time-limit" else "60"
    done = run("judge.py", "--seconds", seconds, "--memory", "16M", *command)

    assert done.stdout.startswith(verdict + "\t"), done.stderr
    assert done.returncode == (0 if verdict == "accepted" else 1)


def test_the_judge_without_a_command_says_how_it_is_used() -> None:
    done = run("judge.py")

    assert done.returncode == 2
    assert done.stderr.startswith("usage: judge.py "), done.stderr


def test_the_snapshot_is_consistent() -> None:
    done = run("snapshot.py")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("first ")


def test_the_metrics_are_served() -> None:
    server = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "metrics.py"), "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        address = server.stdout.readline().partition(",")[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            text: str = answer.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        server.stdout.close()

    assert 'container_spec_memory_limit_bytes{id="/cgmgr/metrics-example"' in text
    assert 'container_cpu_usage_seconds_total{cpu="total",id="/cgmgr/metrics-example"' in text


def test_the_demo() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(EXAMPLES / "demo.sh")],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed: memory limit 64MiB (peak 64.0MiB) in /cgmgr/demo-" in done.stdout + done.stderr
    assert done.stdout.endswith("no group, no mount, no process, no file\n")
