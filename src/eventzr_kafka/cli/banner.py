"""The lines that `run` and `dev` begin with: the brokers, the consumer groups, and each topic's handler.

A user name is shown as ``***``, a password not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rich.text import Text

from eventzr_kafka.cli.terminal import labelled, table
from eventzr_kafka.handlers.decorators import ConsumerDefinition
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.settings import KafkaSettings

__all__ = ["banner", "describe_connection"]

_LOGINS = {"none": "no login", "plain": "PLAIN as ***", "scram": "SCRAM as ***", "iam": "MSK IAM"}


def banner(settings: KafkaSettings, definitions: Sequence[ConsumerDefinition], *, workers: int = 1) -> Text:
    """Brokers, groups, and the method that handles each topic.

    Args:
        definitions: One per consumer object; those of one group are shown together.
        workers: Processes that share each group.
    """
    routes: dict[str, list[Route]] = {}
    for definition in definitions:
        routes.setdefault(definition.group_id, []).extend(definition.routes)
    lines = [labelled("eventzr-kafka", version("eventzr-kafka")), _field("broker", describe_connection(settings))]
    for group_id, members in routes.items():
        lines.append(_field("group", group_id if workers == 1 else f"{group_id} ({workers} workers)"))
        lines += table([(route.topic, _call(route)) for route in members], styles=("cyan", ""), gap=" -> ", indent=10)
    return Text("\n").join(lines)


def describe_connection(settings: KafkaSettings) -> str:
    """The addresses of the brokers, TLS and login, without the user's name."""
    login = _LOGINS[settings.effective_auth]
    where = f" in {settings.effective_region}" if settings.effective_auth == "iam" else ""
    return f"{settings.brokers} ({'TLS' if settings.uses_tls else 'no TLS'}, {login}{where})"


def _field(label: str, value: str) -> Text:
    return Text.assemble((f"  {label:<6}  ", "dim"), value)


def _call(route: Route) -> str:
    kind: Any = route.data_type
    return f"{route.label}({'JSON' if kind is Any else kind.__qualname__})"
