"""Settings of the connection to Kafka, from the environment or from code.

The table of all variables is docs/reference/settings.md; `variables` is what it is made from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias, TypeVar, cast, get_type_hints

from eventzr_kafka.errors import SettingsError
from eventzr_kafka.safe_text import printable

__all__ = ["Auth", "KafkaSettings", "Variable", "variables"]

Auth: TypeAlias = Literal["none", "plain", "scram", "iam"]
FlagT = TypeVar("FlagT", bool, None)
_AUTHS = ("none", "plain", "scram", "iam")
_BATCH_BYTES = 524_288  # half of what a topic takes by default; less costs throughput
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_BROKER = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9._\-]+):(\d{1,5})")
_MSK = re.compile(
    r".+\.kafka(?P<serverless>-serverless)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?:(?P<port>\d+)"
)
_MSK_IAM_PORTS = {"9098", "9198"}  # in the VPC, and public
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-\d+")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")


class Variable(NamedTuple):
    """An environment variable, as the reference shows it."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach Kafka. Credentials are in no ``repr``.

    Attributes:
        auth: None means ``iam`` for brokers of MSK that ask for it, else ``none``; `login` is what holds.
        tls: None means yes with a login, no without; `encrypted` is what holds.
        aws_region: None means the one in the brokers' names; `region` is what holds.
        client: Further librdkafka settings; those that the SDK's guarantees rest on are refused.
    """

    brokers: Annotated[
        str, Variable("KAFKA_BROKERS", "`host:port` pairs separated by commas; default `localhost:9092`")
    ] = "localhost:9092"
    enabled: Annotated[bool, Variable("KAFKA_ENABLED", "`true` or `false`; default true, but false on AWS Lambda")] = (
        True
    )
    auth: Annotated[
        Auth | None,
        Variable(
            "KAFKA_AUTH",
            "`none`, `plain`, `scram` (SCRAM-SHA-512) or `iam` (MSK IAM, needs the extra `msk`); default `iam` for "
            "brokers of MSK Serverless and port 9098 of MSK, else `none`",
        ),
    ] = None
    tls: Annotated[
        bool | None,
        Variable("KAFKA_TLS", "`true` or `false`; default true with `plain`, `scram` and `iam`, else false"),
    ] = None
    username: Annotated[str | None, Variable("KAFKA_USERNAME", "for `plain` and `scram`")] = field(
        default=None, repr=False
    )
    password: Annotated[
        str | None, Variable("KAFKA_PASSWORD", "for `plain` and `scram`; in no log line, repr or error")
    ] = field(default=None, repr=False)
    ca_file: Annotated[
        str | None, Variable("KAFKA_CA_FILE", "PEM file of the certificate authority; default: the system's")
    ] = None
    client_id: Annotated[
        str, Variable("KAFKA_CLIENT_ID", "name of this client in the broker's logs; default `eventzr-kafka`")
    ] = "eventzr-kafka"
    aws_region: Annotated[
        str | None,
        Variable(
            "KAFKA_AWS_REGION",
            "for `iam`; default: the region in the brokers' names, else `AWS_REGION`, else `AWS_DEFAULT_REGION`",
        ),
    ] = None
    aws_profile: Annotated[
        str | None,
        Variable("KAFKA_AWS_PROFILE", "for `iam`: a profile of the AWS configuration; default: AWS's own chain"),
    ] = None
    aws_role_arn: Annotated[
        str | None, Variable("KAFKA_AWS_ROLE_ARN", "for `iam`: a role to assume with those credentials; default: none")
    ] = None
    batch_bytes: Annotated[
        int,
        Variable(
            "KAFKA_BATCH_BYTES",
            "bytes of events that a producer sends to a partition at once; default 524288. A broker refuses a batch "
            "larger than the topic's `max.message.bytes` (by default 1048588): keep it below that of every topic",
        ),
    ] = _BATCH_BYTES
    client: Mapping[str, str | int | float | bool] = field(
        default_factory=dict[str, str | int | float | bool], repr=False
    )

    def __post_init__(self) -> None:
        self._check_brokers()
        if self.auth is not None and self.auth not in _AUTHS:
            raise SettingsError("KAFKA_AUTH", f"must be one of {', '.join(_AUTHS)}, not {printable(self.auth)!r}")
        for name, value in (("KAFKA_USERNAME", self.username), ("KAFKA_PASSWORD", self.password)):
            if self.login in {"plain", "scram"} and not value:
                raise SettingsError(name, f"is needed for KAFKA_AUTH={self.login}")
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise SettingsError("KAFKA_CA_FILE", f"no file at {printable(self.ca_file, limit=200)!r}")
        if type(self.batch_bytes) is not int or not 1 <= self.batch_bytes < 1 << 31:
            problem = f"must be a number of bytes from 1 to 2147483647, not {printable(str(self.batch_bytes))!r}"
            raise SettingsError("KAFKA_BATCH_BYTES", problem)
        if self.login == "iam":
            self._check_iam()

    def _check_brokers(self) -> None:
        for broker in self.brokers.split(","):
            match = _BROKER.fullmatch(broker.strip())
            if match is None or not 1 <= int(match[1]) <= 65535:
                shown = "what comes before '@'" if "@" in broker else repr(printable(broker.strip()))
                problem = f"{shown} is no host:port; write host1:9092,host2:9092"
                raise SettingsError("KAFKA_BROKERS", problem)

    def _check_iam(self) -> None:
        if self.region is None:
            problem = "is needed for KAFKA_AUTH=iam: the brokers' names hold no region; write, for example, us-east-1"
            raise SettingsError("KAFKA_AWS_REGION", problem)
        if not _REGION.fullmatch(self.region):
            raise SettingsError("KAFKA_AWS_REGION", f"{printable(self.region)!r} is no region such as us-east-1")
        if self.tls is False:
            raise SettingsError("KAFKA_TLS", "MSK takes KAFKA_AUTH=iam only with TLS; remove it")
        if self.aws_role_arn is not None and not _ROLE_ARN.fullmatch(self.aws_role_arn):
            problem = f"{printable(self.aws_role_arn)!r} is no ARN such as arn:aws:iam::123456789012:role/orders"
            raise SettingsError("KAFKA_AWS_ROLE_ARN", problem)

    @property
    def login(self) -> Auth:
        """How to log in: `auth`, or what the brokers' names say."""
        if self.auth is not None:
            return self.auth
        return "iam" if all(_asks_for_iam(broker) for broker in self._msk()) else "none"

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self.login != "none" if self.tls is None else self.tls

    @property
    def region(self) -> str | None:
        """The AWS region: `aws_region`, or the one in the brokers' names."""
        found = self._msk()[0]
        return self.aws_region or (found["region"] if found is not None else None)

    @property
    def serverless(self) -> bool:
        """Whether the brokers are MSK Serverless, going by their names."""
        return all(found is not None and found["serverless"] is not None for found in self._msk())

    def _msk(self) -> list[re.Match[str] | None]:
        return [_MSK.fullmatch(broker.strip()) for broker in self.brokers.split(",")]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables listed in docs/reference/settings.md.

        Args:
            environ: In place of ``os.environ``.

        Raises:
            SettingsError: A variable is malformed; it names the variable, never a password.
        """
        env = os.environ if environ is None else environ
        on_lambda = "AWS_LAMBDA_FUNCTION_NAME" in env
        brokers = _text(env, "KAFKA_BROKERS") or "localhost:9092"
        return cls(
            brokers=brokers,
            enabled=_flag(env, "KAFKA_ENABLED", default=not on_lambda),
            auth=cast("Auth | None", (_text(env, "KAFKA_AUTH") or "").lower() or None),
            tls=_flag(env, "KAFKA_TLS", default=None),
            username=_text(env, "KAFKA_USERNAME"),
            password=env.get("KAFKA_PASSWORD") or None,
            ca_file=_text(env, "KAFKA_CA_FILE"),
            client_id=_text(env, "KAFKA_CLIENT_ID") or "eventzr-kafka",
            aws_region=_text(env, "KAFKA_AWS_REGION") or _ambient_region(env, brokers),
            aws_profile=_text(env, "KAFKA_AWS_PROFILE"),
            aws_role_arn=_text(env, "KAFKA_AWS_ROLE_ARN"),
            batch_bytes=_number(env, "KAFKA_BATCH_BYTES", default=_BATCH_BYTES),
        )


def variables() -> list[Variable]:
    """Every variable that `KafkaSettings.from_env` reads, in the order of the fields."""
    hints = get_type_hints(KafkaSettings, include_extras=True)
    return [noted for hint in hints.values() for noted in getattr(hint, "__metadata__", ())]


def _asks_for_iam(msk: re.Match[str] | None) -> bool:
    return msk is not None and (msk["serverless"] is not None or msk["port"] in _MSK_IAM_PORTS)


def _ambient_region(env: Mapping[str, str], brokers: str) -> str | None:
    """The process's own region, which says nothing where the brokers' names hold one."""
    if _MSK.fullmatch(brokers.split(",", maxsplit=1)[0].strip()):
        return None
    return _text(env, "AWS_REGION") or _text(env, "AWS_DEFAULT_REGION")


def _text(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name, "").strip() or None


def _number(env: Mapping[str, str], name: str, *, default: int) -> int:
    text = env.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise SettingsError(name, f"must be a whole number, not {printable(text)!r}")
    return int(text)


def _flag(env: Mapping[str, str], name: str, *, default: FlagT) -> bool | FlagT:
    text = env.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _TRUE | _FALSE:
        raise SettingsError(name, f"must be true or false, not {printable(text)!r}")
    return text in _TRUE
