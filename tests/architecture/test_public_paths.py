"""Eight paths are public: documents and examples use no other, and the types of public signatures are exported."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import eventzr_kafka

ROOT = Path(__file__).parents[2]
PATHS = re.findall(r"^- ``(eventzr_kafka[\w.]*)``", eventzr_kafka.__doc__ or "", re.MULTILINE)
MODULES = {path: importlib.import_module(path) for path in PATHS}
SUBMODULES = {"eventzr_kafka.outbox.migration", "eventzr_kafka.inbox.migration", "eventzr_kafka.testing.strategies"}

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("examples/**/*.md"))]
PROGRAMS = [
    *sorted(ROOT.glob("examples/**/*.py")),
    *sorted(ROOT.glob("marketplace-events/src/**/*.py")),
    *sorted(ROOT.glob("marketplace-events/src/**/*.py")),
]
# Types of public signatures that users do not name, each with its reason.
UNNAMED = {
    "Rest": "a private slot of a CloudEvent",
    "Acknowledgement": "a report of the client, which calls a Delivery",
    "Clients": "a MemoryBroker is one",
    "Clock": "for virtual time and the simulation",
    "Cut": "read as an attribute of a Letter",
    "Database": "of the simulation",
    "Deadline": "given by the Lambda handler",
    "DeliverySink": "the producer that makes a Delivery",
    "ItemFailure": "a part of Lambda's BatchResponse",
    "ManyKeywords": "written as keywords of publish_many",
    "OnBatch": "the result of a decorator",
    "OnMessage": "the result of a decorator",
    "ProducerTransport": "given by a MemoryBroker, or by Lambda",
    "Runtime": "for the simulation",
    "SimulatedOutbox": "of the simulation",
}


def sdk_imports(code: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import of the SDK; the name is empty for ``import module``."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "eventzr_kafka")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "eventzr_kafka":
            yield from ((node.module or "", alias.name) for alias in node.names)


def private_imports(code: str) -> list[tuple[str, str]]:
    return [
        (path, name)
        for path, name in sdk_imports(code)
        if path not in MODULES
        or (name and name not in MODULES[path].__all__ and f"{path}.{name}" not in {*PATHS, *SUBMODULES})
    ]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_package_names_eight_public_paths() -> None:
    assert len(PATHS) == 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_imports_public_names_alone(page: Path) -> None:
    assert [private_imports(block) for block in python_blocks(page)] == [[] for _ in python_blocks(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_program_imports_public_names_alone(program: Path) -> None:
    code = program.read_text()

    assert private_imports(code) == []
    assert not re.findall(r"\.__(?:topic|source|subject|dataschema|partial)__", code)


@pytest.mark.parametrize("module", MODULES.values(), ids=PATHS)
def test_public_module_exports_what_it_has(module: ModuleType) -> None:
    names: list[str] = module.__all__

    assert names == sorted(names)
    assert all(getattr(module, name) is not None for name in names)


def exported() -> Iterator[tuple[str, Any]]:
    for module in MODULES.values():
        for name in module.__all__:
            yield name, getattr(module, name)


def test_no_two_public_classes_share_a_name() -> None:
    named: dict[str, Any] = {}
    for name, item in exported():
        if inspect.isclass(item):
            assert named.setdefault(name, item) is item, name


def public_functions(item: Any) -> Iterator[Any]:
    """A function itself; of a class its fields, its constructor and its public methods."""
    if not inspect.isclass(item):
        if inspect.isfunction(item):
            yield item
        return
    yield item
    for name, member in vars(item).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(function) and (not name.startswith("_") or name in {"__init__", "__call__"}):
            yield function


def classes_in(hint: Any) -> Iterator[type]:
    """The SDK's classes in an annotation."""
    origin = get_origin(hint) or hint
    if inspect.isclass(origin) and origin.__module__.split(".")[0] == "eventzr_kafka":
        yield origin
    for part in get_args(hint):
        parts: Any = part if isinstance(part, list) else [part]  # pyright: ignore[reportUnknownVariableType]
        for inner in parts:
            yield from classes_in(inner)


def annotations(function: Any) -> Iterator[Any]:
    names = {name: item for module in MODULES.values() for name, item in vars(module).items()}
    try:
        yield from get_type_hints(function, localns=names).values()
    except NameError:  # imported for type checkers alone
        return


def test_types_of_public_signatures_are_exported() -> None:
    public = {item for _, item in exported() if inspect.isclass(item)}
    missing = {
        f"{cls.__module__}.{cls.__qualname__} of {function.__qualname__}"
        for _, item in exported()
        for function in public_functions(item)
        for hint in annotations(function)
        for cls in classes_in(hint)
        if cls not in public
        and cls.__name__ not in UNNAMED
        and not any(part.startswith("_") for part in cls.__module__.split("."))
    }

    assert missing == set()
