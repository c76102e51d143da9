"""`eventzr-kafka run`: consumers as a process of their own, or as one worker of several."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from typing import cast

from rich.text import Text

from eventzr_kafka.cli.banner import banner
from eventzr_kafka.cli.logs import name_process
from eventzr_kafka.cli.terminal import STOPPING, Terminal, count_of, labelled
from eventzr_kafka.cli.worker_process import STOP, Report
from eventzr_kafka.engine.runner import ConsumerRunner
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned, RunnerStopping
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Membership", "Progress", "Worker", "prepare", "serve", "work"]


def serve(
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
        ConfigurationError: They do not fit together, or the settings are wrong.
        ConsumerError: An event or the client stopped them.
    """
    progress = Progress({definition_of(handler).group_id for handler in handlers}, terminal, on_ready)
    hooks = ConsumerHooks(on_partitions_assigned=progress.assigned, on_runner_stopping=progress.stopping)
    runner = ConsumerRunner(*handlers, settings=settings, hooks=hooks)
    _flush_each_line()
    _announce(handlers, settings, terminal)
    asyncio.run(runner.run())
    terminal.print(Text("stopped", style="dim"))


def prepare(handlers: Sequence[object], settings: KafkaSettings, terminal: Terminal, *, workers: int) -> None:
    """Check, once for all workers, that consumer objects can be run, and begin as their supervisor.

    Raises:
        ConfigurationError: They do not fit together.
    """
    ConsumerRunner(*handlers, settings=settings)
    name_process("supervisor")
    _announce(handlers, settings, terminal, workers=workers)


def _announce(handlers: Sequence[object], settings: KafkaSettings, terminal: Terminal, *, workers: int = 1) -> None:
    terminal.print(banner(settings, [definition_of(handler) for handler in handlers], workers=workers))
    if settings.enabled:
        terminal.print(Text(f"connecting to {settings.brokers}", style="dim"))


@dataclass(frozen=True)
class Worker:
    """Who a worker is, and the file descriptor of its link to the supervisor."""

    name: str
    link: int


def work(handlers: Sequence[object], settings: KafkaSettings, worker: Worker) -> None:
    """Run consumer objects as one of several workers, until the supervisor says stop or is gone.

    Raises:
        ConfigurationError: They do not fit together, or the settings are wrong.
        ConsumerError: An event or the client stopped them.
    """
    _flush_each_line()
    os.set_inheritable(worker.link, False)
    with socket.socket(fileno=worker.link) as link:
        link.setblocking(False)
        membership = Membership({definition_of(handler).group_id for handler in handlers}, link.sendall)
        runner = ConsumerRunner(
            *handlers, settings=settings, hooks=ConsumerHooks(on_partitions_assigned=membership.assigned)
        )
        asyncio.run(_run_linked(runner, link))


async def _run_linked(runner: ConsumerRunner, link: socket.socket) -> None:
    loop = asyncio.get_running_loop()

    def hear() -> None:
        if not _heard(link):
            loop.remove_reader(link)
            _silence()
        runner.stop()

    loop.add_reader(link, hear)
    try:
        await runner.run()
    finally:
        loop.remove_reader(link)


def _heard(link: socket.socket) -> bool:
    """Whether the supervisor has said something, and not just closed the link or died."""
    try:
        return bool(link.recv(len(STOP)))
    except ConnectionError:
        return False


def _silence() -> None:
    """Write to nowhere: the supervisor, which would pass it on, is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _flush_each_line() -> None:
    """Have what handlers print seen at once, in a container too."""
    out: object = sys.stdout
    if isinstance(out, TextIOWrapper):
        cast("TextIOWrapper", out).reconfigure(line_buffering=True)


class Progress:
    """Says `ready` once, when every group has partitions."""

    def __init__(self, groups: set[str], terminal: Terminal, on_ready: Callable[[], None] | None) -> None:
        self._waiting = groups
        self._idle: set[str] = set()
        self._partitions: set[TopicPartition] = set()
        self._terminal = terminal
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
            self._terminal.print(STOPPING)

    def _without_partitions(self, group_id: str) -> None:
        if group_id not in self._idle:
            self._idle.add(group_id)
            text = f"{group_id} joined, without partitions so far: other members have them, or the topics do not exist"
            self._terminal.print(labelled("not ready:", text, "yellow"))

    def _ready(self) -> None:
        partitions = len(self._partitions)
        topics = len({partition.topic for partition in self._partitions})
        self._terminal.print(
            labelled("ready:", f"{count_of(partitions, 'partition')} of {count_of(topics, 'topic')}", "green")
        )
        if self._on_ready is not None:
            self._on_ready()


class Membership:
    """Reports to the supervisor what a worker has been given."""

    def __init__(self, groups: set[str], send: Callable[[bytes], None]) -> None:
        self._waiting = groups
        self._partitions: set[tuple[str, int]] = set()
        self._send = send

    def assigned(self, fact: PartitionsAssigned) -> None:
        """A group has got partitions, or none."""
        self._waiting.discard(fact.group_id)
        self._partitions |= {(partition.topic, partition.partition) for partition in fact.partitions}
        report = Report(not self._waiting, frozenset(self._partitions))
        with suppress(OSError):  # the supervisor is gone, which the link says too
            self._send(report.line())
