"""What mypy and pyright accept and refuse, as somebody who has installed the packages.

Files in ``accepted`` have no error, and run. In ``refused``, each line that ends in ``# refused`` has an error from
both checkers, and no other line has one.
"""

from __future__ import annotations

import ast
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from eventzr_kafka.errors import RoutingError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACCEPTED = sorted(path.name for path in HERE.glob("accepted/*.py"))
REFUSED = sorted(path.name for path in HERE.glob("refused/*.py"))
CHECKERS = ["mypy", "pyright"]

Errors: TypeAlias = dict[str, dict[int, str]]
"""File → line → message."""


def run_checker(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, f"{arguments[0]} did not do its work:\n{done.stdout}{done.stderr}"
    return done.stdout


def run_mypy(folder: Path) -> Errors:
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'typing'}"  # what they import is checked once, not in each run
    output = run_checker(folder, "mypy", "--config-file=", cache, "--strict", "--output=json", "accepted", "refused")
    found: Errors = {}
    for line in output.splitlines():
        item = json.loads(line)
        if item["severity"] == "error":
            found.setdefault(Path(item["file"]).name, {})[item["line"]] = item["message"]
    return found


def run_pyright(folder: Path) -> Errors:
    config = {"include": ["accepted", "refused"], "typeCheckingMode": "strict"}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    output = json.loads(run_checker(folder, "pyright", "--outputjson", "--pythonpath", sys.executable))
    found: Errors = {}
    for item in output["generalDiagnostics"]:
        if item["severity"] == "error":
            found.setdefault(Path(item["file"]).name, {})[item["range"]["start"]["line"] + 1] = item["message"]
    return found


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Errors]:
    """The errors of both checkers over all files, from one run each, away from the sources."""
    folder = tmp_path_factory.mktemp("typing")
    for name in ("accepted", "refused"):
        shutil.copytree(HERE / name, folder / name)
    with ThreadPoolExecutor() as pool:
        mypy, pyright = pool.submit(run_mypy, folder), pool.submit(run_pyright, folder)
        return {"mypy": mypy.result(), "pyright": pyright.result()}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("file", ACCEPTED)
def test_an_accepted_file_has_no_error(file: str, checker: str, errors: Mapping[str, Errors]) -> None:
    assert errors[checker].get(file, {}) == {}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("file", REFUSED)
def test_a_refused_file_has_errors_on_its_marked_lines_alone(
    file: str, checker: str, errors: Mapping[str, Errors]
) -> None:
    lines = (HERE / "refused" / file).read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    found = errors[checker].get(file, {})
    assert marked
    assert {lines[number - 1].strip() for number in marked - found.keys()} == set()
    assert {lines[number - 1].strip(): found[number] for number in found.keys() - marked} == {}


@pytest.mark.parametrize("file", ACCEPTED)
def test_an_accepted_file_runs(file: str) -> None:
    subprocess.run([sys.executable, HERE / "accepted" / file], check=True)  # its events are declared there, not here


def refused_handlers() -> list[Any]:
    """Each method of the refused classes, as a consumer of its own."""
    tree = ast.parse((HERE / "refused" / "refused_handlers.py").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    before = [*imports, classes["Narrower"], classes["OwnEvent"]]
    methods = [node for name in ("Handler", "RefusedBatches") for node in classes[name].body]
    return [
        pytest.param(before, method, id=method.name)
        for method in methods
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize(("before", "method"), refused_handlers())
def test_decorators_refuse_what_type_checkers_refuse(before: list[ast.stmt], method: ast.stmt) -> None:
    decorator = ast.parse('kafka_consumer(group_id="group")', mode="eval").body
    consumer = ast.ClassDef("Consumer", bases=[], keywords=[], body=[method], decorator_list=[decorator])
    source = ast.unparse(ast.fix_missing_locations(ast.Module([*before, consumer], type_ignores=[])))
    expected = TypeError if re.search(r"@on_message\(\)", source) else RoutingError
    with pytest.raises(expected):
        exec(compile(source, "refused.py", "exec", dont_inherit=True), {"__name__": __name__})  # noqa: S102 -- the tests' own source


@pytest.mark.parametrize("package", ["eventzr_kafka", "eventzr_marketplace_events"])
def test_the_packages_say_that_they_are_typed(package: str) -> None:
    assert importlib.resources.files(package).joinpath("py.typed").is_file()
