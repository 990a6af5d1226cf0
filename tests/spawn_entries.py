"""What the tests of `cgmgr.spawn` have a new process do instead of executing a program."""

import ctypes
import os
import sys
from typing import NoReturn

KEYCTL = {"x86_64": 250, "aarch64": 219}
KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING = 0, -3


def tell(data: bytes, descriptors: list[int]) -> NoReturn:
    """What it was given, and which descriptors are open."""
    opened = [fd for fd in range(256) if is_open(fd)]
    text = f"{data.decode()} {descriptors} {opened}"
    os.write(1, text.encode())
    os._exit(7)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def streams(data: bytes, descriptors: list[int]) -> NoReturn:
    """What some descriptors are, written to the first that it was given."""
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in data]  # noqa: PTH115
    os.write(descriptors[0], "\n".join(links).encode())
    os._exit(0)


def come_back(_data: bytes, _descriptors: list[int]) -> None:
    """An entry must not return."""


def fail(_data: bytes, _descriptors: list[int]) -> None:
    raise ValueError("an entry that fails")


def session_keyring(_data: bytes, _descriptors: list[int]) -> NoReturn:
    os.write(1, str(session_keyring_id()).encode())
    os._exit(0)


def session_keyring_id() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(
        libc.syscall(KEYCTL[os.uname().machine], KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1)
    )


def namespaces(_data: bytes, _descriptors: list[int]) -> NoReturn:
    """Its namespaces, its pid, its place in the groups as it sees it."""
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    lines = [os.readlink(f"/proc/thread-self/ns/{kind}") for kind in kinds]  # noqa: PTH115
    with open("/proc/thread-self/cgroup", encoding="utf-8") as file:  # noqa: PTH123
        lines += [line.strip() for line in file]
    os.write(1, "\n".join([str(os.getpid()), *lines]).encode())
    os._exit(0)


if __name__ == "__main__":
    sys.exit("not a program")


def waits_for_a_child(data: bytes, descriptors: list[int]) -> None:
    """Ends as its child does."""
    del data, descriptors
    pid = os.fork()
    if not pid:
        os._exit(7)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
