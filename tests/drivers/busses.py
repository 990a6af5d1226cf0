"""Hosts for the tests of the bus: a real dbus-daemon and a made-up systemd below a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from cgmgr.drivers import bus

CHECKOUT = Path(__file__).parent.parent.parent
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/>
    <allow eavesdrop="false" send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""


class FakeHost:
    """A root folder; what is started in it is ended with `close`."""

    def __init__(self) -> None:
        # A socket's path has 107 characters; the folders of pytest take more.
        self.root = Path(tempfile.mkdtemp(prefix="cgmgr-bus-"))
        self.bus_socket = self.root / "run/dbus/system_bus_socket"
        self.private_socket = self.root / "run/systemd/private"
        self.bus_socket.parent.mkdir(parents=True)
        self.private_socket.parent.mkdir()
        self._running: list[subprocess.Popen[str]] = []
        self._busses: list[bus.Bus] = []

    def daemon(self) -> subprocess.Popen[str]:
        """A dbus-daemon that listens."""
        config = self.root / "bus.conf"
        config.write_text(_CONFIG.format(socket=self.bus_socket))
        self.bus_socket.unlink(missing_ok=True)
        argv = ["dbus-daemon", "--nofork", "--nopidfile", "--print-address=1"]
        return self._start([*argv, f"--config-file={config}"])

    def systemd(self, how: str = "bus") -> subprocess.Popen[str]:
        """A made-up systemd, on the bus or ("direct") behind the private socket."""
        path = self.bus_socket if how == "bus" else self.private_socket
        if how == "direct":
            path.unlink(missing_ok=True)
        return self._start([sys.executable, "-m", "tests.drivers.fake_systemd", how, str(path)])

    def _start(self, argv: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()  # the address, or "ready"
        return process

    def connect(self, transport: str) -> bus.Bus:
        connected = bus.connect(str(self.root), transport=transport, environ={})
        self._busses.append(connected)
        return connected

    def end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def close(self) -> None:
        for connected in self._busses:
            connected.close()
        for process in self._running:
            self.end(process)
        shutil.rmtree(self.root)


@contextlib.contextmanager
def frozen(process: subprocess.Popen[str]) -> Generator[None]:
    """Stopped, and seen to be."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def full_backlog(path: Path) -> Generator[None]:
    """As many wait to be accepted at this socket as it takes."""
    with contextlib.ExitStack() as stack:
        while True:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            if sock.connect_ex(str(path)) == 11:
                break
        yield
