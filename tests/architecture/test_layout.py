"""The layout is as described: sizes, public names, who may import what, and what ARCHITECTURE.md names."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import eventzr_kafka
import eventzr_marketplace_events

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "src/eventzr_kafka", ROOT / "src/eventzr_kafka_pytest", ROOT / "marketplace-events/src"]
MODULES = sorted(path for package in PACKAGES for path in package.glob("**/*.py"))


def function_lengths() -> list[int]:
    """Return the lines of every function's body, without its signature and docstring."""
    lengths: list[int] = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lengths.append(sum((part.end_lineno or part.lineno) - part.lineno + 1 for part in body))
    return lengths


def test_modules_stay_under_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_are_short() -> None:
    lengths = function_lengths()
    assert statistics.median(lengths) <= 8
    assert statistics.quantiles(lengths, n=10)[-1] <= 25


def shared_class_names() -> dict[str, list[str]]:
    """Return the public classes of one name, by name, with their files."""
    files: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    return {name: found for name, found in files.items() if len(found) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    assert shared_class_names() == {}


def imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_only_adapters_import_vendors() -> None:
    assert [path for path in MODULES if "_confluent" not in path.parts and "confluent_kafka" in imported_by(path)] == []
    aws = {"boto3", "botocore", "aws_msk_iam_sasl_signer"}
    assert [path for path in MODULES if path.name != "_aws.py" and imported_by(path) & aws] == []


@pytest.mark.parametrize("package", [eventzr_kafka, eventzr_marketplace_events], ids=lambda package: package.__name__)
def test_public_names_exist_sorted(package: ModuleType) -> None:
    names: list[str] = package.__all__
    assert names == sorted(names)
    assert all(getattr(package, name) is not None for name in names)


def test_public_names_have_docstrings() -> None:
    named = [getattr(eventzr_kafka, name) for name in eventzr_kafka.__all__]
    named += [getattr(eventzr_marketplace_events, name) for name in eventzr_marketplace_events.__all__]
    assert [item for item in named if not item.__doc__] == []


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_loads_no_client_and_no_loop() -> None:
    heavy = [
        "confluent_kafka",
        "sqlalchemy",
        "psycopg",
        "boto3",
        "botocore",
        "cloudevents",
        "rich",
        "asyncio",
        "eventzr_marketplace_events",
    ]
    loaded = run_python(f"import sys, eventzr_kafka; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"


SDK = ROOT / "src" / "eventzr_kafka"
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::([\w.]+))?`", PAGE)))
FOLDERS = sorted(set(re.findall(r"`((?:tests|src)/[\w/]+)`", PAGE)))


def file_named(name: str) -> Path:
    """Return the file of a name on the page: below the SDK's package, or from the root."""
    return next((path for path in (SDK / name, ROOT / name) if path.is_file()), SDK / name)


def defined_in(path: Path) -> set[str]:
    """Return the functions, classes and ``Class.method`` of a file."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_page_names_what_exists(file: str, name: str) -> None:
    path = file_named(file)

    assert path.is_file(), f"ARCHITECTURE.md names {file}: write where it went"
    assert not name or name in defined_in(path), f"ARCHITECTURE.md names {name} in {file}: write its new name there"


@pytest.mark.parametrize("folder", FOLDERS)
def test_page_names_existing_folders(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_page_has_every_room() -> None:
    rooms = {path.parent.name for path in SDK.glob("*/__init__.py")}

    assert set(re.findall(r"(?:^  |   )(\w+)/(?: {2,}|: )", PAGE, re.MULTILINE)) - {"src"} == rooms


def test_modules_of_the_rooms_exist() -> None:
    """Each module that the list names behind a room is a file there."""
    rows = re.findall(r"^  (engine|dead_letters|producing|events|_confluent)/ +(.+)$", PAGE, re.MULTILINE)
    words = [
        (room, word)
        for room, row in rows
        for word in re.findall(r"\b([a-z_]+)\b(?=[ ,;▸]|$)", re.sub(r"\(.*?\)", "", row))
    ]

    assert words
    modules = {(path.parent.name, path.stem) for path in SDK.glob("*/*.py")}
    prose = {"the", "only", "importer", "of", "confluent_kafka", "and"}
    assert [(room, word) for room, word in words if word not in prose and (room, word) not in modules] == []


def test_page_fits_on_120_lines() -> None:
    assert len(PAGE.splitlines()) <= 120
