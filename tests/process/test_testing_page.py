"""The page for users who test their handlers: its snippets are a test file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.unit.project.test_docs import PAGES, blocks


def test_testing_page_is_a_test_file(tmp_path: Path) -> None:
    snippets = blocks("python", PAGES["docs/testing.md"])
    file = tmp_path / "test_page.py"
    file.write_text("\n".join(snippets))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )

    tests = "\n".join(snippets).count("def test_")
    assert (len(snippets), tests) == (6, 6)
    assert re.search(rf"^{tests} passed", done.stdout, re.MULTILINE), done.stdout
