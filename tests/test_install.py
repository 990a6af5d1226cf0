"""The wheel holds what the checkout holds, under the right names, and works where it is installed.

Law: everything is built from a copy of the checkout's own files, never in it: setuptools reuses
build/ and would ship modules that are long deleted.
"""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
NOT_SOURCE = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "build", "*.egg-info")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output; what went wrong is in the failure."""
    ended = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stderr}")
    return ended.stdout


def build(kind: str, source: Path, into: Path) -> Path:
    """Have the build backend make a wheel or an sdist, without pip and so without a network."""
    into.mkdir()
    script = (
        "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
    )
    run(sys.executable, "-c", script, f"build_{kind}", into, cwd=source)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("copy") / "cgmgr"
    shutil.copytree(ROOT, place, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    return place


@pytest.fixture(scope="module")
def wheel(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", copy, tmp_path_factory.mktemp("wheel") / "made")


def _content(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_wheel_holds_every_module_once_and_nothing_else(wheel: Path) -> None:
    modules = {
        str(PurePath(package.replace(".", "/"), path.relative_to(ROOT / folder)))
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }

    assert _content(wheel) == modules | {"cgmgr/py.typed"}


def test_wheel_made_from_the_sdist_is_the_same(wheel: Path, copy: Path, tmp_path: Path) -> None:
    sdist = build("sdist", copy, tmp_path / "sdist")
    run("tar", "-xf", sdist, cwd=tmp_path)
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")

    again = build("wheel", unpacked, tmp_path / "wheel")

    assert _content(again) == _content(wheel)
    assert (unpacked / "cgmgr/drivers/__init__.py").is_file(), "the tests of an sdist import it"


PROBE = """
import importlib, importlib.util, sys
assert not importlib.util.find_spec("drivers") and not importlib.util.find_spec("runtime")
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


def _pip_install(environment: Path, wheel: Path) -> None:
    """Install the wheel and what it depends on; skip when there is no network to fetch from."""
    pip = [str(environment / "bin/pip"), "--disable-pip-version-check", "--no-input", "-q"]
    pins = ["--constraint", str(ROOT / "requirements-dev.lock")]
    command = [*pip, "install", "--retries=1", *pins, str(wheel)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode != 0 and "connection broken by" in ended.stderr:
        pytest.skip("no package index can be reached")
    assert ended.returncode == 0, ended.stderr


def test_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    _pip_install(environment, wheel)

    packages = PROJECT["tool"]["setuptools"]["packages"]
    places = run(environment / "bin/python", "-I", "-c", PROBE, *packages, cwd=tmp_path)
    version = run(environment / "bin/cgmgr", "--version", cwd=tmp_path)

    assert all(line.startswith(str(environment)) for line in places.splitlines())
    assert version.split()[-1] == PROJECT["project"]["version"]
    run(environment / "bin/pip", "check", cwd=tmp_path)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_lock_pins_every_direct_dependency() -> None:
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    pinned = {_normal(line.partition("==")[0]) for line in pins if "==" in line}
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    asked += PROJECT["build-system"]["requires"]

    names = {_normal(text.partition(">")[0].partition("[")[0]) for text in asked}

    assert len(pinned) == len(pins)
    assert names <= pinned
