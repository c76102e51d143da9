"""The command `eventzr-kafka` in this process: a process of its own takes a second of CPU to begin with."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from eventzr_kafka.cli.app import call

__all__ = ["Ended", "run_here"]


class Ended(NamedTuple):
    """The exit code of a command, and its output: standard output and standard error, as they were written."""

    code: int
    output: str


def run_here(
    arguments: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None, keys: bytes | None = None
) -> Ended:
    """Run the command in a folder whose modules it imports anew.

    Args:
        env: Variables besides those of this process.
        keys: What its user types on a terminal; without, its standard input is no terminal and empty.
    """
    written = io.StringIO()
    with (
        _settled_in(folder),
        _environment(env or {}),
        _standard_input(keys),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(written),
    ):
        code = call(arguments)
    return Ended(code, written.getvalue())


@contextlib.contextmanager
def _settled_in(folder: Path) -> Generator[None]:
    """Import from the folder, leave no compiled code there and no module of it behind: tests write it again."""
    path, compiles, known = list(sys.path), sys.dont_write_bytecode, set(sys.modules)
    sys.dont_write_bytecode = True
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, compiles
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
        sys.path_importer_cache.pop(str(folder), None)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _standard_input(keys: bytes | None) -> Generator[None]:
    before: TextIO = sys.stdin
    with contextlib.ExitStack() as opened:
        if keys is None:
            sys.stdin = opened.enter_context(Path(os.devnull).open())
        else:
            terminal, its_end = pty.openpty()
            opened.callback(os.close, terminal)
            sys.stdin = opened.enter_context(os.fdopen(its_end))
            os.write(terminal, keys)
        try:
            yield
        finally:
            sys.stdin = before
