"""What a person sees: the start-up card, how it goes on, and how it ended.

1. Colours are for terminals, and NO_COLOR turns them off; elsewhere the same text comes plain.
2. Nothing is wrapped or cut: a line that was copied works.
3. With ``--log-format json`` the same words are log records, so that every line of the command is JSON.
4. A user name is shown as ``***``, a password not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.text import Text

from eventzr_kafka.cli.logs import LogFormat, process_name
from eventzr_kafka.handlers.decorators import ConsumerDefinition
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Screen", "card", "connection", "count_of", "labelled"]

log = logging.getLogger("eventzr_kafka.cli")

_LOGINS = {"none": "no login", "plain": "PLAIN as ***", "scram": "SCRAM as ***", "iam": "MSK IAM"}


class Screen:
    """Where the command says things: in text to standard output, errors to standard error."""

    def __init__(self, form: LogFormat = "text") -> None:
        self._json = form == "json"
        self._out = Console(soft_wrap=True, highlight=False)
        self._err = Console(soft_wrap=True, highlight=False, stderr=True)

    def say(self, text: Text) -> None:
        """Tell how it goes."""
        if self._json:
            log.info("%s", _in_one_line(text))
        else:
            self._out.print(text)

    def fail(self, text: Text, *, trace: str = "") -> None:
        """Tell what went wrong.

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
    """So many of them, in words: ``1 topic``, ``2 topics``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def card(settings: KafkaSettings, definitions: Sequence[ConsumerDefinition], *, workers: int = 1) -> Text:
    """Which broker, which groups, and which method takes which topic.

    Args:
        definitions: One per consumer object; those of one group are shown together.
        workers: Processes that share each group.
    """
    routes: dict[str, list[Route]] = {}
    for definition in definitions:
        routes.setdefault(definition.group_id, []).extend(definition.routes)
    lines = [labelled("eventzr-kafka", version("eventzr-kafka")), _field("broker", connection(settings))]
    for group_id, members in routes.items():
        lines.append(_field("group", group_id if workers == 1 else f"{group_id} ({workers} workers)"))
        lines += _table(members)
    return Text("\n").join(lines)


def connection(settings: KafkaSettings) -> str:
    """Where the brokers are and how they are reached, without the user's name."""
    login = _LOGINS[settings.effective_auth]
    where = f" in {settings.effective_region}" if settings.effective_auth == "iam" else ""
    return f"{settings.brokers} ({'TLS' if settings.uses_tls else 'no TLS'}, {login}{where})"


def _field(label: str, value: str) -> Text:
    return Text.assemble((f"  {label:<6}  ", "dim"), value)


def _table(routes: Sequence[Route]) -> list[Text]:
    width = max(len(route.topic) for route in routes)
    return [
        Text.assemble(" " * 10, (f"{route.topic:<{width}}", "cyan"), (" -> ", "dim"), _call(route)) for route in routes
    ]


def _call(route: Route) -> str:
    kind: Any = route.data_type
    return f"{route.label}({'JSON' if kind is Any else kind.__qualname__})"
