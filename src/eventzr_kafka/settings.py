"""Settings of the connection to Kafka, from the environment or from code.

=====================  =======================================================================================
KAFKA_BROKERS          ``host:port`` pairs separated by commas; default ``localhost:9092``
KAFKA_ENABLED          ``true`` or ``false``; default true, but false on AWS Lambda
KAFKA_AUTH             ``none`` (default), ``plain`` or ``scram`` (SCRAM-SHA-512)
KAFKA_TLS              ``true`` or ``false``; default true with ``plain`` and ``scram``, else false
KAFKA_USERNAME         for ``plain`` and ``scram``
KAFKA_PASSWORD         for ``plain`` and ``scram``; in no log line, repr or error
KAFKA_CA_FILE          PEM file of the certificate authority; default: the system's
KAFKA_CLIENT_ID        name of this client in the broker's logs; default ``eventzr-kafka``
=====================  =======================================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, TypeAlias, TypeVar, cast

from eventzr_kafka.errors import SettingsError, printable

__all__ = ["Auth", "KafkaSettings"]

Auth: TypeAlias = Literal["none", "plain", "scram"]
FlagT = TypeVar("FlagT", bool, None)
_AUTHS = ("none", "plain", "scram")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_BROKER = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9._\-]+):(\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach Kafka. Credentials are in no ``repr``.

    Attributes:
        brokers: ``host:port`` pairs separated by commas.
        enabled: False makes producers and consumers do nothing: no client, no thread, no socket.
        auth: ``none``, ``plain`` (SASL/PLAIN) or ``scram`` (SASL/SCRAM-SHA-512).
        tls: Whether the connection is encrypted; None means yes with `auth`, no without.
        client: Further librdkafka settings; those that the SDK's guarantees rest on are refused.
    """

    brokers: str = "localhost:9092"
    enabled: bool = True
    auth: Auth = "none"
    tls: bool | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_id: str = "eventzr-kafka"
    client: Mapping[str, str | int | float | bool] = field(
        default_factory=dict[str, str | int | float | bool], repr=False
    )

    def __post_init__(self) -> None:
        for broker in self.brokers.split(","):
            match = _BROKER.fullmatch(broker.strip())
            if match is None or not 1 <= int(match[1]) <= 65535:
                shown = "what comes before '@'" if "@" in broker else repr(printable(broker.strip()))
                problem = f"{shown} is no host:port; write host1:9092,host2:9092"
                raise SettingsError("KAFKA_BROKERS", problem)
        if self.auth not in _AUTHS:
            raise SettingsError("KAFKA_AUTH", f"must be one of {', '.join(_AUTHS)}, not {printable(self.auth)!r}")
        for name, value in (("KAFKA_USERNAME", self.username), ("KAFKA_PASSWORD", self.password)):
            if self.auth != "none" and not value:
                raise SettingsError(name, f"is needed for KAFKA_AUTH={self.auth}")
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise SettingsError("KAFKA_CA_FILE", f"no file at {printable(self.ca_file, limit=200)!r}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables listed in the module's table.

        Args:
            environ: In place of ``os.environ``.

        Raises:
            SettingsError: A variable is malformed; it names the variable, never a password.
        """
        env = os.environ if environ is None else environ
        on_lambda = "AWS_LAMBDA_FUNCTION_NAME" in env
        return cls(
            brokers=_text(env, "KAFKA_BROKERS") or "localhost:9092",
            enabled=_flag(env, "KAFKA_ENABLED", default=not on_lambda),
            auth=cast("Auth", (_text(env, "KAFKA_AUTH") or "none").lower()),
            tls=_flag(env, "KAFKA_TLS", default=None),
            username=_text(env, "KAFKA_USERNAME"),
            password=env.get("KAFKA_PASSWORD") or None,
            ca_file=_text(env, "KAFKA_CA_FILE"),
            client_id=_text(env, "KAFKA_CLIENT_ID") or "eventzr-kafka",
        )


def _text(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name, "").strip() or None


def _flag(env: Mapping[str, str], name: str, *, default: FlagT) -> bool | FlagT:
    text = env.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _TRUE | _FALSE:
        raise SettingsError(name, f"must be true or false, not {printable(text)!r}")
    return text in _TRUE
