"""A question on the terminal, the same for every command: anything but a clear yes is a no."""

from __future__ import annotations

import sys

from eventzr_kafka.cli.loading import UsageError

__all__ = ["is_agreed"]


def is_agreed(question: str) -> bool:
    """Ask the user; Ctrl-D, an empty line and what cannot be read are a no.

    Raises:
        UsageError: There is no terminal, so that nothing can be asked.
        KeyboardInterrupt: The answer is Ctrl-C.
    """
    if not _is_terminal():
        raise UsageError(f"there is no terminal to ask {question!r}: add --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except (EOFError, UnicodeDecodeError):
        print(file=sys.stderr)  # the answer has left the line open
        return False


def _is_terminal() -> bool:
    """Whether standard input is one; a process without any has None there, or a closed file."""
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):
        return False
