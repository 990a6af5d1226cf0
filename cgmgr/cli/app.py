"""The commands that typer parses, put together.

Law: wiring.  Every command's module imports what it needs when it is called.
"""

from __future__ import annotations

from typing import Annotated

import typer

from . import doctor, gc, group
from .failing import UsageError

HELP = """\
Say what a workload may use; cgmgr makes the kernel hold it to that, on any Linux host, and tells
you truthfully what happened.
"""

app = typer.Typer(
    name="cgmgr",
    help=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
PassedOn = Annotated[list[str] | None, typer.Argument()]


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """What is said before the command."""
    if version:
        from cgmgr import __version__

        print(f"cgmgr {__version__}")
        raise typer.Exit(0)


@app.command("run", context_settings=PASS_ON, add_help_option=False)
def run(words: PassedOn = None) -> int:
    """Run a command in a container, under limits."""
    from .run import command

    return command(words or [])


app.add_typer(group.app, name="group")
app.command("doctor", short_help="What this host can hold, what not, and the fix.")(doctor.doctor)
app.command("gc", short_help="Remove what killed commands left behind.")(gc.gc)


@app.command("unshare", context_settings=PASS_ON, add_help_option=False)
def unshare(words: PassedOn = None) -> int:
    """Run a program in new namespaces, as util-linux's unshare."""
    from .unshare import command

    return command(words or [])


@app.command("help", context_settings=PASS_ON, add_help_option=False)
def help_(words: PassedOn = None) -> int:
    """Show the help of a command."""
    return command([*(words or []), "--help"])


def command(words: list[str]) -> int:
    """Run one command line; whatever it raises is the caller's to show."""
    main = typer.main.get_command(app)
    if words in ([], ["group"]):
        words = [*words, "--help"]
    try:
        with main.make_context("cgmgr", words) as context:
            status = main.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except Exception as error:
        # typer carries a copy of click whose exceptions it does not export
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        raise UsageError(_lowered(message()), hint=_help_of(error)) from None
    return status if isinstance(status, int) else 0


def _lowered(message: str) -> str:
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _help_of(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'cgmgr'} --help"
