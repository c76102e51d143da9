"""`eventzr-kafka run`: consumers as a process of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import cast

from rich.text import Text

from eventzr_kafka.cli.card import Screen, card, labelled
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned, RunnerStopping
from eventzr_kafka.record import TopicPartition
from eventzr_kafka.routing import definition_of
from eventzr_kafka.runner import ConsumerRunner
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Progress", "serve"]


def serve(
    handlers: Sequence[object],
    settings: KafkaSettings,
    screen: Screen,
    *,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Run consumer objects until a signal stops them.

    Args:
        on_ready: Called once, when every group has partitions.

    Raises:
        ConfigurationError: They do not fit together, or the settings are wrong.
        ConsumerError: An event or the client stopped them.
    """
    _flush_each_line()
    definitions = [definition_of(handler) for handler in handlers]
    progress = Progress({definition.group_id for definition in definitions}, screen, on_ready)
    hooks = ConsumerHooks(assigned=progress.assigned, stopping=progress.stopping)
    runner = ConsumerRunner(*handlers, settings=settings, hooks=hooks)
    screen.say(card(settings, definitions))
    if settings.enabled:
        screen.say(Text(f"connecting to {settings.brokers}", style="dim"))
    asyncio.run(runner.run())
    screen.say(Text("stopped", style="dim"))


def _flush_each_line() -> None:
    """Have what handlers print seen at once, in a container too."""
    out: object = sys.stdout
    if isinstance(out, TextIOWrapper):
        cast("TextIOWrapper", out).reconfigure(line_buffering=True)


class Progress:
    """Says `ready` once, when every group has partitions."""

    def __init__(self, groups: set[str], screen: Screen, on_ready: Callable[[], None] | None) -> None:
        self._waiting = groups
        self._idle: set[str] = set()
        self._partitions: set[TopicPartition] = set()
        self._screen = screen
        self._on_ready = on_ready

    def assigned(self, fact: PartitionsAssigned) -> None:
        """A group has got partitions, or none."""
        if fact.group_id not in self._waiting:
            return
        if not fact.partitions:
            self._without_partitions(fact.group_id)
            return
        self._partitions |= set(fact.partitions)
        self._waiting.discard(fact.group_id)
        if not self._waiting:
            self._ready()

    def stopping(self, fact: RunnerStopping) -> None:
        """A signal came, or an error, which is told at the end."""
        if fact.error is None:
            self._screen.say(Text("stopping: finishing what runs (a second signal quits at once)", style="dim"))

    def _without_partitions(self, group_id: str) -> None:
        if group_id not in self._idle:
            self._idle.add(group_id)
            text = f"{group_id} joined, without partitions so far: other members have them, or the topics do not exist"
            self._screen.say(labelled("not ready:", text, "yellow"))

    def _ready(self) -> None:
        partitions = len(self._partitions)
        topics = len({partition.topic for partition in self._partitions})
        self._screen.say(labelled("ready:", f"{_count(partitions, 'partition')} of {_count(topics, 'topic')}", "green"))
        if self._on_ready is not None:
            self._on_ready()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
