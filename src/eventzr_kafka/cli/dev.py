"""`eventzr-kafka dev`: consumers on an embedded broker, and the commands that publish to them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from eventzr_kafka._confluent.embedded import embedded_broker
from eventzr_kafka.cli.publish import has_example
from eventzr_kafka.cli.run import run_consumers
from eventzr_kafka.cli.terminal import Terminal
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.settings import KafkaSettings

__all__ = ["publish_commands", "run_dev"]

_SHOWN = 4  # topics that get a line of their own
_PLAIN = {"KAFKA_ENABLED": "true", "KAFKA_AUTH": "none", "KAFKA_TLS": "false"}


def run_dev(targets: Sequence[str], handlers: Sequence[object], terminal: Terminal) -> None:
    """Run consumer objects on an embedded broker until a signal stops them.

    Args:
        targets: The targets that `handlers` were loaded from.

    Raises:
        ConsumerError: An event or the Kafka client stopped them.
    """
    definitions = [definition_of(handler) for handler in handlers]
    topics = [route.topic for definition in definitions for route in definition.routes]
    with embedded_broker() as broker:
        broker.create_topics(*topics, *{dead_letter_topic(definition.group_id) for definition in definitions})
        loop = os.environ.get("KAFKA_EVENT_LOOP", "")  # the other variables are those of another broker
        settings = KafkaSettings.from_env({"KAFKA_BROKERS": broker.bootstrap_servers, "KAFKA_EVENT_LOOP": loop})
        commands = publish_commands(settings.brokers, topics, targets[0].partition(":")[0])
        run_consumers(handlers, settings, terminal, on_ready=lambda: terminal.print(commands))


def publish_commands(brokers: str, topics: Sequence[str], module: str) -> Text:
    """Commands to copy into another terminal.

    Args:
        module: The module that declares the topics without an example.
    """
    lines = [Text("publish from another terminal:", style="dim")]
    lines += [Text(f"  {_command(brokers, topic, module)}") for topic in topics[:_SHOWN]]
    if len(topics) > _SHOWN:
        lines.append(Text(f"  and so on for {len(topics) - _SHOWN} more topics", style="dim"))
    return Text("\n").join(lines)


def _command(brokers: str, topic: str, module: str) -> str:
    overridden = {name: value for name, value in _PLAIN.items() if name in os.environ}
    variables = {"KAFKA_BROKERS": brokers, **overridden}
    payload = [] if has_example(topic) else ["--module", module, "--data", "{}"]
    words = [_program(), "publish", topic, "--tenant", "t1", *payload]
    return " ".join([f"{name}={value}" for name, value in variables.items()] + [shlex.quote(word) for word in words])


def _program() -> str:
    """The name of the command if the shell finds it; else the path that this process was started by."""
    return "eventzr-kafka" if shutil.which("eventzr-kafka") else str(Path(sys.argv[0]).absolute())
