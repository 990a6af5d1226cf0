"""The words that clients send, as they were recorded, and words that are wrong."""

from __future__ import annotations

import pytest

from cgmgr.errors import RequestError
from cgmgr.runtime.oci import grammar
from cgmgr.runtime.oci.main import COMMANDS

RECORDED: dict[str, tuple[str, str, dict[str, object], tuple[str, ...]]] = {
    "podman create": (
        "--log-format=json --log /l create --bundle /b --pid-file /p ID",
        "create",
        {"log-format": "json", "log": "/l", "bundle": "/b", "pid-file": "/p"},
        ("ID",),
    ),
    "podman exec": (
        "exec --pid-file /p --process /f --detach --preserve-fds 2 ID",
        "exec",
        {"pid-file": "/p", "process": "/f", "detach": True, "preserve-fds": "2"},
        ("ID",),
    ),
    "podman update": (
        "update --resources=/r ID",
        "update",
        {"resources": "/r"},
        ("ID",),
    ),
    "podman kill": ("kill --all ID 15", "kill", {"all": True}, ("ID", "15")),
    "podman delete": ("delete --force ID", "delete", {"force": True}, ("ID",)),
    "containerd create": (
        "--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p "
        "--console-socket /c --no-new-keyring ID",
        "create",
        {
            "root": "/r",
            "log": "/l",
            "log-format": "json",
            "systemd-cgroup": True,
            "bundle": "/b",
            "pid-file": "/p",
            "console-socket": "/c",
            "no-new-keyring": True,
        },
        ("ID",),
    ),
    "containerd ps": (
        "--root /r ps --format json ID",
        "ps",
        {"root": "/r", "format": "json"},
        ("ID",),
    ),
    "containerd update": ("update --resources=- ID", "update", {"resources": "-"}, ("ID",)),
    "CRI-O kill": (
        "--root=/r kill -a ID SIGKILL",
        "kill",
        {"root": "/r", "all": True},
        ("ID", "SIGKILL"),
    ),
    "short forms": (
        "exec -d -t -p=/f -e A=b -e C=d ID",
        "exec",
        {"detach": True, "tty": True, "process": "/f", "env": ["A=b", "C=d"]},
        ("ID",),
    ),
    "one dash": ("-root /r state -help", "state", {"root": "/r", "help": True}, ()),
    "options of the program": ("exec ID ls -l --all", "exec", {}, ("ID", "ls", "-l", "--all")),
    "an end of options": ("exec -- ID -x", "exec", {}, ("ID", "-x")),
    "a switch that is said": ("delete --force=false ID", "delete", {"force": False}, ("ID",)),
}


@pytest.mark.parametrize(("words", "command", "options", "args"), RECORDED.values(), ids=RECORDED)
def test_what_clients_send_is_understood(
    words: str, command: str, options: dict[str, object], args: tuple[str, ...]
) -> None:
    call = grammar.read(words.split())

    assert (call.command, call.args) == (command, args)
    assert {**call.shared, **call.options} == options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("creat ID", "unknown command 'creat'"),
        ("create --bundel /b ID", "unknown option --bundel"),
        ("create", "0 arguments given"),
        ("create A B", "2 arguments given"),
        ("create --bundle", "--bundle needs a value"),
        ("delete --force=maybe ID", "takes true or false"),
        ("--root", "--root needs a value"),
        ("create --no-pivot ID", "--no-pivot: the root is changed by pivot_root"),
        ("exec --apparmor x ID true", "--apparmor: profiles of AppArmor are not supported"),
        ("exec --process-label x ID true", "--process-label: labels of SELinux"),
        ("exec --cgroup /x ID true", "--cgroup: groups below the container's"),
        ("--rootless true list", "--rootless: containers without the rights of root"),
        ("restore ID", "unknown command 'restore'"),
        ("checkpoint --help", "unknown command 'checkpoint'"),
    ],
)
def test_what_is_wrong_is_named(words: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        grammar.read(words.split())


def test_a_number_is_a_number() -> None:
    call = grammar.read(["create", "--preserve-fds", "many", "ID"])
    with pytest.raises(RequestError, match="--preserve-fds: it takes a number"):
        call.number("preserve-fds", 0)


def test_every_command_does_something() -> None:
    assert COMMANDS.keys() == grammar.COMMANDS.keys()


@pytest.mark.parametrize("name", grammar.COMMANDS)
def test_help_shows_every_option_that_means_something(name: str) -> None:
    text = grammar.help_of(name)
    for option in grammar.COMMANDS[name].options:
        long = option.names[0]
        hidden = long in grammar.IGNORED or long in grammar.REFUSED
        assert (f"--{long}" in text) is not hidden
    assert all(len(line) <= 100 for line in text.splitlines())


def test_what_is_ignored_is_an_option() -> None:
    options = {*grammar.SHARED, *(o for c in grammar.COMMANDS.values() for o in c.options)}
    assert grammar.IGNORED.keys() <= {name for option in options for name in option.names}
