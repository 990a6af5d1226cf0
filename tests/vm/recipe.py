"""What goes into the disk of the guests: Debian 12, its packages, a few files of ours.

Law: data, and the hash of it.  Nothing is run here, and no host that packages come from is named:
the machine's own apt knows where they are.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable

RELEASE = "bookworm"
SUITES = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

PYTHON = (3, 11)
"""Debian 12's; compiled wheels of another version of Python do not load there."""

USER, USER_ID = "user", 1000
"""Who is no root in the guest; lingers, so that a user manager and a user bus are there."""

PACKAGES = (
    # the system
    "linux-image-amd64",  # the cloud kernel has no 9p and no rdma
    "initramfs-tools",
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "udev",
    "kmod",
    "zstd",
    # what tests call
    "busybox-static",
    "crun",
    "ibverbs-providers",
    "ibverbs-utils",
    "iproute2",
    "iputils-ping",
    "libseccomp2",
    "nftables",
    "procps",
    "runc",
    "strace",
    "uidmap",
    # what cgmgr runs on
    "python3",
    "python3-gi",
    "python3-pydbus",
)

MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-oomd.service",  # it would kill what a test drives to its limit
    "systemd-pstore.service",
    "systemd-timesyncd.service",
)

UNWANTED_MODULES = (
    # for devices that QEMU's machine has and nobody here uses; loading each is slow under emulation
    "aesni_intel",
    "ata_generic",
    "ata_piix",
    "button",
    "ccp",
    "cryptd",
    "drm",
    "evdev",
    "floppy",
    "ghash_clmulni_intel",
    "i2c_piix4",
    "irqbypass",
    "joydev",
    "kvm",
    "kvm_amd",
    "libata",
    "parport_pc",
    "pcspkr",
    "powernow_k8",
    "psmouse",
    "qemu_fw_cfg",
    "serio_raw",
    "sha1_ssse3",
    "sha256_ssse3",
    "sha512_ssse3",
    "uhci_hcd",
)

JOB = "/mnt/job"
"""Where the guest has the folder that it shares with the outside."""

_JOB_SCRIPT = f"""\
#!/bin/bash
# Runs what the outside handed in and tells its exit status.  Goes off even if PID 1 is stuck.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 job {JOB}
cd {JOB}
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
bash ./script >output 2>&1 </dev/null
echo $? >status
sync
systemctl poweroff --force --force
"""

# Type=exec: the boot is complete while it runs, and `systemctl is-system-running` says so.
# OOMPolicy: a hog that a test lets be killed must not take the tests with it.
_JOB_UNIT = """\
[Unit]
Description=what the outside handed in
After=systemd-user-sessions.service dbus.service user@1000.service
[Service]
Type=exec
ExecStart=/usr/local/sbin/run-job
OOMPolicy=continue
TasksMax=infinity
[Install]
WantedBy=multi-user.target
"""

# Only what the root disk needs: a small initramfs is unpacked fast.
_INITRAMFS = "MODULES=list\nCOMPRESS=zstd\nRESUME=none\nFSTYPE=ext4\n"
_INITRAMFS_HOOK = """\
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk ext4 crc32c
"""

_MODPROBE = "".join(f"install {name} /bin/false\n" for name in UNWANTED_MODULES)

FILES = {
    # path: (mode, text); there before the packages are configured
    "etc/initramfs-tools/conf.d/guest": (0o644, _INITRAMFS),
    "etc/initramfs-tools/hooks/guest": (0o755, _INITRAMFS_HOOK),
    "etc/systemd/system/job.service": (0o644, _JOB_UNIT),
    "usr/local/sbin/run-job": (0o755, _JOB_SCRIPT),
    "etc/modprobe.d/guest.conf": (0o644, _MODPROBE),
    "etc/modules-load.d/guest.conf": (0o644, "9p\n9pnet_virtio\n"),
    "etc/sysctl.d/guest.conf": (0o644, "kernel.printk = 4 4 1 7\n"),
    "var/lib/systemd/linger/" + USER: (0o644, ""),
}

LINKS = {
    "etc/systemd/system/multi-user.target.wants/job.service": "../job.service",
    **{f"etc/systemd/system/{unit}": "/dev/null" for unit in MASKED},
}

SETTLED_FILES = {
    # path: text; written over what the packages left
    "etc/fstab": "",
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/resolv.conf": "",
    "etc/apt/sources.list": "",
}

DISK_BYTES = 6 << 30
SECOND_DISK_BYTES = 32 << 20
SECOND_DISK = """\
label: gpt
label-id: 00000000-0000-0000-0000-000000000001
start=2048,size=8192
size=8192
"""
"""In the words of sfdisk(8): two partitions."""


def digest(*more: Callable[..., object]) -> str:
    """Names the image: another recipe, or other code that follows it (`more`), is another image."""
    parts = [inspect.getsource(sys.modules[__name__]), *map(inspect.getsource, more)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
