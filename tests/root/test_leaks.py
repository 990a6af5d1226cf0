"""Leaks that only root can make: each is made, seen, undone and seen to be gone."""

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import bpf, leaks

# enum bpf_cmd, bpf_prog_type and two instructions (r0 = 1; exit), /usr/include/linux/bpf.h
BPF_PROG_LOAD = 5
BPF_PROG_TYPE_CGROUP_DEVICE = 15
ALLOW_ALL = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)

Make = Callable[[ExitStack, str, Path], str]


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def make_cgroup(undo: ExitStack, name: str, _folder: Path) -> str:
    mount = next(mount for mount in leaks.mount_table() if mount.fstype in ("cgroup", "cgroup2"))
    group = Path(mount.place, name)
    group.mkdir()
    undo.callback(group.rmdir)
    return f"cgroup: {group}"


def make_mount(undo: ExitStack, _name: str, folder: Path) -> str:
    run("mount", "-t", "tmpfs", "none", folder)
    undo.callback(run, "umount", folder)
    return f"mount: / {folder} "


def make_network_namespace(undo: ExitStack, name: str, _folder: Path) -> str:
    """As `ip netns add` does, which would also leave a mount on /run/netns itself."""
    kept = Path("/run/netns", name)
    if not kept.parent.exists():
        kept.parent.mkdir()
        undo.callback(kept.parent.rmdir)
    kept.touch()
    undo.callback(kept.unlink)
    run("unshare", f"--net={kept}", "true")
    undo.callback(run, "umount", kept)
    return f"network namespace: {kept}"


def load_bpf_program(undo: ExitStack, _name: str, _folder: Path) -> str:
    code = ctypes.create_string_buffer(ALLOW_ALL, len(ALLOW_ALL))
    text = ctypes.create_string_buffer(b"GPL")
    values = struct.pack(
        "=IIQQIIQII16s",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        2,
        ctypes.addressof(code),
        ctypes.addressof(text),
        *(0, 0, 0, 0, 0),
        b"cgmgr_leak",
    )
    fd = bpf.call(BPF_PROG_LOAD, bpf.attr(values))
    assert fd >= 0, "the kernel refused the program"
    undo.callback(os.close, fd)
    return "BPF program: cgmgr_leak (id "


@pytest.mark.parametrize(
    "make", [make_cgroup, make_mount, make_network_namespace, load_bpf_program]
)
def test_leak_is_seen_until_it_is_undone(make: Make, tmp_path: Path, run_token: str) -> None:
    watch = leaks.Watch(os.getpid(), run_token, ())
    watch.folders = (str(tmp_path.parent),)

    with ExitStack() as undo:
        expected = make(undo, f"{run_token}-leak", tmp_path)
        seen = [str(leak) for found in watch.left(grace_seconds=0) for leak in found]
    left, _ = watch.left()

    assert [leak for leak in seen if leak.startswith(expected)]
    assert left == []
