"""The command: words to acts, acts to an exit status.

Law: the only module here that prints answers and ends the process.  What a command needs is
imported when it runs, since three of them start for every container.

Exit status: 0; 1 where something failed, and 255 where `exec` could not start its program, as runc
has it; `run` and `exec` pass on what their program ended with.
"""

from __future__ import annotations

import sys
from functools import partial

from cgmgr.errors import CgmgrError

from . import grammar
from .home import Home
from .report import FORMATS, Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

    from .grammar import Invocation

FAILED: Final = 1
EXEC_FAILED: Final = 255
#: the version of the specification that is followed
SPECIFICATION: Final = "1.2.0"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    reporter = Reporter()
    try:
        call = grammar.read(list(sys.argv[1:] if argv is None else argv))
        _report_there(call, reporter)
        return _answer(call) if not call.command else COMMANDS[call.command](call, reporter)
    except (CgmgrError, OSError) as error:
        reporter.error(error)
        return FAILED


def _report_there(call: Invocation, reporter: Reporter) -> None:
    reporter.debug = call.said("debug")
    reporter.log = call.text("log")
    reporter.format = call.text("log-format", "text")
    if reporter.format not in FORMATS:
        wrong, reporter.format = reporter.format, "text"
        raise grammar.usage(f"unknown log-format {wrong!r}")


def _answer(call: Invocation) -> int:
    """What is said without a command."""
    if call.said("version"):
        from cgmgr import __version__

        # dockerd wants the words "version" and, in a line of its own, "commit"
        print(f"cgmgr-oci version {__version__}\ncommit: {__version__}\nspec: {SPECIFICATION}")
        return 0
    print(grammar.overview())
    return 0 if call.said("help") else FAILED


def _create(call: Invocation, reporter: Reporter) -> int:
    from . import making

    making.create(_order(call), _home(call), detached=True, say=reporter.step)
    return 0


def _run(call: Invocation, reporter: Reporter) -> int:
    """What `create`, `start` and `delete` do, with a wait in between unless it is detached."""
    from . import attending, living, making

    order, home = _order(call), _home(call)
    detached = call.said("detach")
    with attending.signals() as signals:
        init = making.create(order, home, detached=detached, say=reporter.step)
        try:
            if detached:
                living.start(order.name, home)
                return 0
            start = partial(living.start, order.name, home)
            status = attending.attend(init, signals, start)
        except BaseException:
            living.delete(order.name, home, force=True)
            raise
    if not call.said("keep"):
        living.delete(order.name, home, force=True)
    return status


def _exec(call: Invocation, reporter: Reporter) -> int:
    try:
        return _enter(call, reporter)
    except (CgmgrError, OSError) as error:
        reporter.error(error)
        return EXEC_FAILED


def _enter(call: Invocation, reporter: Reporter) -> int:
    from . import attending, executing, handing

    name, *argv = call.args
    order = executing.ExecOrder(
        name=name,
        argv=tuple(argv),
        process=call.text("process"),
        cwd=call.text("cwd"),
        env=tuple(call.texts("env")),
        user=call.text("user"),
        groups=tuple(call.texts("additional-gids")),
        capabilities=tuple(call.texts("cap")),
        terminal=call.said("tty"),
        no_new_privileges=call.said("no-new-privs"),
        ignore_paused=call.said("ignore-paused"),
        kept_fds=_kept(call),
    )
    if not order.argv and not order.process:
        raise grammar.usage("cgmgr-oci exec ID COMMAND: there is no command")
    detached, socket = call.said("detach"), call.text("console-socket")
    home = _home(call)
    with attending.signals() as signals:
        asked = executing.wants_terminal(order, home)
        attending.check_console(asked=asked, socket=socket, detached=detached)
        init = executing.enter(order, home, reporter.step)
        try:
            handing.hand_over(init, call.text("pid-file"), socket, call.text("pidfd-socket"))
            if detached:
                init.start()
                return 0
            return attending.attend(init, signals, init.start)
        except BaseException:
            init.abort()
            raise


