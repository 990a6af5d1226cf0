"""The grammar of `run` and `unshare` is docker's: pflag's, to the letter."""

import pytest

from cgmgr.cli.failing import UsageError
from cgmgr.cli.flags import Flag, Given, Grammar, Section
from cgmgr.cli.run_flags import ABSENT, GRAMMAR, LIMITS, NOT_OF_A_GROUP, limits
from cgmgr.resources.docker import FLAGS

SMALL = Grammar(
    "cgmgr try",
    [
        Section(
            title="All",
            flags=(
                Flag(name="interactive", short="i"),
                Flag(name="tty", short="t"),
                Flag(name="memory", short="m", value="SIZE"),
                Flag(name="env", short="e", value="NAME", many=True),
                Flag(name="map", short="M", value="FILE", optional=True),
            ),
        )
    ],
    {"detach": "not here", "d": "not here"},
)


def parsed(*words: str) -> Given:
    return SMALL.parse(words)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--memory", "64m"], id="long and a word"),
        pytest.param(["--memory=64m"], id="long and ="),
        pytest.param(["-m", "64m"], id="short and a word"),
        pytest.param(["-m64m"], id="short and glued"),
        pytest.param(["-m=64m"], id="short and ="),
        pytest.param(["-itm", "64m"], id="at the end of switches"),
        pytest.param(["-itm64m"], id="glued to switches"),
        pytest.param(["--memory", "1g", "-m", "64m"], id="the last counts"),
    ],
)
def test_a_value_is_given_in_any_of_pflags_ways(words: list[str]) -> None:
    given = parsed(*words, "host", "ls")

    assert given.one("memory") == "64m"
    assert given.rest == ["host", "ls"]


@pytest.mark.parametrize(
    ("words", "on"),
    [
        (["-it"], True),
        (["-ti"], True),
        (["-i", "-t"], True),
        (["--tty"], True),
        (["--tty=true"], True),
        (["-t=1"], True),
        (["--tty", "--tty=false"], False),
        (["-it=0"], False),
        ([], False),
    ],
    ids=str,
)
def test_switches(words: list[str], on: bool) -> None:
    assert parsed(*words).on("tty") is on


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        pytest.param(["-t", "host", "-m", "1"], ["host", "-m", "1"], id="options end at a word"),
        pytest.param(["--", "-m", "1"], ["-m", "1"], id="options end at --"),
        pytest.param(["host", "--", "x"], ["host", "--", "x"], id="a later -- is the command's"),
        pytest.param(["-", "-m"], ["-", "-m"], id="a lone dash is a word"),
        pytest.param(["-m", "-t", "x"], ["x"], id="a value may look like an option"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_where_options_end(words: list[str], rest: list[str]) -> None:
    assert parsed(*words).rest == rest


def test_what_may_be_repeated_is_kept_in_order() -> None:
    given = parsed("-e", "A=1", "--env=B=2=3", "-eC")

    assert given.all("env") == ["A=1", "B=2=3", "C"]
    assert "env" in given
    assert "memory" not in given


@pytest.mark.parametrize(
    ("words", "value"),
    [(["--map"], ""), (["--map=f"], "f"), (["-M"], ""), (["-M=f"], "f"), (["-tM"], "")],
    ids=str,
)
def test_an_optional_value_comes_behind_an_equals_sign_only(words: list[str], value: str) -> None:
    given = parsed(*words, "next")

    assert given.one("map") == value
    assert given.rest == ["next"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memroy", "1"], "unknown option --memroy, did you mean --memory?"),
        (["-x"], "unknown option -x"),
        (["-tx"], "unknown option -x in -tx"),
        (["--memory"], "--memory needs a value: -m, --memory SIZE"),
        (["-m"], "-m needs a value: -m, --memory SIZE"),
        (["--tty=maybe"], "invalid value 'maybe' for --tty: write true or false"),
        (["--detach"], "there is no --detach: not here"),
        (["-td"], "there is no -d: not here"),
        (["--=x"], "unknown option --"),
    ],
    ids=str,
)
def test_bad_words_are_named(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=r"^" + message.replace("?", r"\?") + "$"):
        parsed(*words)


def test_help_fits_and_names_everything() -> None:
    for columns in (40, 80, 200):
        lines = GRAMMAR.help(columns)
        assert max(len(line) for line in lines) <= max(columns, 60)
        for name in GRAMMAR.long:
            assert any(f"--{name}" in line for line in lines), name


def test_every_limit_of_dockers_vocabulary_is_an_option_of_run() -> None:
    names = {flag.name.replace("-", "_") for flag in LIMITS if flag.name not in NOT_OF_A_GROUP}

    assert names == set(FLAGS) - {"kernel_memory"}


def test_nothing_is_both_there_and_absent() -> None:
    assert not set(ABSENT) & (set(GRAMMAR.long) | set(GRAMMAR.short))


def test_limits_are_those_that_were_given() -> None:
    given = GRAMMAR.parse(
        ["-m", "64m", "--misc=a=1", "--misc", "b=2", "--oom-kill-disable=false", "--ulimit=core=0"]
    )

    assert limits(given) == {"memory": "64m", "misc": ["a=1", "b=2"], "oom_kill_disable": False}
