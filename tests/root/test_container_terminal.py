"""A container with a terminal of its own, the test in the user's chair."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgmgr.host import Host
from cgmgr.runtime import terminal
from cgmgr.runtime.launcher import Container

from .containers import Lab


@pytest.fixture
def lab(tmp_path: Path, run_token: str) -> Lab:
    return Lab(Host.detect(), tmp_path, run_token)


class Chair:
    """The user: a terminal in which `cgmgr`'s side runs as a process of its own."""

    def __init__(self, lab: Lab, script: str) -> None:
        self.master, self.slave = os.openpty()
        terminal.resize(self.master, 30, 90)
        self.before = termios.tcgetattr(self.slave)
        program = (
            "import sys; from cgmgr.host import Host; from cgmgr.runtime import launcher, spec;"
            f"request = spec.ContainerRequest(id={lab.name()!r}, rootfs='host',"
            f" argv=('/bin/sh', '-c', {script!r}), terminal=True);"
            f"launch = launcher.Launch(host=Host.detect(), store={str(lab.store)!r},"
            f" run_root={str(lab.run_root)!r}, die_with_launcher=True);"
            "sys.exit(launcher.run_container(request, launch).returncode)"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read_until(self, text: str) -> str:
        """What is on the screen once `text` is; its end where the process is over."""
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.seen += os.read(self.master, 65536).decode()
            elif self.process.poll() is not None:
                break
        assert text in self.seen, self.seen
        return self.seen

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read().decode()
        self.process.wait()
        self.process.stderr.close()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def chairs() -> Iterator[list[Chair]]:
    taken: list[Chair] = []
    yield taken
    for chair in taken:
        chair.close()


def sit(chairs: list[Chair], lab: Lab, script: str) -> Chair:
    chairs.append(Chair(lab, script))
    return chairs[-1]


def test_it_is_a_terminal_by_every_name(lab: Lab, chairs: list[Chair]) -> None:
    chair = sit(chairs, lab, "tty; tty < /dev/console; stty size; echo $TERM; echo end")

    screen = chair.read_until("end")

    assert screen.split("\r\n")[:4] == ["/dev/pts/0", "/dev/console", "30 90", "xterm"]
    assert chair.process.wait() == 0


def test_it_controls_the_session(lab: Lab, chairs: list[Chair]) -> None:
    chair = sit(chairs, lab, "cat /proc/self/stat | cut -d' ' -f6,7; echo x > /dev/tty")

    session, controlling = chair.read_until("x\r\n").split("\r\n")[0].split()

    assert session == "1"
    assert int(controlling) >> 8 == 136  # pty slaves, Documentation/admin-guide/devices.txt
    assert chair.process.wait() == 0


def test_control_c_is_the_containers(lab: Lab, chairs: list[Chair]) -> None:
    chair = sit(
        chairs, lab, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 1; done"
    )
    chair.read_until("ready")
    assert not termios.tcgetattr(chair.slave)[3] & termios.ISIG

    chair.type("\x03")

    chair.read_until("caught")
    assert chair.process.wait() == 5
    assert termios.tcgetattr(chair.slave) == chair.before
    assert lab.left() == []


def test_the_size_is_followed(lab: Lab, chairs: list[Chair]) -> None:
    chair = sit(chairs, lab, "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 1; done")
    chair.read_until("ready")

    terminal.resize(chair.master, 33, 99)
    chair.process.send_signal(signal.SIGWINCH)

    assert "33 99" in chair.read_until("33 99")
    assert chair.process.wait() == 0


def test_a_command_that_is_missing_gives_the_terminal_back(lab: Lab, chairs: list[Chair]) -> None:
    chair = sit(chairs, lab, "exec /nope")

    assert chair.process.wait() == 127
    assert termios.tcgetattr(chair.slave) == chair.before
    assert lab.left() == []


def test_the_user_owns_it(lab: Lab) -> None:
    request = lab.request("sleep", "1000", user="12345", terminal=True, console_size=(5, 6))
    with Container.create(request, lab.launch()) as container:
        inside = Path(f"/proc/{container.process.pid}/root/dev/pts/0")
        assert (inside.stat().st_uid, inside.stat().st_gid) == (12345, 5)
        assert terminal.size_of(container.init.terminal) == (5, 6)
        assert os.isatty(container.init.terminal)


def test_its_terminal_is_not_the_hosts(lab: Lab) -> None:
    before = set(Path("/dev/pts").iterdir())
    request = lab.request("sleep", "1000", terminal=True)
    with Container.create(request, lab.launch()) as container:
        assert set(Path("/dev/pts").iterdir()) == before
        inside = Path(f"/proc/{container.process.pid}/root/dev/pts")
        assert sorted(entry.name for entry in inside.iterdir()) == ["0", "ptmx"]


def test_the_master_ends_with_the_container(lab: Lab) -> None:
    request = lab.request("true", terminal=True)
    with Container.create(request, lab.launch()) as container:
        container.start()
        container.process.wait()
        with pytest.raises(OSError) as caught:
            os.read(container.init.terminal, 1)
    assert caught.value.errno == errno.EIO
