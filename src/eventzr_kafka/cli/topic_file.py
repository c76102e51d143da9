"""The TOML file with the partitions, retention and configs of topics.

::

    [defaults]
    partitions = 6
    retention = "7d"

    [dead-letters]
    retention = "30d"

    [topics."eventzr.marketplace.order.completed.v1"]
    partitions = 12
    configs = { "max.message.bytes" = 2097152 }

    [quotas]
    leader-partitions = 5000

A dead letter is a little larger than its record. So where a topic accepts larger messages than Kafka does by default,
the dead-letter topics of its groups do too.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from eventzr_kafka.cli.durations import parse_duration
from eventzr_kafka.cli.targets import Targets
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.kafka.topics import CONFIGS, TopicSpec
from eventzr_kafka.msk.serverless import Quotas
from eventzr_kafka.safe_text import describe_faults

__all__ = ["TopicFile", "TopicOptions", "milliseconds", "topic_specs"]

_FOREVER = "forever"
_SIZE = "max.message.bytes"
_NUMBERS = {_SIZE, "retention.bytes", "retention.ms"}
_KAFKA_SIZE = 1_048_588  # max.message.bytes of a topic without this config
_LETTER_HEADERS = 65_536  # bytes that a dead letter may have beyond its record


def milliseconds(duration: str) -> int:
    """Milliseconds of a retention such as ``12h`` or ``7d``; -1 for ``forever``, as Kafka has it.

    Raises:
        ValueError: The text is neither a duration nor ``forever``.
    """
    if duration == _FOREVER:
        return -1
    try:
        return round(parse_duration(duration) * 1000)
    except ValueError as error:
        raise ValueError(f"{error}, or {_FOREVER}") from None


def _checked_duration(duration: str) -> str:
    milliseconds(duration)
    return duration


def _checked_config(name: str) -> str:
    if name not in CONFIGS:
        raise ValueError(f"{name!r} cannot be set; MSK Serverless allows {', '.join(sorted(CONFIGS))}")
    return name


def _checked_configs(configs: dict[str, str | int]) -> dict[str, str | int]:
    for name in sorted(_NUMBERS & configs.keys()):
        if not re.fullmatch(r"-1|\d{1,18}", str(configs[name]), re.ASCII):
            raise ValueError(f"{name}={configs[name]!r} is not a whole number; write it without a unit")
    return configs


class TopicOptions(BaseModel):
    """Partitions, retention and configs of a topic; those that are left out come from the defaults."""

    model_config = ConfigDict(extra="forbid")

    partitions: PositiveInt | None = None
    retention: Annotated[str, AfterValidator(_checked_duration)] | None = None
    configs: Annotated[
        dict[Annotated[str, AfterValidator(_checked_config)], str | int], AfterValidator(_checked_configs)
    ] = {}

    def over(self, defaults: TopicOptions) -> TopicOptions:
        """These options, with the defaults for those that are left out."""
        return TopicOptions(
            partitions=self.partitions or defaults.partitions,
            retention=self.retention or (None if "retention.ms" in self.configs else defaults.retention),
            configs={**defaults.configs, **self.configs},
        )

    def spec(self, topic: str) -> TopicSpec:
        """The topic that these options describe."""
        configs = {name: str(value) for name, value in self.configs.items()}
        if self.retention is not None:
            configs["retention.ms"] = str(milliseconds(self.retention))
        return TopicSpec(topic, self.partitions or _DEFAULTS.partitions or 1, configs)


_DEFAULTS = TopicOptions(partitions=6)
_DEAD_LETTERS = TopicOptions(partitions=1, retention="14d")  # partitions are a quota; a letter outlives its event


class TopicFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    defaults: TopicOptions = TopicOptions()
    dead_letters: TopicOptions = Field(default=TopicOptions(), alias="dead-letters")
    topics: dict[str, TopicOptions] = {}
    raised: dict[Literal["leader-partitions", "compacted-partitions", "message-bytes"], PositiveInt] = Field(
        default={}, alias="quotas"
    )

    @property
    def quotas(self) -> Quotas:
        """The quotas of MSK Serverless, with those that AWS has raised."""
        return Quotas(**{name.replace("-", "_"): number for name, number in self.raised.items()})

    @classmethod
    def read(cls, path: Path | None) -> TopicFile:
        """Read the file; without a path, everything is left out.

        Raises:
            UsageError: The file cannot be read, or something in it is wrong.
        """
        if path is None:
            return cls()
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"--file {path}: {error}") from None
        except ValidationError as error:
            raise UsageError(f"--file {path}: {describe_faults(error)}") from None


def topic_specs(declared: Targets, file: TopicFile, given: TopicOptions) -> list[TopicSpec]:
    """The declared topics as they should be.

    Args:
        given: Defaults of the command line, which override those of the file.

    Raises:
        UsageError: The file describes a topic that no target declares, or a dead-letter topic that is too small for its
            dead letters.
    """
    strange = sorted(file.topics.keys() - {*declared.topics, *declared.dead_letters})
    if strange:
        raise UsageError(f"--file describes {strange[0]!r}, which no target declares")
    defaults = given.over(file.defaults).over(_DEFAULTS)
    specs = {topic: _options(topic, file, defaults).spec(topic) for topic in declared.topics}
    sizes = {topic: int(spec.configs.get(_SIZE, _KAFKA_SIZE)) for topic, spec in specs.items()}
    for group in declared.groups:  # a consumer may read the dead letters of another group
        letters = _letters(group, max(sizes[topic] for topic in declared.consumed_in(group)), file)
        specs[letters.name] = letters
    return list(specs.values())


def _options(topic: str, file: TopicFile, defaults: TopicOptions) -> TopicOptions:
    return file.topics.get(topic, TopicOptions()).over(defaults)


def _letters(group: str, largest: int, file: TopicFile) -> TopicSpec:
    """The dead-letter topic of a group.

    Args:
        largest: Bytes of the largest message that a topic of the group accepts.
    """
    topic = dead_letter_topic(group)
    options = _options(topic, file, file.dead_letters.over(_DEAD_LETTERS))
    given = options.configs.get(_SIZE)
    if given is not None and int(given) < largest:
        raise UsageError(f"--file: {_SIZE}={given} of {topic} is too small for dead letters of {largest} bytes")
    if given is None and largest > _KAFKA_SIZE:
        roomy = max(largest, min(largest + _LETTER_HEADERS, file.quotas.message_bytes))
        options = TopicOptions(configs={_SIZE: roomy}).over(options)
    return options.spec(topic)
