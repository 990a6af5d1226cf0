"""The options of `cgmgr run`.

Law: one table says everything that is known of an option: its name, its value, its help, and, where
it is a limit, that it is one.  Docker's options have docker's names and grammar; where they differ
the help says so.
"""

from __future__ import annotations

import contextlib

from cgmgr.errors import CgmgrError
from cgmgr.resources.docker import LISTS

from .flags import Flag, Grammar, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Final

    from cgmgr.resources.docker import Value

    from .flags import Given


def _many(name: str, value: str, text: str, short: str = "") -> Flag:
    return Flag(name=name, value=value, help=text, short=short, many=True)


def _one(name: str, value: str, text: str, short: str = "") -> Flag:
    return Flag(name=name, value=value, help=text, short=short)


def _switch(name: str, text: str, short: str = "") -> Flag:
    return Flag(name=name, help=text, short=short)


CONTAINER: Final = (
    _one("rootfs", "DIR", "use this directory as the root; there is no IMAGE then"),
    _one("name", "NAME", "the container's name, and its group's (default: a random one)"),
    _many("env", "NAME[=VALUE]", "set a variable, or pass it on from here", "e"),
    _many("env-file", "FILE", "variables from a file, one NAME=VALUE a line"),
    _one("workdir", "DIR", "where the command starts; made if missing", "w"),
    _one("user", "USER[:GROUP]", "names or numbers, by the container's own /etc/passwd", "u"),
    _one("entrypoint", "PROGRAM", "put this before COMMAND"),
    _switch("interactive", "keep standard input open (else it is empty)", "i"),
    _switch("tty", "give it a terminal of its own", "t"),
    _switch("rm", "remove the container at its end, which happens anyway"),
    _one(
        "timeout",
        "TIME",
        "kill it after this time, such as 30s or 2m; exit status 124 (not docker's)",
    ),
)
FILES: Final = (
    _many(
        "volume",
        "SRC:DST[:OPT]",
        "bind an absolute path; OPT: ro, rw, private, rprivate, slave, rslave",
        "v",
    ),
    _many("tmpfs", "DST[:OPT]", "an empty file system in memory; default rw,noexec,nosuid,nodev"),
    _many("device", "PATH[:DST][:rwm]", "a device of the host, or all in a directory, and its use"),
    _switch("read-only", "nothing but volumes and tmpfs can be written to"),
    _one("shm-size", "SIZE", "of /dev/shm (default 64m)"),
)
ISOLATION: Final = (
    _one("hostname", "NAME", "(default: the container's name)", "h"),
    _one("network", "none|host", "none, the default, has a loopback only (docker's is bridge)"),
    _one("net", "none|host", "the same as --network"),
    _one("pid", "private|host", "process ids of its own (default) or the host's"),
    _one("ipc", "private|host", "System V IPC and message queues"),
    _one("uts", "private|host", "host name"),
    _one("cgroupns", "private|host", "what it sees of groups: private is the default, on v1 too"),
    _many("cap-add", "CAP", "a capability more than the usual eleven, or ALL that there are here"),
    _many("cap-drop", "CAP", "a capability less, or ALL"),
    _many(
        "security-opt",
        "OPT",
        "seccomp=FILE takes a profile of system calls, in docker's format, for the built-in one, "
        "seccomp=unconfined none; "
        "no-new-privileges=false lets set-user-ID programs work (docker's default), "
        "writable-cgroups=true lets root make groups below its own",
    ),
)
LIMITS: Final = (
    _one("memory", "SIZE", "most memory, such as 64m or 1.5g; the least is 6m", "m"),
    _one(
        "memory-swap",
        "SIZE|-1",
        "memory and swap together; -1 is unlimited swap (default: twice --memory)",
    ),
    _one("swap", "SIZE|max", "swap alone; 0 is none (not docker's)"),
    _one("memory-reservation", "SIZE", "what is kept under pressure"),
    _one("memory-swappiness", "0-100", "cgroup v1 only"),
    _switch("oom-kill-disable", "let it hang at the limit instead; cgroup v1 only"),
    _one("oom-score-adj", "-1000..1000", "who is killed first when the whole host is short"),
    _one("cpus", "N", "number of CPUs' time, such as 0.5"),
    _one("cpu-shares", "N", "share when CPUs are short (docker's default is 1024)", "c"),
    _one("cpu-period", "USEC", "period of the quota"),
    _one("cpu-quota", "USEC|-1", "CPU time in each period"),
    _one("cpu-rt-period", "USEC", "realtime; cgroup v1 only"),
    _one("cpu-rt-runtime", "USEC", "realtime; cgroup v1 only"),
    _one("cpuset-cpus", "LIST", "the CPUs it may use, such as 0-3,7"),
    _one("cpuset-mems", "LIST", "the memory nodes it may use"),
    _one("pids-limit", "N|-1", "most processes and threads, up to 4194304; -1 is no limit"),
    _one("blkio-weight", "10-1000", "share of the disks when they are busy"),
    _many("blkio-weight-device", "DISK:WEIGHT", "the same for one disk, such as /dev/sda:200"),
    _many("device-read-bps", "DISK:RATE", "bytes a second, such as /dev/sda:1mb"),
    _many("device-write-bps", "DISK:RATE", "bytes a second"),
    _many("device-read-iops", "DISK:RATE", "reads a second"),
    _many("device-write-iops", "DISK:RATE", "writes a second"),
    _many("device-cgroup-rule", "RULE", "allow more devices, such as 'c 10:200 rwm'"),
    _many("hugetlb", "SIZE=LIMIT", "huge pages, such as 2MB=64M (not docker's)"),
    _many("rdma", "DEV=LIMITS", "such as mlx4_0=hca_handle:2,hca_object:2000 (not docker's)"),
    _many("misc", "KEY=N", "a resource of the misc controller (not docker's)"),
    _one(
        "net-classid", "ID", "class of its packets, such as 0x100001; cgroup v1 only (not docker's)"
    ),
    _many(
        "net-prio", "IF=N", "priority of its packets on an interface; cgroup v1 only (not docker's)"
    ),
    _many("cgroup-conf", "FILE=VALUE", "write a cgroup v2 file as it stands (podman's)"),
    _many("ulimit", "NAME=SOFT[:HARD]", "a resource limit of each process, such as nofile=1024"),
)
GROUP: Final = (
    _one(
        "policy",
        "NAME|FILE",
        "limits and group by a policy, as web or ./web.toml; options come on top (not docker's)",
    ),
    _one("cgroup-parent", "GROUP", "make the container's group below this one (default /cgmgr)"),
    _one(
        "driver",
        "NAME",
        "how groups are made: auto (systemd where that is process 1), systemd, cgroupfs, dryrun "
        "(not docker's)",
    ),
    _many(
        "property",
        "PROPERTY=VALUE",
        "as systemd-run has it, such as RuntimeMaxSec=1h; what is no resource needs the systemd "
        "driver (docker's -p publishes ports)",
        "p",
    ),
    _switch(
        "best-effort", "report limits that this host cannot hold instead of refusing (not docker's)"
    ),
    _switch("dry-run", "print what would be done, and do nothing (not docker's)"),
    _one("result", "text|json", "how it ended and what it used, on standard error (not docker's)"),
    _switch("help", "show this"),
)

