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
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from eventzr_kafka.cli.declared import Declared
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.topics import CONFIGS, TopicSpec

__all__ = ["TopicFile", "TopicOptions", "milliseconds", "topic_specs"]

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)([mhd])")


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


class TopicOptions(BaseModel):
    """How a topic is to be; what is left out comes from the defaults."""

    model_config = ConfigDict(extra="forbid")

    partitions: PositiveInt | None = None
    retention: Annotated[str, AfterValidator(_checked_duration)] | None = None
    configs: dict[Annotated[str, AfterValidator(_checked_config)], str | int] = {}

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
        UsageError: The file describes a topic that nothing declares.
    """
    dead_letters = declared.dead_letters
    strange = sorted(file.topics.keys() - {*declared.topics, *dead_letters})
    if strange:
        raise UsageError(f"--file describes {strange[0]!r}, which no target declares")
    options = given.over(file.defaults).over(_DEFAULTS)
    letters = file.dead_letters.over(_DEAD_LETTERS)
    return [*_specs(declared.topics, file, options), *_specs(dead_letters, file, letters)]


def _specs(topics: Iterable[str], file: TopicFile, defaults: TopicOptions) -> list[TopicSpec]:
    return [file.topics.get(topic, TopicOptions()).over(defaults).spec(topic) for topic in topics]


def _faults(errors: Iterable[Any]) -> str:
    return "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors)
