"""What clients are told when something fails: standard error, and the file of --log.

Law: text only; which errors there are is the business of whoever raises them.  Clients take the
last JSON line of level "error" in the log for the reason (containerd, podman) and look in it for
words of runc and of the kernel ("executable file not found in $PATH", "container not running"), so
a message is written as it was raised.

Source: runc's logrus lines; containerd pkg/process, `getLastRuntimeError`.
"""

from __future__ import annotations

import os
import sys
import time

from cgmgr.errors import CgmgrError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROGRAM: Final = "cgmgr-oci"
FORMATS: Final = ("text", "json")


class Reporter:
    """Where messages go; made before the command line is understood, so `log` may come later."""

    def __init__(self) -> None:
        self.log = ""
        self.format = "text"
        self.debug = False

    def error(self, error: CgmgrError | OSError) -> None:
        """The reason why a command failed, and where it helps the hint."""
        text = message_of(error)
        hint = error.hint if isinstance(error, CgmgrError) else None
        self._print("\n".join((text, f"hint: {hint}" if hint else "")).rstrip())
        self._note("error", text)

    def warn(self, text: str) -> None:
        self._print(f"warning: {text}")
        self._note("warning", text)

    def step(self, text: str) -> None:
        """What is being done, with --debug."""
        if self.debug:
            self._print(text)
            self._note("debug", text)

    def _print(self, text: str) -> None:
        try:
            sys.stderr.write(f"{PROGRAM}: {text}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.debug = False  # nobody reads it

    def _note(self, level: str, text: str) -> None:
        if not self.log:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.format == "json":
            import json

            line = json.dumps({"level": level, "msg": text, "time": now})
        else:
            line = f'time="{now}" level={level} msg="{_escaped(text)}"'
        # one write, so that lines of two processes do not mix
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            log = os.open(self.log, flags, 0o644)
            try:
                os.write(log, f"{line}\n".encode("utf-8", "surrogateescape"))
            finally:
                os.close(log)
        except OSError as error:
            self.log = ""
            self._print(f"warning: log: {message_of(error)}")


def message_of(error: CgmgrError | OSError) -> str:
    """An error in words."""
    if isinstance(error, CgmgrError):
        return "\n".join((str(error), *getattr(error, "__notes__", ())))
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
