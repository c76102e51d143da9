"""Plain English in what people read: README, pages, docstrings, errors, log lines and help.

A line may hold a listed word where it quotes something; such files are counted in `QUOTED`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    ROOT / "examples/README.md",
    ROOT / "marketplace-events/README.md",
]
SOURCES = [
    path
    for folder in ("src/eventzr_kafka", "src/eventzr_kafka_pytest", "marketplace-events/src")
    for path in (ROOT / folder).rglob("*.py")
]
FILES = {str(path.relative_to(ROOT)): path for path in sorted([*PAGES, *SOURCES])}

AVOIDED: Final = {
    r"\b(?:un)?mend(?:s|ed|ing)?\b": "hint, or fix",
    r"\btold\b": "notified, reported, logged",
    r"\b(?:nobody|somebody|anybody|whoever)\b": "the caller, the client, no one: name the subject",
    r"(?<!there )\bis no (?!longer\b|more than\b)": "is not a",
}
FIRST_WORDS: Final = re.compile(r"(?:What|Where|Whether|Who|Whose|Whoever)\b")
QUOTED: Final[dict[str, int]] = {}
"""File → findings that may stay."""


def texts(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Each text of a file: its line, the text, and whether it is a docstring."""
    if path.suffix == ".md":
        yield from ((number, line, False) for number, line in enumerate(path.read_text().splitlines(), 1))
        return
    for node in ast.walk(ast.parse(path.read_text())):
        body: object = getattr(node, "body", None)
        for part in cast("list[ast.AST]", body) if isinstance(body, list) else ():
            if (
                isinstance(part, ast.Expr)
                and isinstance(part.value, ast.Constant)
                and isinstance(part.value.value, str)
            ):
                yield part.lineno, part.value.value.lstrip(), True
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, False


def findings(path: Path) -> list[str]:
    """The line and the words of each finding."""
    found: set[tuple[int, str]] = set()
    for line, text, is_docstring in texts(path):
        if is_docstring and (first := FIRST_WORDS.match(text)):
            found.add((line, f"docstring begins with {first[0]}: begin with a verb or a noun"))
        for pattern, better in AVOIDED.items():
            found |= {(line, f"{match[0]!r}: {better}") for match in re.finditer(pattern, text, re.IGNORECASE)}
    return [f"{line}: {words}" for line, words in sorted(found)]


def test_texts_are_plain_english() -> None:
    found = {name: findings(path) for name, path in FILES.items()}
    assert {name: lines for name, lines in found.items() if len(lines) > QUOTED.get(name, 0)} == {}


@pytest.mark.parametrize(
    "text",
    ['"""What it does."""', 'x = "somebody mends it"', 'def f():\n    """Whether it is."""', 'x = f"{y} is no topic"'],
)
def test_text_that_is_not_plain_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(text)
    assert findings(tmp_path / "module.py")
