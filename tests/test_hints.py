"""Every hint in the source is something to paste: a command, an option, or a setting."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("cgmgr", "drivers", "runtime", "exporters")
LINKS = {ROOT / "cgmgr" / name for name in FOLDERS}

#: what a hint may begin with
COMMANDS = (
    *(
        "cgmgr",
        "cgmgr-oci",
        "systemctl",
        "systemd-run",
        "journalctl",
        "loginctl",
        "busctl",
        "apt",
        "apt-get",
        "man",
        "rm",
    ),
    *("cat", "chattr", "chmod", "chown", "df", "echo", "export", "find", "grep", "head", "ls"),
    *("lsblk", "mkdir", "mount", "sed", "stat", "su", "command", "type", "ulimit", "usermod"),
    *("bpftool", "capsh", "dmesg", "kill", "modprobe", "nft", "ps", "python3", "rdma", "sysctl"),
)
#: what stands for a text that is known only when it is said
HOLE = "HOLE"
OPTION = re.compile(r"--?[a-zA-Z][\w-]*\Z")
SETTING = re.compile(r"[a-zA-Z_][\w.-]*=")
PYTHON = re.compile(r"[a-z]+(\.\w+)+\(.*\)\Z")
#: functions and tables that say hints
SAYERS = re.compile(r"(?i:hint|way_out|way_to|thawing|\bfix_|\bshow_)")


def texts(node: ast.AST | None) -> Iterator[str]:
    """The texts that an expression may be, with `HOLE` for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (next(texts(part), HOLE) for part in node.values)
        yield "".join(parts)
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.BoolOp | ast.Tuple):
        children = node.values if isinstance(node, ast.BoolOp) else node.elts
        for child in children:
            yield from texts(child)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from texts(value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from texts(node.left)


def said(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every text that is, or becomes, a hint, and its line."""
    for node in ast.walk(tree):
        values: list[ast.AST | None] = []
        if isinstance(node, ast.keyword) and node.arg in ("hint", "fix"):
            values = [node.value]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [ast.unparse(target) for target in targets if not isinstance(target, ast.Tuple)]
            values = [node.value] if any(SAYERS.search(name) for name in names) else []
        elif isinstance(node, ast.FunctionDef) and SAYERS.search(node.name):
            values = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
        for value in values:
            for text in texts(value):
                yield getattr(value, "lineno", 0), text


HINTS = [
    pytest.param(text, id=f"{path.relative_to(ROOT)}:{line}")
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not LINKS & {path, *path.parents} or folder != "cgmgr"
    for line, text in said(ast.parse(path.read_text()))
    if text
]


def is_pasteable(hint: str) -> bool:
    """One command, or several; an option; a setting; or what the place where it is said knows."""
    if PYTHON.match(hint.partition(" #")[0]):
        return True
    try:
        words = shlex.split(hint, comments=True)
    except ValueError:
        return False
    if not words:
        return False
    first = words[0]
    if first.startswith(HOLE) or OPTION.match(first):
        return True
    if SETTING.match(first):
        return len(words) == 1
    if " = " in hint:  # of TOML
        return len(words) == 3
    return first in COMMANDS


def test_there_are_hints() -> None:
    assert len(HINTS) > 100


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_can_be_pasted(hint: str) -> None:
    assert is_pasteable(hint), hint


@pytest.mark.parametrize(
    "prose",
    [
        "run as root",
        "leave out -t, or -i",
        "choose a name without that ending",
        "a script needs a first line such as #!/bin/sh",
        "raising a hard limit needs CAP_SYS_RESOURCE",
        "cgroup_enable=memory, not cgroup_disable=memory, on the kernel's command line",
    ],
)
def test_prose_is_told_apart(prose: str) -> None:
    assert not is_pasteable(prose)
