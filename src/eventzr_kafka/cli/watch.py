"""A `ConsumerRunner` that tells what happens to it: assigned partitions, and that it was asked to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from eventzr_kafka._confluent.consumer import ConfluentConsumer
from eventzr_kafka.options import ConsumerOptions
from eventzr_kafka.runner import ConsumerRunner
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.transport import Assignment, ConsumerSink

__all__ = ["WatchedRunner"]

OnAssigned = Callable[[str, Sequence[Assignment]], None]


class WatchedRunner(ConsumerRunner):
    """Calls `on_assigned` with a group and its new partitions, and `on_stop` when a signal stops it."""

    def __init__(
        self,
        handlers: Sequence[object],
        settings: KafkaSettings,
        *,
        on_assigned: OnAssigned,
        on_stop: Callable[[], None],
    ) -> None:
        self._on_assigned = on_assigned
        self._on_stop = on_stop
        super().__init__(*handlers, settings=settings, transport=self._watched)

    def stop(self) -> None:
        """Tell that it stops, unless an error does it."""
        if self.error is None:
            self._on_stop()
        super().stop()

    def _watched(self, group_id: str, options: ConsumerOptions) -> ConfluentConsumer:
        def heard(assignments: Sequence[Assignment]) -> None:
            self._on_assigned(group_id, assignments)

        return _WatchedConsumer(self.settings, group_id, options, heard)


class _WatchedConsumer(ConfluentConsumer):
    def __init__(
        self,
        settings: KafkaSettings,
        group_id: str,
        options: ConsumerOptions,
        heard: Callable[[Sequence[Assignment]], None],
    ) -> None:
        super().__init__(settings, group_id, drain_timeout=options.drain_timeout)
        self._heard = heard

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        super().start(topics, cast("ConsumerSink", _WatchedSink(sink, self._heard)))


class _WatchedSink:
    """Hears of assignments; all else goes straight to the group."""

    def __init__(self, sink: ConsumerSink, heard: Callable[[Sequence[Assignment]], None]) -> None:
        self._sink = sink
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        self._sink.assigned(assignments)
        self._heard(assignments)
