"""The dead letters of this service: kept for the page, and replayed on request.

A dead-letter topic is a topic like any other, so a second consumer reads it. The SDK replays: it runs the events
through their own handlers, in order, and writes notes into the topic that close the dead letters.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventzr_kafka import CloudEvent, MessageContext, Reject, kafka_consumer, on_message, read_letter
from eventzr_kafka.inbox import SqlInbox
from examples.marketplace_service.activity import DeadLetter
from examples.marketplace_service.database import sessions
from examples.marketplace_service.events.consumer import GROUP, PATIENT

__all__ = ["DEAD_LETTERS", "DEAD_LETTERS_GROUP", "DeadLetterReplay", "DeadLetters", "ReplayResult"]

DEAD_LETTERS = f"{GROUP}.dlq"
DEAD_LETTERS_GROUP = f"{GROUP}-dead-letters"
_COMMAND = (str(Path(sys.executable).with_name("eventzr-kafka")),)
_TIMEOUT = 60.0  # seconds
_TARGET = "examples.marketplace_service.wiring:make_handler"


@kafka_consumer(
    group_id=DEAD_LETTERS_GROUP, inbox=SqlInbox(sessions), retry=PATIENT, max_concurrency=2, on_tombstone="skip"
)
class DeadLetters:
    """Stores each dead letter; the notes of replays have no value, and are skipped as tombstones."""

    @on_message(DEAD_LETTERS)
    async def on_dead_letter(self, event: CloudEvent[Any], context: MessageContext) -> None:
        letter = read_letter(context.record)
        if letter is None:
            raise Reject("this is not a dead letter")
        facts = letter.facts
        await context.session.merge(
            DeadLetter(
                tenant_id=event.tenantid,
                position=letter.record.position,
                topic=letter.record.topic,
                source=event.source,
                event_id=event.id,
                handler=facts.handler,
                error=facts.error,
                reason=facts.reason,
                attempts=facts.attempts,
                failed_at=datetime.fromtimestamp(facts.last_failure, UTC),
            )
        )


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay.

    Attributes:
        summary: The output of the command.
    """

    succeeded: bool
    summary: str


class DeadLetterReplay:
    """Runs ``eventzr-kafka dlq replay``, one at a time."""

    def __init__(
        self, environ: Mapping[str, str], *, command: Sequence[str] = _COMMAND, timeout: float = _TIMEOUT
    ) -> None:
        """Take the environment of the command, with the addresses of Kafka and the database.

        Args:
            timeout: Seconds that a replay may take.
        """
        self._environ = environ
        self._command = command
        self._timeout = timeout
        self._one_at_a_time = asyncio.Lock()

    async def run(self, *, tenant_id: str, topic: str) -> ReplayResult:
        """Replay a tenant's open dead letters of one topic."""
        arguments = ("dlq", "replay", _TARGET, f"--tenant={tenant_id}", f"--topic={topic}")
        async with self._one_at_a_time:
            try:
                return await self._run(*arguments)
            except TimeoutError:
                return ReplayResult(False, f"ended after {self._timeout:g} s; the other dead letters stay open")

    async def _run(self, *arguments: str) -> ReplayResult:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(self._timeout):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return ReplayResult(process.returncode == 0, output.decode(errors="replace").strip())
