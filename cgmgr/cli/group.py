"""`cgmgr group`: groups without a container.

Law: which verbs there are; each has its module.
"""

from __future__ import annotations

import typer

from . import (
    group_create,
    group_freeze,
    group_get,
    group_kill,
    group_ls,
    group_rm,
    group_run,
    group_set,
    group_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

app = typer.Typer(
    help="Groups of processes: their limits, what they use, who is in them.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: verb, what does it, and what the list of commands says of it
VERBS: Final[tuple[tuple[str, Callable[..., Any], str], ...]] = (
    ("create", group_create.create, "Make a group with limits."),
    ("run", group_run.run, "Run a command in a group."),
    ("set", group_set.set_, "Change limits while it runs."),
    ("get", group_get.get, "Limits: asked, held, used."),
    ("ls", group_ls.ls, "List the groups of cgmgr."),
    ("tree", group_tree.tree, "Groups, what they use, who is in them."),
    ("freeze", group_freeze.freeze, "Stop every process of a group."),
    ("thaw", group_freeze.thaw, "Let them run again."),
    ("kill", group_kill.kill, "Kill every process of a group."),
    ("rm", group_rm.rm, "Remove groups."),
)
#: verbs whose options end at the first word that is none
COMMAND_FOLLOWS: Final = ("run",)

for _verb, _function, _about in VERBS:
    _settings = {"allow_interspersed_args": _verb not in COMMAND_FOLLOWS}
    app.command(_verb, short_help=_about, context_settings=_settings)(_function)