SECTIONS: Final = (
    Section(title="The container", flags=CONTAINER),
    Section(title="Its files", flags=FILES),
    Section(title="What it shares with the host", flags=ISOLATION),
    Section(title="What it may use", flags=LIMITS),
    Section(title="Its group, and this command", flags=GROUP),
)

#: of `LIMITS`, those that are no setting of a group
NOT_OF_A_GROUP: Final = ("oom-score-adj", "ulimit")

_LATER: Final = "that is not there yet"
_NETWORK: Final = "a container has a loopback, or with --network host all that the host has"
_FOREGROUND: Final = "containers run in the foreground and are removed at their end"
_WINDOWS: Final = "only Windows has it"
_IMAGES: Final = "there are no images but host, nothing is pulled"

#: docker's options that are not here, and why
ABSENT: Final = {
    **dict.fromkeys(
        [
            "detach",
            "d",
            "detach-keys",
            "attach",
            "a",
            "restart",
            "cidfile",
            "log-driver",
            "log-opt",
            "stop-signal",
            "stop-timeout",
            "sig-proxy",
            "label",
            "l",
            "label-file",
            "annotation",
        ],
        _FOREGROUND,
    ),
    **dict.fromkeys(
        [
            "publish",
            "publish-all",
            "P",
            "expose",
            "dns",
            "dns-option",
            "dns-opt",
            "dns-search",
            "add-host",
            "link",
            "link-local-ip",
            "ip",
            "ip6",
            "mac-address",
            "network-alias",
            "net-alias",
        ],
        _NETWORK,
    ),
    **dict.fromkeys(["pull", "platform", "quiet", "q", "disable-content-trust"], _IMAGES),
    **dict.fromkeys(
        [
            "health-cmd",
            "health-interval",
            "health-retries",
            "health-start-interval",
            "health-start-period",
            "health-timeout",
            "no-healthcheck",
        ],
        "nothing here checks health",
    ),
    **dict.fromkeys(["volumes-from", "volume-driver", "storage-opt"], "there are no named volumes"),
    **dict.fromkeys(
        [
            "gpus",
            "group-add",
            "domainname",
            "userns",
            "sysctl",
            "init",
            "runtime",
            "isolation",
            "use-api-socket",
        ],
        _LATER,
    ),
    "kernel-memory": "the kernel has no such limit since Linux 5.16",
    **dict.fromkeys(("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"), _WINDOWS),
    "mount": "write it as --volume or --tmpfs",
    "privileged": "give what is needed: --cap-add ALL, --security-opt seccomp=unconfined, "
    "--security-opt no-new-privileges=false, --network host",
    "cgroups": "every container has a group; see --cgroupns for what it sees",
}

GRAMMAR: Final = Grammar("cgmgr run", SECTIONS, ABSENT)

USAGE: Final = """\
Usage: cgmgr run [OPTION]... IMAGE [COMMAND]...
       cgmgr run [OPTION]... --rootfs DIR COMMAND...

Run a command in a container, under limits, and say how it ended.

Options end at IMAGE; what follows is the command's.  The image "host" is this
machine's own root, read-only below a layer that is thrown away; its command
is a shell unless one is given.

The exit status is the command's, 128+N if signal N ended it, 127 if there is
no such command, 126 if it cannot be executed, 125 if the container could not
be made."""


def flagged(error: CgmgrError, given: Given) -> CgmgrError:
    """A complaint about a setting, about the option that said it."""
    from cgmgr.resources.flags import in_flags

    return in_flags(error, limits(given))


@contextlib.contextmanager
def about_flags(given: Given) -> Generator[None]:
    """Complaints that leave this are about options, not about words."""
    try:
        yield
    except CgmgrError as error:
        flagged(error, given)
        raise


def limits(given: Given) -> dict[str, Value]:
    """The limits that were given, as `cgmgr.resources.docker.from_docker` takes them."""
    flags: dict[str, Value] = {}
    for flag in LIMITS:
        if flag.name not in given or flag.name in NOT_OF_A_GROUP:
            continue
        word = flag.name.replace("-", "_")
        if not flag.value:
            flags[word] = given.on(flag.name)
        else:
            flags[word] = given.all(flag.name) if word in LISTS else given.one(flag.name)
    return flags
