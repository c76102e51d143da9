"""A newcomer follows examples/README.md to the letter, in a copy of the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "examples" / "README.md"
SAVED = re.compile(r"[Ss]ave this as\s+`([^`]+)`[^\n]*\n\n```\w+\n(.*?)```", re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("examples", "marketplace-events", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nineteenth_event_is_added_as_told(copy: Path) -> None:
    section = README.read_text().partition("## Add an event of your own")[2]
    saved = SAVED.findall(section)
    commands = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)

    for path, content in saved:
        (copy / path).write_text(content)
    run(copy, "git", "apply", "loyalty.patch")
    for command in commands:
        run(copy, sys.executable, "-m", *command.strip().removeprefix(".venv/bin/").split())

    assert [path.rpartition("/")[2] for path, _ in saved] == ["loyalty.py", "loyalty.patch", "test_loyalty.py"]
    assert len(commands) == 1
    run(copy, sys.executable, "-m", "ruff", "check", "examples/marketplace_service")


def test_every_named_path_exists() -> None:
    text = README.read_text().partition("## Add an event of your own")[0]
    named = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|yml|yaml))`", text)) | set(re.findall(r"-f ([\w./-]+)", text))
    folders = (
        ROOT,
        ROOT / "examples",
        ROOT / "examples" / "marketplace_service",
        ROOT / "examples/marketplace_service/domain",
    )

    assert named
    assert [name for name in named if not any((folder / name).is_file() for folder in folders)] == []
