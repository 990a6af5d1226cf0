"""What the first import brings along.

Law: no clocks here (`make bench` measures); a module that must not be loaded is named, because each
costs more than all of the budget: dataclasses 14 ms, typing 9, json 6, ctypes 1.5.
"""

import json
import subprocess
import sys

import pytest

# Third parties have one home each, and are imported where they are used.
THIRD_PARTIES = {"jeepney", "prometheus_client", "psutil", "pyroute2", "typer"}
HEAVY = {
    *("argparse", "asyncio", "ctypes", "dataclasses", "importlib.metadata", "inspect", "json"),
    *("logging", "pathlib", "re", "shutil", "subprocess", "tempfile", "threading", "tomllib"),
    "typing",
}
GROUND_FLOOR = [f"cgmgr.{name}" for name in ("errors", "record", "units", "resources")]


def loaded_by(statement: str) -> set[str]:
    """The modules that a bare interpreter has only after the statement.

    Editable installs put finders into the interpreter that load modules of their own, hence -S and
    the checkout as the only place besides the standard library.
    """
    root = __file__.rpartition("/tests/")[0]
    script = f"""
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
{statement}
after = set(sys.modules) - before
import json
print(json.dumps(sorted(after)))
"""
    command = [sys.executable, "-I", "-S", "-c", script]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout))


def test_import_of_the_package_loads_itself_and_next_to_nothing() -> None:
    loaded = loaded_by("import cgmgr")

    assert "cgmgr" in loaded
    assert loaded & (HEAVY | THIRD_PARTIES) == set()
    assert {name for name in loaded if name.startswith("cgmgr.")} == set()


@pytest.mark.parametrize("module", GROUND_FLOOR)
def test_ground_floor_is_light(module: str) -> None:
    loaded = loaded_by(f"import {module}")

    assert module in loaded
    assert loaded & (HEAVY | THIRD_PARTIES) == set()


def test_names_that_are_not_there_say_so() -> None:
    with pytest.raises(AssertionError, match="has no attribute 'no_such_name'"):
        loaded_by("import cgmgr; cgmgr.no_such_name")
