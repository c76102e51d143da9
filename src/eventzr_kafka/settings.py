"""Settings of the connection to Kafka, from the environment or from code.

The table of all variables is docs/reference/settings.md; `variables` is what it is made from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias, get_args, get_type_hints

from eventzr_kafka.errors import SettingsError
from eventzr_kafka.safe_text import printable

__all__ = ["Auth", "EventLoop", "KafkaSettings", "OutsideHandlers", "Variable", "WhileDisabled", "variables"]

Auth: TypeAlias = Literal["none", "plain", "scram", "iam"]
_AUTHS = ("none", "plain", "scram", "iam")
EventLoop: TypeAlias = Literal["auto", "uvloop", "asyncio"]
WhileDisabled: TypeAlias = Literal["skip", "keep"]
OutsideHandlers: TypeAlias = Literal["allow", "warn", "refuse"]
_BATCH_BYTES = 524_288  # half of what a topic takes by default; less costs throughput
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_BROKER = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9._\-]+):(\d{1,5})")
_MSK = re.compile(
    r".+\.kafka(?P<serverless>-serverless)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?:(?P<port>\d+)"
)
_MSK_IAM_PORTS = {"9098", "9198"}  # in the VPC, and public
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-\d+")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")


def _parse_text(_name: str, text: str) -> str | None:
    return text.strip() or None


def _parse_secret(_name: str, text: str) -> str | None:
    return text or None  # spaces may belong to a password


def _parse_word(_name: str, text: str) -> str | None:
    return text.strip().lower() or None


def _parse_number(name: str, text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise SettingsError(name, f"must be a whole number, not {printable(text)!r}")
    return int(text)


def _parse_flag(name: str, text: str) -> bool | None:
    text = text.strip().lower()
    if not text:
        return None
    if text not in _TRUE | _FALSE:
        raise SettingsError(name, f"must be true or false, not {printable(text)!r}")
    return text in _TRUE


class Variable(NamedTuple):
    """An environment variable, as the reference shows it.

    Attributes:
        parse: Turns its text into the field's value; None for an empty text, which leaves the field's default.
    """

    name: str
    meaning: str
    parse: Callable[[str, str], object] = _parse_text


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """The settings of the connection to Kafka. Credentials are left out of the ``repr``.

    Attributes:
        auth: None means ``iam`` for brokers of MSK that ask for it, else ``none``; see `effective_auth`.
        tls: None means TLS with a login, none without; see `uses_tls`.
        aws_region: None means the one in the brokers' names; see `effective_region`.
        librdkafka: Further properties of librdkafka, such as ``{"linger.ms": 5}``. Refused with a `SettingsError` are
            those that the SDK sets itself. Every client: ``bootstrap.servers``, ``client.id``, ``security.protocol``
            and those of the login. Consumers: ``enable.auto.commit``, ``enable.auto.offset.store``,
            ``auto.commit.interval.ms``, ``auto.offset.reset``, ``allow.auto.create.topics``,
            ``enable.partition.eof``, ``group.id``, ``group.protocol``, ``partition.assignment.strategy``. Producers:
            ``enable.idempotence``, ``acks``, ``partitioner``, ``batch.size``.
    """

    brokers: Annotated[
        str, Variable("KAFKA_BROKERS", "`host:port` pairs separated by commas; default `localhost:9092`")
    ] = "localhost:9092"
    enabled: Annotated[
        bool, Variable("KAFKA_ENABLED", "`true` or `false`; default true, but false on AWS Lambda", _parse_flag)
    ] = True
    auth: Annotated[
        Auth | None,
        Variable(
            "KAFKA_AUTH",
            "`none`, `plain`, `scram` (SCRAM-SHA-512) or `iam` (MSK IAM, needs the extra `msk`); default `iam` for "
            "brokers of MSK Serverless and port 9098 of MSK, else `none`",
            _parse_word,
        ),
    ] = None
    tls: Annotated[
        bool | None,
        Variable(
            "KAFKA_TLS", "`true` or `false`; default true with `plain`, `scram` and `iam`, else false", _parse_flag
        ),
    ] = None
    username: Annotated[str | None, Variable("KAFKA_USERNAME", "for `plain` and `scram`")] = field(
        default=None, repr=False
    )
    password: Annotated[
        str | None, Variable("KAFKA_PASSWORD", "for `plain` and `scram`; in no log line, repr or error", _parse_secret)
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
            _parse_number,
        ),
    ] = _BATCH_BYTES
    outside_handlers: Annotated[
        OutsideHandlers,
        Variable(
            "KAFKA_OUTSIDE_HANDLERS",
            "`allow`, `warn` or `refuse`: events published without an event in hand, as in a thread that a handler has "
            "started; `refuse` suits a service whose handlers alone publish; default `warn`",
            _parse_word,
        ),
    ] = "warn"
    event_loop: Annotated[
        EventLoop,
        Variable(
            "KAFKA_EVENT_LOOP",
            "`auto`, `uvloop` or `asyncio`: the event loop of the commands `run`, `dev` and `outbox relay`; default "
            "`auto`: uvloop if it is installed (extra `uvloop`; not on Windows), else asyncio's",
            _parse_word,
        ),
    ] = "auto"
    outbox_while_disabled: Annotated[
        WhileDisabled,
        Variable(
            "OUTBOX_WHILE_DISABLED",
            "`skip` or `keep`: while `KAFKA_ENABLED` is false, an outbox writes no rows, or keeps them for a relay; "
            "default `skip`",
            _parse_word,
        ),
    ] = "skip"
    outbox_kept_rows: Annotated[
        int,
        Variable(
            "OUTBOX_KEPT_ROWS",
            "for `OUTBOX_WHILE_DISABLED=keep`: as many rows may wait; a commit that would add more fails; "
            "default 100000",
            _parse_number,
        ),
    ] = 100_000
    librdkafka: Mapping[str, str | int | float | bool] = field(
        default_factory=dict[str, str | int | float | bool], repr=False
    )

    def __post_init__(self) -> None:
        self._check_brokers()
        if self.auth is not None and self.auth not in _AUTHS:
            raise SettingsError("KAFKA_AUTH", f"must be one of {', '.join(_AUTHS)}, not {printable(self.auth)!r}")
        for name, value in (("KAFKA_USERNAME", self.username), ("KAFKA_PASSWORD", self.password)):
            if self.effective_auth in {"plain", "scram"} and not value:
                raise SettingsError(name, f"is needed for KAFKA_AUTH={self.effective_auth}")
        if self.ca_file is not None:
            _check_authority(self.ca_file)
        if type(self.batch_bytes) is not int or not 1 <= self.batch_bytes < 1 << 31:
            problem = f"must be a number of bytes from 1 to 2147483647, not {printable(str(self.batch_bytes))!r}"
            raise SettingsError("KAFKA_BATCH_BYTES", problem)
        if self.outside_handlers not in get_args(OutsideHandlers):
            problem = f"must be allow, warn or refuse, not {printable(str(self.outside_handlers))!r}"
            raise SettingsError("KAFKA_OUTSIDE_HANDLERS", problem)
        if self.event_loop not in get_args(EventLoop):
            problem = f"must be auto, uvloop or asyncio, not {printable(str(self.event_loop))!r}"
            raise SettingsError("KAFKA_EVENT_LOOP", problem)
        self._check_outbox()
        if self.effective_auth == "iam":
            self._check_iam()

    def _check_outbox(self) -> None:
        if self.outbox_while_disabled not in get_args(WhileDisabled):
            problem = f"must be skip or keep, not {printable(str(self.outbox_while_disabled))!r}"
            raise SettingsError("OUTBOX_WHILE_DISABLED", problem)
        if type(self.outbox_kept_rows) is not int or not 1 <= self.outbox_kept_rows < 1 << 31:
            problem = f"must be a number of rows from 1 to 2147483647, not {printable(str(self.outbox_kept_rows))!r}"
            raise SettingsError("OUTBOX_KEPT_ROWS", problem)

    def _check_brokers(self) -> None:
        for broker in self.brokers.split(","):
            match = _BROKER.fullmatch(broker.strip())
            if match is None or not 1 <= int(match[1]) <= 65535:
                shown = "what comes before '@'" if "@" in broker else repr(printable(broker.strip()))
                problem = f"{shown} is not a host:port; write host1:9092,host2:9092"
                raise SettingsError("KAFKA_BROKERS", problem)

    def _check_iam(self) -> None:
        region = self.effective_region
        if region is None:
            problem = "is needed for KAFKA_AUTH=iam: the brokers' names hold none; write, for example, us-east-1"
            raise SettingsError("KAFKA_AWS_REGION", problem)
        if not _REGION.fullmatch(region):
            raise SettingsError("KAFKA_AWS_REGION", f"{printable(region)!r} is not a region such as us-east-1")
        if self.tls is False:
            raise SettingsError("KAFKA_TLS", "MSK takes KAFKA_AUTH=iam only with TLS; remove it")
        if self.aws_role_arn is not None and not _ROLE_ARN.fullmatch(self.aws_role_arn):
            problem = f"{printable(self.aws_role_arn)!r} is not an ARN such as arn:aws:iam::123456789012:role/orders"
            raise SettingsError("KAFKA_AWS_ROLE_ARN", problem)

    @property
    def effective_auth(self) -> Auth:
        """The way to log in: `auth`, or the one that the brokers' names imply."""
        if self.auth is not None:
            return self.auth
        return "iam" if all(_asks_for_iam(broker) for broker in self._msk()) else "none"

    @property
    def uses_tls(self) -> bool:
        """True if the connection uses TLS: `tls`, or what `effective_auth` implies."""
        return self.effective_auth != "none" if self.tls is None else self.tls

    @property
    def effective_region(self) -> str | None:
        """The AWS region: `aws_region`, or the one in the brokers' names."""
        found = self._msk()[0]
        return self.aws_region or (found["region"] if found is not None else None)

    @property
    def serverless(self) -> bool:
        """True if the brokers' names are those of MSK Serverless."""
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
        values: dict[str, Any] = {}
        for field_name, variable in _fields().items():
            value = variable.parse(variable.name, env.get(variable.name, ""))
            if value is not None:
                values[field_name] = value
        if "AWS_LAMBDA_FUNCTION_NAME" in env:
            values.setdefault("enabled", False)
        values.setdefault("aws_region", _ambient_region(env, values.get("brokers", "")))
        return cls(**values)


