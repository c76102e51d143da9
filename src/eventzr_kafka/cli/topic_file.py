"""The TOML file that says how many partitions topics get, and how long they keep events.

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

A dead letter is its record and a little more: where a topic takes larger messages than Kafka does by default, the
dead-letter topic of its groups does too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from eventzr_kafka.cli.declared import Declared
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.kafka.topics import CONFIGS, TopicSpec
from eventzr_kafka.msk.serverless import Quotas

__all__ = ["TopicFile", "TopicOptions", "milliseconds", "topic_specs"]

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)([mhd])")
_SIZE = "max.message.bytes"
_NUMBERS = {_SIZE, "retention.bytes", "retention.ms"}
_KAFKA_SIZE = 1_048_588  # max.message.bytes of a topic that says nothing
_LETTER_HEADERS = 65_536  # bytes that a dead letter may have beyond its record


def milliseconds(duration: str) -> int:
    """``90m``, ``12h``, ``7d`` or ``forever`` in milliseconds, where -1 is for ever.

    Raises:
        ValueError: It is none of these.
    """
    match = _DURATION.fullmatch(duration)
    if match is None and duration != "forever":
        raise ValueError(f"{duration!r} is no duration: write 90m, 12h, 7d or forever")
    return -1 if match is None else int(match[1]) * _UNITS[match[2]]


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
            raise ValueError(f"{name}={configs[name]!r} is no whole number; units are not understood here")
    return configs


class TopicOptions(BaseModel):
    """How a topic is to be; what is left out comes from the defaults."""

    model_config = ConfigDict(extra="forbid")

    partitions: PositiveInt | None = None
    retention: Annotated[str, AfterValidator(_checked_duration)] | None = None
    configs: Annotated[
        dict[Annotated[str, AfterValidator(_checked_config)], str | int], AfterValidator(_checked_configs)
    ] = {}

    def over(self, defaults: TopicOptions) -> TopicOptions:
        """These options, and the defaults for what they leave out."""
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
        """Those of MSK Serverless, and those that AWS has raised."""
        return Quotas(**{name.replace("-", "_"): number for name, number in self.raised.items()})

    @classmethod
    def read(cls, path: Path | None) -> TopicFile:
        """Read it; without a path everything is left out.

        Raises:
            UsageError: It is not there, or something in it is wrong.
        """
        if path is None:
            return cls()
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"--file {path}: {error}") from None
        except ValidationError as error:
            raise UsageError(f"--file {path}: {_faults(error.errors(include_url=False))}") from None


def topic_specs(declared: Declared, file: TopicFile, given: TopicOptions) -> list[TopicSpec]:
    """The declared topics as they should be.

    Args:
        given: Defaults of the command line, which come before those of the file.

    Raises:
        UsageError: The file describes a topic that nothing declares, or a dead-letter topic that its letters would not
            fit into.
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
    """The dead-letter topic of a group whose largest message has so many bytes."""
    topic = dead_letter_topic(group)
    options = _options(topic, file, file.dead_letters.over(_DEAD_LETTERS))
    given = options.configs.get(_SIZE)
    if given is not None and int(given) < largest:
        raise UsageError(f"--file: {_SIZE}={given} of {topic} is too little for letters of {largest} bytes")
    if given is None and largest > _KAFKA_SIZE:
        roomy = max(largest, min(largest + _LETTER_HEADERS, file.quotas.message_bytes))
        options = TopicOptions(configs={_SIZE: roomy}).over(options)
    return options.spec(topic)


def _faults(errors: Iterable[Any]) -> str:
    return "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors)
