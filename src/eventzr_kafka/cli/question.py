"""The question that a command asks before it changes something: every answer except y and yes means no."""

from __future__ import annotations

import sys

from eventzr_kafka.cli.usage import UsageError

__all__ = ["is_agreed"]


def is_agreed(question: str) -> bool:
    """Ask the user; Ctrl-D, an empty line and unreadable input mean no.

    Raises:
        UsageError: Standard input is not a terminal.
        KeyboardInterrupt: The answer is Ctrl-C.
    """
    if not _is_terminal():
        raise UsageError(f"stdin is not a terminal, so {question!r} cannot be answered: pass --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except (EOFError, UnicodeDecodeError):
        print(file=sys.stderr)  # Ctrl-D leaves the cursor behind the question
        return False


def _is_terminal() -> bool:
    """True if standard input is a terminal; a process without standard input has None there, or a closed file."""
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):
        return False