def variables() -> list[Variable]:
    """Return every variable that `KafkaSettings.from_env` reads, in the order of the fields."""
    return list(_fields().values())


@cache
def _fields() -> dict[str, Variable]:
    hints = get_type_hints(KafkaSettings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def _check_authority(path: str) -> None:
    """Read the file as a client would: its own error comes late, and names an offset of OpenSSL's sources."""
    import ssl  # noqa: PLC0415 -- 5 ms

    shown = repr(printable(path, limit=200))
    if not Path(path).is_file():
        raise SettingsError("KAFKA_CA_FILE", f"there is not a file at {shown}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        problem = f"{shown} does not hold a certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"
        raise SettingsError("KAFKA_CA_FILE", problem) from None
    except OSError as error:
        raise SettingsError("KAFKA_CA_FILE", f"{shown} cannot be read: {error.strerror}") from None


def _asks_for_iam(msk: re.Match[str] | None) -> bool:
    return msk is not None and (msk["serverless"] is not None or msk["port"] in _MSK_IAM_PORTS)


def _ambient_region(env: Mapping[str, str], brokers: str) -> str | None:
    """Return the process's own region; None where the brokers' names hold one."""
    if _MSK.fullmatch(brokers.split(",", maxsplit=1)[0].strip()):
        return None
    return env.get("AWS_REGION", "").strip() or env.get("AWS_DEFAULT_REGION", "").strip() or None