def _order(call: Invocation) -> making.Order:
    from . import making

    return making.Order(
        name=call.args[0],
        bundle=call.text("bundle"),
        systemd=call.said("systemd-cgroup"),
        pid_file=call.text("pid-file"),
        console_socket=call.text("console-socket"),
        pidfd_socket=call.text("pidfd-socket"),
        kept_fds=_kept(call),
        new_keyring=not call.said("no-new-keyring"),
    )


def _kept(call: Invocation) -> int:
    from . import handing

    kept = call.number("preserve-fds", 0)
    if kept < 0:
        raise grammar.usage(f"invalid value {kept} for --preserve-fds")
    handing.check_kept(kept)
    return kept


def _start(call: Invocation, _reporter: Reporter) -> int:
    from . import living

    living.start(call.args[0], _home(call))
    return 0


def _kill(call: Invocation, _reporter: Reporter) -> int:
    from . import living
    from .signals import number_of

    name, *said = call.args
    signal = number_of(said[0] if said else "TERM")
    living.kill(name, signal, _home(call), everyone=call.said("all"))
    return 0


def _delete(call: Invocation, _reporter: Reporter) -> int:
    from cgmgr.errors import NoSuchGroup

    from . import living

    try:
        living.delete(call.args[0], _home(call), force=call.said("force"))
    except NoSuchGroup:
        if not call.said("force"):
            raise
    return 0


def _state(call: Invocation, _reporter: Reporter) -> int:
    from . import looking

    print(looking.as_json(looking.state(call.args[0], _home(call))))
    return 0


def _pause(call: Invocation, _reporter: Reporter) -> int:
    from . import living

    living.pause(call.args[0], _home(call))
    return 0


def _resume(call: Invocation, _reporter: Reporter) -> int:
    from . import living

    living.resume(call.args[0], _home(call))
    return 0


def _list(call: Invocation, _reporter: Reporter) -> int:
    from . import looking

    found = looking.states(_home(call))
    if call.said("quiet"):
        for one in found:
            print(one["id"])
        return 0
    print(looking.as_json(found) if _json(call) else looking.table(found))
    return 0


def _ps(call: Invocation, _reporter: Reporter) -> int:
    from . import looking

    pids = looking.pids(call.args[0], _home(call))
    print(looking.as_json(pids) if _json(call) else looking.ps(pids, call.args[1:]))
    return 0


def _update(call: Invocation, _reporter: Reporter) -> int:
    from . import changing

    changing.update(call, _home(call))
    return 0


def _events(call: Invocation, _reporter: Reporter) -> int:
    from cgmgr.units import parse_duration_usec

    from . import figures, looking

    name, home = call.args[0], _home(call)
    if call.said("stats"):
        print(looking.as_json(figures.once(name, home)))
        return 0
    interval_s = parse_duration_usec(call.text("interval", "5s")) / 1_000_000
    for event in figures.stream(name, home, interval_s):
        print(looking.as_json(event), flush=True)
    return 0


def _spec(call: Invocation, _reporter: Reporter) -> int:
    from . import describing

    if call.said("rootless"):
        raise grammar.usage("spec --rootless: containers without root are not supported")
    describing.write_template(call.text("bundle"))
    return 0


def _features(_call: Invocation, _reporter: Reporter) -> int:
    from . import describing, looking

    print(looking.as_json(describing.features()))
    return 0


def _json(call: Invocation) -> bool:
    form = call.text("format", "table")
    if form not in ("table", "json"):
        raise grammar.usage(f"invalid format {form!r}: table or json")
    return form == "json"


def _home(call: Invocation) -> Home:
    return Home(call.text("root"))


COMMANDS: Final[dict[str, Callable[[Invocation, Reporter], int]]] = {
    "create": _create,
    "run": _run,
    "exec": _exec,
    "start": _start,
    "kill": _kill,
    "delete": _delete,
    "state": _state,
    "pause": _pause,
    "resume": _resume,
    "list": _list,
    "ps": _ps,
    "update": _update,
    "events": _events,
    "spec": _spec,
    "features": _features,
}

if TYPE_CHECKING:
    from . import making
