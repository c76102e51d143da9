"""The one question of all commands, on a real terminal: anything but a clear yes is a no."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.pty_call import CTRL_C, CTRL_D, python_on_a_terminal

ASK = "from eventzr_kafka.cli.question import is_agreed; print('agreed:', is_agreed('Apply?'))"


@pytest.mark.parametrize(
    ("keys", "agreed"),
    [
        (b"y\n", True),
        (b" YES \n", True),
        (b"n\n", False),
        (b"\n", False),
        (b"yess\n", False),
        (CTRL_D, False),
        (b"\xff\xfe\n", False),
    ],
)
def test_only_a_clear_yes_is_a_yes(keys: bytes, *, agreed: bool) -> None:
    ended = python_on_a_terminal(["-c", ASK], keys, question="[y/N] ")
    assert ended.code == 0
    assert ended.text.startswith("Apply? [y/N] ")
    assert ended.text.endswith(f"agreed: {agreed}\n")
    assert "Traceback" not in ended.text


def test_ctrl_c_interrupts_question() -> None:
    ended = python_on_a_terminal(["-c", ASK], CTRL_C, question="[y/N] ")
    assert "KeyboardInterrupt" in ended.text
    assert "agreed:" not in ended.text


@pytest.mark.parametrize("redirection", ["< /dev/null", "<&-"])
def test_question_needs_a_terminal(redirection: str) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, ASK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "UsageError: stdin is not a terminal, so 'Apply?' cannot be answered: pass --yes" in ended.stderr
