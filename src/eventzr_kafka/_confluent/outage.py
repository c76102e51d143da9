"""One log line when the brokers are gone, one when they are back."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from eventzr_kafka._confluent.oauth import TokenCallback
from eventzr_kafka.errors import AuthenticationError
from eventzr_kafka.safe_text import error_location, printable

__all__ = [
    "Hearing",
    "Outage",
    "describe_client_error",
    "describe_kafka_error",
    "describe_with_hint",
    "is_fatal",
    "refused_login",
]

_DOWN = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._TIMED_OUT,
}
_HINTS = {
    KafkaError._AUTHENTICATION: "check KAFKA_AUTH and the credentials",
    KafkaError._RESOLVE: "check the host names in KAFKA_BROKERS",
    KafkaError._SSL: "check KAFKA_TLS and KAFKA_CA_FILE",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "allow IdempotentWrite, on MSK kafka-cluster:WriteDataIdempotently",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "joining once the members have gone that share out partitions differently",
    KafkaError.GROUP_MAX_SIZE_REACHED: "joining once others have left, or the broker's group.max.size is raised",
}
_KNOWN = '"source":"learned"', '"source":"configured"'  # of a broker, in the client's statistics
_REPEAT = 60.0  # seconds until an error that goes on is told again
_PATIENCE = 3  # statistics without any broker, one a second; there may be none while the client exchanges them


def describe_kafka_error(error: KafkaError) -> str:
    """Name and text of a client error, safe for one log line."""
    return f"{error.name()}: {printable(error.str(), limit=200)}"


def describe_client_error(error: Exception) -> str:
    """Describe what a call of the client raised: name and text of its own errors, class and place of any other."""
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return describe_kafka_error(cause) if isinstance(cause, KafkaError) else error_location(error)


def describe_with_hint(error: KafkaError) -> str:
    """The same, and what to do about it, where that is known."""
    return "; ".join(filter(None, (describe_kafka_error(error), _HINTS.get(error.code()))))


def is_fatal(error: KafkaError) -> bool:
    """Whether the client can do nothing more: raised by `poll` it has the mark, as a message it has only the code."""
    return error.fatal() or error.code() == KafkaError._FATAL


def refused_login(error: KafkaError, login: TokenCallback | None) -> AuthenticationError:
    """The error for a login that the broker refuses.

    Args:
        login: Who logs in, where that is with tokens.
    """
    identity = "KAFKA_USERNAME" if login is None else login.identity
    return AuthenticationError(identity, describe_kafka_error(error), _hint(error, login))


def _hint(error: KafkaError, login: TokenCallback | None) -> str:
    if error.code() == KafkaError._AUTHENTICATION and login is not None:
        return f"check the region, the permissions and the clock of {login.identity}"
    return _HINTS.get(error.code(), "is it running, and reachable from here?")


class Outage:
    """Whether the client has a connection; it reports changes alone. Any thread may use it.

    Attributes:
        refusal: What the broker said to the login, while the outage lasts.
        forgotten: How many statistics in a row knew no broker.
    """

    def __init__(self, log: logging.Logger, who: str, brokers: str, login: TokenCallback | None = None) -> None:
        """Take the names that the two lines will carry.

        Args:
            who: The group or the producer.
            brokers: As configured.
            login: Who logs in, where that is with tokens.
        """
        self._log = log
        self._who = who
        self._brokers = brokers
        self._login = login
        self._since: float | None = None
        self._warning = ""  # the last one about something else
        self._warn_again = 0.0
        self.refusal: AuthenticationError | None = None
        self.forgotten = 0

    @property
    def for_good(self) -> bool:
        """Whether the client knows no broker any more: it looks for none then, and only another one helps.

        librdkafka drops the brokers that a metadata response does not name; the response of a lone broker that is
        shutting down names none (its issue 5301).
        """
        return self.forgotten >= _PATIENCE

    def on_error(self, error: KafkaError) -> None:
        """Take an error from the client; the first of an outage is told, one about something else each minute."""
        if error.code() == KafkaError._AUTHENTICATION:
            self.refusal = refused_login(error, self._login)
        if error.code() not in _DOWN:
            self._warn(error)
        elif self._since is None:
            self._since = time.monotonic()
            reason = describe_kafka_error(error)
            self._log.error(
                "%s: no connection to %s (%s); retrying until it is back: %s",
                self._who,
                self._brokers,
                reason,
                _hint(error, self._login),
            )

    def _warn(self, error: KafkaError) -> None:
        text = describe_with_hint(error)
        if text != self._warning or time.monotonic() > self._warn_again:
            self._warning, self._warn_again = text, time.monotonic() + _REPEAT
            self._log.warning("%s: %s", self._who, text)

    def on_statistics(self, statistics: str) -> None:
        """Take the client's statistics: a broker that is up ends an outage."""
        self.forgotten = 0 if any(known in statistics for known in _KNOWN) else self.forgotten + 1
        if self._since is None:
            return
        brokers = json.loads(statistics).get("brokers", {}).values()
        if any(broker.get("state") == "UP" and broker.get("nodeid", -1) >= 0 for broker in brokers):
            self.over()

    def over(self) -> None:
        """Something came through."""
        self.refusal = None
        since, self._since = self._since, None  # another thread may be here too
        if since is not None:
            self._log.warning(
                "%s: connected to %s again after %.1f s",
                self._who,
                self._brokers,
                time.monotonic() - since,
            )


class Hearing:
    """Lets the callbacks of one client through, those of clients before it no more."""

    def __init__(self) -> None:
        """Begin without a client."""
        self._clients = 0

    def give(self) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """A wrapper for the callbacks of the next client; from here on the one before is not heard."""
        self._clients += 1
        number = self._clients
        return lambda callback: lambda *args: callback(*args) if number == self._clients else None
