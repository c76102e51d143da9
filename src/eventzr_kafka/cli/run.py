"""`eventzr-kafka run`: consumers as a process of their own, or as one worker of several."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from multiprocessing.connection import Connection
from typing import cast

from rich.text import Text

from eventzr_kafka.cli.banner import banner
from eventzr_kafka.cli.event_loop import run_on_loop
from eventzr_kafka.cli.logs import name_process
from eventzr_kafka.cli.terminal import STOPPING, Terminal, count_of, labelled
from eventzr_kafka.cli.worker_process import WorkerReport
from eventzr_kafka.engine.runner import ConsumerRunner
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned, RunnerStopping
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Membership", "ReadyLine", "WorkerLink", "check_consumers", "run_consumers", "run_worker"]


def run_consumers(
    handlers: Sequence[object],
    settings: KafkaSettings,
    terminal: Terminal,
    *,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Run consumer objects until a signal stops them.

    Args:
        on_ready: Called once, when every group has partitions.

    Raises:
        ConfigurationError: The consumers do not fit together, or the settings are wrong.
        ConsumerError: An event or the Kafka client stopped them.
    """
    line = ReadyLine({definition_of(handler).group_id for handler in handlers}, terminal, on_ready)
    hooks = ConsumerHooks(on_partitions_assigned=line.on_assigned, on_runner_stopping=line.on_stopping)
    runner = ConsumerRunner(*handlers, settings=settings, hooks=hooks)
    _flush_each_line()
    _announce(handlers, settings, terminal)
    run_on_loop(runner.run, settings.event_loop)
    terminal.print(Text("stopped", style="dim"))


def check_consumers(handlers: Sequence[object], settings: KafkaSettings, terminal: Terminal, *, workers: int) -> None:
    """Check once for all workers that the consumers can be run, and print the banner of their supervisor.

    Raises:
        ConfigurationError: The consumers do not fit together.
    """
    ConsumerRunner(*handlers, settings=settings)
    name_process("supervisor")
    _announce(handlers, settings, terminal, workers=workers)


def _announce(handlers: Sequence[object], settings: KafkaSettings, terminal: Terminal, *, workers: int = 1) -> None:
    terminal.print(banner(settings, [definition_of(handler) for handler in handlers], workers=workers))
    if settings.enabled:
        terminal.print(Text(f"connecting to {settings.brokers}", style="dim"))


@dataclass(frozen=True)
class WorkerLink:
    """The name of a worker, and the file descriptor of its link to the supervisor."""

    name: str
    link: int


def run_worker(handlers: Sequence[object], settings: KafkaSettings, worker: WorkerLink) -> None:
    """Run consumer objects as one of several workers, until the supervisor stops it or ends.

    Raises:
        ConfigurationError: The consumers do not fit together, or the settings are wrong.
        ConsumerError: An event or the Kafka client stopped the worker.
    """
    _flush_each_line()
    os.set_inheritable(worker.link, False)
    with Connection(worker.link) as link:
        membership = Membership({definition_of(handler).group_id for handler in handlers}, link.send)
        hooks = ConsumerHooks(on_partitions_assigned=membership.on_assigned)
        runner = ConsumerRunner(*handlers, settings=settings, hooks=hooks)
        run_on_loop(lambda: _run_linked(runner, link), settings.event_loop)


async def _run_linked(runner: ConsumerRunner, link: Connection) -> None:
    loop = asyncio.get_running_loop()

    def on_message() -> None:
        try:
            link.recv()  # the one message is STOP
        except (EOFError, OSError):  # the supervisor has ended
            loop.remove_reader(link.fileno())
            _discard_output()
        runner.stop()

    loop.add_reader(link.fileno(), on_message)
    try:
        await runner.run()
    finally:
        loop.remove_reader(link.fileno())


def _discard_output() -> None:
    """Write to the null device: the supervisor, which passed the output on, has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _flush_each_line() -> None:
    """Flush each line that handlers print, in a container too."""
    out: object = sys.stdout
    if isinstance(out, TextIOWrapper):
        cast("TextIOWrapper", out).reconfigure(line_buffering=True)


class ReadyLine:
    """Prints `ready` once, when every group has partitions."""

    def __init__(self, groups: set[str], terminal: Terminal, on_ready: Callable[[], None] | None) -> None:
        self._waiting = groups
        self._idle: set[str] = set()
        self._partitions: set[TopicPartition] = set()
        self._terminal = terminal
        self._on_ready = on_ready

    def on_assigned(self, fact: PartitionsAssigned) -> None:
        """Note that a group has been given partitions, or none."""
        group_id = fact.group_id
        if group_id not in self._waiting:
            return
        if not fact.partitions and group_id not in self._idle:
            self._idle.add(group_id)
            text = f"{group_id} joined, without partitions so far: other members have them, or the topics do not exist"
            self._terminal.print(labelled("not ready:", text, "yellow"))
        if not fact.partitions:
            return
        self._partitions |= set(fact.partitions)
        self._waiting.discard(group_id)
        if self._waiting:
            return
        topics = count_of(len({partition.topic for partition in self._partitions}), "topic")
        text = f"{count_of(len(self._partitions), 'partition')} of {topics}"
        self._terminal.print(labelled("ready:", text, "green"))
        if self._on_ready is not None:
            self._on_ready()

    def on_stopping(self, fact: RunnerStopping) -> None:
        """Print that a signal stops the runner; an error is printed when the command ends."""
        if fact.error is None:
            self._terminal.print(STOPPING)


class Membership:
    """Reports the partitions of a worker to its supervisor."""

    def __init__(self, groups: set[str], send: Callable[[WorkerReport], None]) -> None:
        self._waiting = groups
        self._partitions: set[tuple[str, int]] = set()
        self._send = send

    def on_assigned(self, fact: PartitionsAssigned) -> None:
        """Report that a group has been given partitions, or none."""
        self._waiting.discard(fact.group_id)
        self._partitions |= {(partition.topic, partition.partition) for partition in fact.partitions}
        with suppress(OSError):  # the supervisor has ended, and the closed link stops this worker
            self._send(WorkerReport(not self._waiting, frozenset(self._partitions)))
