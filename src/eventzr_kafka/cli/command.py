"""The frame of every command: the options that all have, the exit codes, and an error as one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from cyclopts import Parameter
from rich.text import Text

from eventzr_kafka.cli.loading import trace_of
from eventzr_kafka.cli.logs import LogFormat, LogLevel, log_to_stderr
from eventzr_kafka.cli.terminal import Terminal, labelled
from eventzr_kafka.errors import ConfigurationError, EncodeError, EventStoppedError, EventzrKafkaError

__all__ = [
    "DEFAULT_OUTPUT",
    "FAILED",
    "INTERRUPTED",
    "WRONG_CALL",
    "AsJson",
    "DryRun",
    "Output",
    "Yes",
    "report_declined",
    "run_command",
    "shown_default",
]

FAILED, WRONG_CALL, INTERRUPTED = 1, 2, 130  # exit codes

AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", help="Print one JSON object.")]
DryRun: TypeAlias = Annotated[bool, Parameter(help="Count and list, but change nothing.")]
Yes: TypeAlias = Annotated[bool, Parameter(help="Do not ask for confirmation.")]


@Parameter(name="*", group="Output")
@dataclass(frozen=True, kw_only=True)
class Output:
    """Options that every command has."""

    log_level: LogLevel = "info"
    """Lowest level that is logged."""
    log_format: LogFormat = "text"
    """Format of logs and messages; json prints one JSON object per line."""
    traceback: bool = False
    """Show the traceback of an error; it may quote payloads."""


DEFAULT_OUTPUT = Output()


def shown_default(value: object) -> str | None:
    """The default that a help text names; None for a flag, and for an option that may be left out."""
    return None if value in (None, False, ()) else str(value)


def report_declined(terminal: Terminal) -> int:
    """Report that the user answered no; returns the exit code."""
    terminal.error(labelled("✗", "declined: nothing was changed", "red"))
    return FAILED


def run_command(output: Output, act: Callable[[Terminal], int | None], *, wrong_call: int = WRONG_CALL) -> int:
    """Run a command, print the error that ends it, and return the exit code.

    Args:
        act: The command itself. It may return an exit code; None stands for 0.
        wrong_call: Exit code for a wrong call or a wrong configuration.
    """
    terminal = Terminal(output.log_format)
    with log_to_stderr(output.log_level, output.log_format):
        try:
            return act(terminal) or 0
        except KeyboardInterrupt:
            return INTERRUPTED
        except EventzrKafkaError as error:
            trace = trace_of(error.__cause__) if output.traceback and error.__cause__ else ""
            terminal.error(_error_text(error, with_hint=not output.traceback), trace=trace)
            return wrong_call if isinstance(error, ConfigurationError | EncodeError) else FAILED


def _error_text(error: EventzrKafkaError, *, with_hint: bool) -> Text:
    """One line; a block for an event that stopped the consumer: the cause, the place, and what to do."""
    if not isinstance(error, EventStoppedError):
        return labelled("error:", str(error), "red")
    details = [error.found, error.hint]
    if with_hint and error.__cause__ is not None:
        details.append("--traceback shows more; it may quote the payload")
    title = labelled("error:", "an event stopped the consumer", "red")
    return Text("\n  ").join([title, *map(Text, details)])
