"""The checkout, the table in pyproject.toml and the links must tell one story."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_on_disk_is_shipped() -> None:
    on_disk = {
        ".".join((top, *init.parent.relative_to(ROOT / folder).parts))
        for top, folder in SETUPTOOLS["package-dir"].items()
        for init in (ROOT / folder).rglob("__init__.py")
    }

    assert on_disk == set(SETUPTOOLS["packages"])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an sdist holds real folders, not links")
@pytest.mark.parametrize("package", ["drivers", "runtime", "exporters"])
def test_link_and_table_agree(package: str) -> None:
    link = ROOT / "cgmgr" / package

    assert link.is_symlink()
    assert link.resolve() == ROOT / SETUPTOOLS["package-dir"][f"cgmgr.{package}"]
    assert not Path(link.readlink()).is_absolute()
