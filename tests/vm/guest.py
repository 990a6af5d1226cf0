"""One guest: from QEMU's start to its end, within a deadline.

Law: a guest is a process of ours and a folder that it shares with the outside.  When `run` is left,
in whatever way, the process has ended; if all of this run is killed, the kernel kills it.  What the
guest does is said by a script; what it found is in the folder.
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from .image import Image

_V1 = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller"
LAYOUTS = {
    # systemd(1), kernel command line
    "unified": "systemd.unified_cgroup_hierarchy=1",
    "hybrid": f"{_V1}=0",
    "legacy": f"{_V1}=1",
    "mixed": f"{_V1}=0 cgroup_no_v1=hugetlb,pids",
}

# panic=-1 with -no-reboot: a kernel that is lost ends at once and does not wait for the deadline.
# The watchdogs would take a busy machine outside for a hung one inside.
_KERNEL_WORDS = (
    "root=/dev/vda rw console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off psi=1 "
    "nowatchdog rcupdate.rcu_cpu_stall_suppress=1 fsck.mode=skip systemd.show_status=no"
)
_LOOK_S = 0.3


class Folder:
    """Where a guest's things are outside; `share` is what it sees."""

    def __init__(self, path: Path) -> None:
        self.share = path / "share"
        self.share.mkdir(parents=True)
        self.console = path / "console"
        self.qemu = path / "qemu"
        self.results = self.share / "results"

    def read(self, file: Path) -> str:
        try:
            return file.read_text(errors="replace")
        except FileNotFoundError:
            return ""


class Ended(NamedTuple):
    status: int | None
    """The script's exit status; None if it did not get so far."""
    seconds: float
    trouble: str
    """What went wrong with the guest itself, or nothing."""
    output: str
    """What the script wrote."""
    console: str


def command(image: Image, layout: str, folder: Folder, disks: Mapping[str, Path]) -> list[str]:
    """QEMU's command line; each of `disks` is /dev/disk/by-id/virtio-NAME, none keeps a change."""
    words = [
        *("setpriv", "--pdeathsig=KILL", "nice", "-n", "5", "qemu-system-x86_64"),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3G"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{_escaped(folder.console)}"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", f"{_KERNEL_WORDS} {LAYOUTS[layout]}"),
        *(
            "-object",
            "rng-random,id=rng,filename=/dev/urandom",
            "-device",
            "virtio-rng-pci,rng=rng",
        ),
        *("-virtfs", f"local,path={_escaped(folder.share)},mount_tag=job,security_model=none"),
    ]
    for name, file in {"root": image.disk, "second": image.second_disk, **disks}.items():
        words += ["-drive", f"id={name},if=none,format=raw,snapshot=on,file={_escaped(file)}"]
        words += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
    return words


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


def run(
    words: list[str], folder: Folder, script: str, limit_s: float, look: Callable[[], None]
) -> Ended:
    """Boot, run `script` by bash as root in the shared folder, go off.

    `look` is called now and then meanwhile, and once at the end.
    """
    (folder.share / "script").write_text(script)
    start = time.monotonic()
    trouble = ""
    with folder.qemu.open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while _goes_on(process):
                look()
                if time.monotonic() - start > limit_s:
                    trouble = f"was not off after {limit_s:.0f} s and was killed"
                    break
        finally:
            process.kill()
            process.wait()
    look()
    status = folder.read(folder.share / "status").strip()
    if not trouble and process.returncode != 0:
        trouble = f"QEMU ended with {process.returncode}: {folder.read(folder.qemu).strip()}"
    if not trouble and not status:
        trouble = "went off before the job had ended"
    return Ended(
        status=int(status) if status else None,
        seconds=time.monotonic() - start,
        trouble=trouble,
        output=folder.read(folder.share / "output"),
        console=folder.read(folder.console),
    )


def _goes_on(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return True
    return False
