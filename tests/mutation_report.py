"""Prints how many mutants of each file `make mutate` has killed, and how the survivors differ from the code."""

from __future__ import annotations

import ast
import json
import re
import sys
from difflib import unified_diff
from pathlib import Path

MUTANTS = Path("mutants/src/eventzr_kafka")
SURVIVED, WITHOUT_TEST, FLOOR = 0, 33, 0.9


def main() -> int:
    """Print the table and the survivors; 1 if too many of a file survive, or some are not checked."""
    enough: list[bool] = []
    changes: list[str] = []
    print("| File | Mutants | Killed | Share |\n|---|---|---|---|")
    for meta in sorted(MUTANTS.rglob("*.meta")):
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        if not codes:
            continue
        file = meta.with_suffix("")
        alive = [name for name, code in codes.items() if code in (SURVIVED, WITHOUT_TEST)]
        killed = sum(code is not None for code in codes.values()) - len(alive)
        enough.append(killed >= FLOOR * len(codes) and None not in codes.values())
        print(f"| `{file.relative_to(MUTANTS)}` | {len(codes)} | {killed} | {killed / len(codes):.1%} |")
        changes += [line for name in alive for line in _changes(file, name)]
    print("\n".join(["", *changes]))
    return 0 if enough and all(enough) else 1


def _changes(file: Path, name: str) -> list[str]:
    """The lines in which a mutant differs from the function it comes from."""
    functions = {
        node.name: ast.unparse(node).splitlines()[1:]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    mutant = name.rpartition(".")[2]
    original = functions[re.sub(r"_\d+$", "_orig", mutant)]
    diff = unified_diff(original, functions[mutant], lineterm="", n=0)
    return [mutant.replace("__mutmut", ""), *(line for line in diff if line[:2] in ("- ", "+ "))]


if __name__ == "__main__":
    sys.exit(main())
