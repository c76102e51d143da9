"""`Terminal`: where the command prints, and the lines, tables and counts that it prints.

1. Colours are for terminals, and NO_COLOR turns them off; a file or a pipe gets the same text without them.
2. No line is wrapped or cut: a line that was copied works.
3. With ``--log-format json`` the same words are log records, so that every line of the command is JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from eventzr_kafka.cli.logs import LogFormat, process_name

__all__ = ["STOPPING", "Terminal", "count_of", "labelled", "table"]

log = logging.getLogger("eventzr_kafka.cli")

STOPPING = Text("stopping: running handlers finish first (a second signal quits at once)", style="dim")


class Terminal:
    """Prints text to standard output, and errors to standard error."""

    def __init__(self, form: LogFormat = "text") -> None:
        self._json = form == "json"
        self._out = Console(soft_wrap=True, highlight=False)
        self._err = Console(soft_wrap=True, highlight=False, stderr=True)

    def print(self, text: Text) -> None:
        """Print a result or a step of the work."""
        if self._json:
            log.info("%s", _in_one_line(text))
        else:
            self._out.print(text)

    def error(self, text: Text, *, trace: str = "") -> None:
        """Print an error.

        Args:
            trace: A traceback to show besides.
        """
        if self._json:
            log.error("%s", _in_one_line(text), extra={"trace": trace})
            return
        self._err.print(Text(f"{process_name()} ".lstrip()).append_text(text))
        if trace:
            self._err.print(Text(trace, style="dim"))


def _in_one_line(text: Text) -> str:
    return "; ".join(" ".join(part.split()) for part in text.plain.splitlines())


def labelled(label: str, text: str, style: str = "") -> Text:
    """One line with a bold label."""
    return Text.assemble((label, f"bold {style}".strip()), f" {text}")


def count_of(number: int, noun: str) -> str:
    """A number with its noun: ``1 topic``, ``2 topics``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(
    rows: Sequence[Sequence[str]],
    *,
    headings: Sequence[str] = (),
    styles: Sequence[str] = (),
    gap: str = "  ",
    indent: int = 0,
) -> list[Text]:
    """Lines with aligned columns, as wide as their longest cells, whatever the width of the terminal.

    Args:
        headings: Titles of the columns; a table without rows has none.
        styles: A style for each column.
        gap: Text between two columns.
    """
    if not rows:
        return []
    lines = [*([headings] if headings else []), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn: list[Text] = []
    for number, cells in enumerate(lines):
        is_heading = bool(headings) and number == 0
        line = Text(" " * indent)
        for column, cell in enumerate(cells):
            style = "bold" if is_heading else styles[column] if styles else ""
            line.append(gap if column else "", "dim").append(cell.ljust(widths[column]), style)
        line.rstrip()
        drawn.append(line)
    return drawn
