"""The same config.json by runc, which has libseccomp make the program: the same answers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cgmgr.host import Host
from cgmgr.runtime import capabilities, spec
from cgmgr.runtime.layout import LAYERS, VOLATILE

from .containers import Lab
from .test_container_seccomp import PYTHON, TRY, call

RUNC = shutil.which("runc")
if RUNC is None:
    pytest.skip("no runc to compare with", allow_module_level=True)

#: in the order of the results; those that are allowed do nothing with these arguments
CALLS = (
    "1000,0",
    *(
        call(name, *args)
        for name, *args in (
            ("mount", 0, 0, 0, 0, 0),
            ("umount2", 0, 0),
            ("unshare", 0x10000000),
            ("setns", -1, 0),
            ("keyctl", 99, 0),
            ("add_key", 0, 0),
            ("bpf", 99, 0, 0),
            ("ptrace", 0xFFFF, 0, 0, 0),
            ("process_vm_readv", 0, 0, 0, 0, 0, 0),
            ("clone3", 0, 0),
            ("clone", 0x10000200, 0, 0, 0, 0),
            ("personality", 0xFFFFFFFF),
            ("personality", 0x0040000),
            ("socket", socket.AF_UNIX, 1, 0),
            ("socket", socket.AF_NETLINK, 3, 0),
            ("socket", socket.AF_VSOCK, 1, 0),
            ("socket", 38, 5, 0),
            ("openat2", -1, 0, 0, 0),
            ("faccessat2", -1, 0, 0, 0),
            ("open_by_handle_at", -1, 0, 0),
            ("name_to_handle_at", -1, 0, 0, 0, 0),
            ("userfaultfd", -1),
            ("io_uring_setup", 0, 0),
            ("memfd_create", 0, 0),
            ("mbind", 0, 0, 0, 0, 0, 0),
            ("syslog", 99, 0, 0),
            ("quotactl", 0, 0, 0, 0),
            ("acct", 1),
            ("swapon", 0, 0),
            ("chroot", 0),
            ("pidfd_open", -1, 0),
            ("pidfd_getfd", -1, 0, 0),
            ("settimeofday", 1, 0),
            ("futex_waitv", 0, 0, 0, 0, 0),
        )
    ),
)


@pytest.mark.parametrize("more", [(), ("SYS_ADMIN",)], ids=["usual", "sys-admin"])
def test_the_same_answers(tmp_path: Path, run_token: str, more: tuple[str, ...]) -> None:
    lab = Lab(Host.detect(), tmp_path, run_token)
    held = (*capabilities.DEFAULT, *more)
    ours = lab.run(PYTHON, "-c", TRY, *CALLS, capabilities=held)
    request = lab.request(PYTHON, "-c", TRY, *CALLS, capabilities=held, read_only=True)

    theirs = by_runc(spec.build(request, str(lab.store)), tmp_path, request.id)

    assert ours.err == ""
    answers = dict(zip(CALLS, ours.out.split(), strict=True))
    assert answers == dict(zip(CALLS, theirs.split(), strict=True))


def by_runc(config: dict[str, Any], folder: Path, name: str) -> str:
    """What the command says in this machine's root, bound to a place of its own."""
    root = folder / "root"
    root.mkdir()
    config["ociVersion"] = "1.0.2"
    config["root"] = {"path": str(root), "readonly": True}
    for key in (LAYERS, VOLATILE):
        del config["annotations"][key]
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
    (folder / "config.json").write_text(json.dumps(config), encoding="ascii")
    script = 'mount --bind / "$1/root" && exec runc --root "$1/runc" run --bundle "$1" "$2"'
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(folder), name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
