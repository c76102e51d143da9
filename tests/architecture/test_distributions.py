"""Two distributions: what each is made of, and what one may know of the other."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import pytest

import eventzr_kafka

ROOT = Path(__file__).parents[2]
ENGINE, EVENTS = ROOT, ROOT / "marketplace-events"
EVENT_MODULES = sorted((EVENTS / "src").glob("**/*.py"))
TYPED = [*(ENGINE / "src").glob("eventzr_*"), *(EVENTS / "src").glob("eventzr_*")]


def project(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def imports(path: Path) -> dict[str, set[str]]:
    """The modules that a file imports, each with the names it takes from there."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update({alias.name: set() for alias in node.names})
    return found


def test_there_are_events_to_check() -> None:
    assert len(EVENT_MODULES) > 10


@pytest.mark.parametrize("path", EVENT_MODULES, ids=lambda path: path.stem)
def test_events_import_public_names_only(path: Path) -> None:
    engine = {module: names for module, names in imports(path).items() if module.partition(".")[0] == "eventzr_kafka"}
    assert engine.keys() <= {"eventzr_kafka"}
    assert engine.get("eventzr_kafka", set()) <= set(eventzr_kafka.__all__)


def test_engine_declares_no_events() -> None:
    assert "eventzr_kafka.events" not in project(ENGINE).get("entry-points", {})
    assert "eventzr_kafka.events" in project(EVENTS)["entry-points"]


def test_both_support_the_same_pythons() -> None:
    shared = [{item for item in project(folder)["classifiers"] if "Python ::" in item} for folder in (ENGINE, EVENTS)]
    assert shared[0] == shared[1]
    assert project(ENGINE)["requires-python"] == project(EVENTS)["requires-python"]


@pytest.mark.parametrize("folder", [ENGINE, EVENTS], ids=["engine", "events"])
def test_installed_version_matches(folder: Path) -> None:
    table = project(folder)
    assert distribution(table["name"]).version == table["version"]


def test_entry_point_finds_marketplace() -> None:
    found = [point.value for point in entry_points(group="eventzr_kafka.events")]
    assert found == ["eventzr_marketplace_events"]


@pytest.mark.parametrize("package", TYPED, ids=lambda path: path.name)
def test_every_package_ships_its_types(package: Path) -> None:
    assert (package / "py.typed").is_file()
