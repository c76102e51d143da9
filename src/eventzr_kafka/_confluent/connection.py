"""The state of a client's connection: one log line when the brokers are lost, one when they are back."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from eventzr_kafka._confluent.oauth import TokenCallback
from eventzr_kafka._confluent.tls_faults import find_tls_fault, may_be_tls
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import AuthenticationError
from eventzr_kafka.lifecycle.state_log import StateLog
from eventzr_kafka.safe_text import error_location, printable
from eventzr_kafka.settings import KafkaSettings

__all__ = [
    "CallbackGate",
    "ConnectionMonitor",
    "describe_client_error",
    "describe_kafka_error",
    "describe_with_hint",
    "is_fatal",
    "refused_login",
]

_CONNECTION_ERRORS = {
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
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "waiting: other members use a different partition assignment strategy; will join when they have left"
    ),
    KafkaError.GROUP_MAX_SIZE_REACHED: (
        "waiting: will join when others have left, or the broker's group.max.size is raised"
    ),
}
_BROKER_MARKS = '"source":"learned"', '"source":"configured"'  # mark a broker in the client's statistics
_REPEAT_SECONDS = 60.0  # until an error that lasts is logged again
_EMPTY_STATISTICS = 3  # in a row, one a second: a client that exchanges its brokers has none for a moment
_LOST = "the brokers are lost"


def describe_kafka_error(error: KafkaError) -> str:
    """Return name and text of a client error, safe for one log line."""
    return f"{error.name()}: {printable(error.str(), limit=200)}"


def describe_client_error(error: BaseException) -> str:
    """Describe an exception of a client call: name and text of the client's own errors, class and place of others."""
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return describe_kafka_error(cause) if isinstance(cause, KafkaError) else error_location(error)


def describe_with_hint(error: KafkaError) -> str:
    """Return name and text of a client error, and what to do about it where that is known."""
    return "; ".join(filter(None, (describe_kafka_error(error), _HINTS.get(error.code()))))


def is_fatal(error: KafkaError) -> bool:
    """Return True if the client cannot go on. An error raised by `poll` has the mark, a message has only the code."""
    return error.fatal() or error.code() == KafkaError._FATAL


def refused_login(error: KafkaError, login: TokenCallback | None) -> AuthenticationError:
    """Make the error for a login that the broker refuses.

    Args:
        login: The client's token callback, if it logs in with tokens.
    """
    identity = "KAFKA_USERNAME" if login is None else login.identity
    return AuthenticationError(identity, describe_kafka_error(error), _hint(error, login))


def _hint(error: KafkaError, login: TokenCallback | None) -> str:
    if error.code() == KafkaError._AUTHENTICATION and login is not None:
        return f"check the region, the permissions and the clock of {login.identity}"
    return _HINTS.get(error.code(), "is it running, and reachable from here?")


class ConnectionMonitor:
    """Watches whether a client is connected, and logs the changes. Any thread may use it.

    Attributes:
        refusal: The error for a login that the broker refused, until something succeeds.
        tls_fault: What is wrong with TLS, and what to do, as far as it is known; None once something succeeds.
    """

    def __init__(
        self,
        log: logging.Logger,
        client: str,
        settings: KafkaSettings,
        login: TokenCallback | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Begin with a client that is not known to be disconnected.

        Args:
            client: The group or the producer, for log lines.
            settings: Of the client: the brokers, for log lines, and how TLS with them is checked.
            login: The client's token callback, if it logs in with tokens.
        """
        self.refusal: AuthenticationError | None = None
        self.tls_fault: str | None = None
        self._log = log
        self._client = client
        self._settings = settings
        self._brokers = settings.brokers
        self._login = login
        self._state = StateLog(log, clock=clock)
        self._monotonic = clock.monotonic
        self._warning = ""  # the last one that is not about the connection
        self._warn_again = 0.0
        self._empty_statistics = 0
        self._look_again = 0.0

    @property
    def brokers_forgotten(self) -> bool:
        """True once the client has forgotten all of its brokers: it never looks for new ones, so make another client.

        librdkafka drops the brokers that a metadata response does not name. If the last broker shuts down, its response
        names none (librdkafka's issue 5301).
        """
        return self._empty_statistics >= _EMPTY_STATISTICS

    def watch_next_client(self) -> None:
        """Start over for a client that replaces the one that has forgotten its brokers."""
        self._empty_statistics = 0

    def on_error(self, error: KafkaError) -> None:
        """Log an error of the client: the first one about a lost connection; any other error once a minute."""
        if error.code() == KafkaError._AUTHENTICATION:
            self.refusal = refused_login(error, self._login)
        if error.code() in _CONNECTION_ERRORS:
            text = "%s: no connection to %s (%s); retrying until it is back: %s"
            reason = describe_kafka_error(error)
            self._state.report_failure(_LOST, text, self._client, self._brokers, reason, _hint(error, self._login))
            self._look_at_tls(error)
            return
        warning = describe_with_hint(error)
        if warning != self._warning or self._monotonic() > self._warn_again:
            self._warning, self._warn_again = warning, self._monotonic() + _REPEAT_SECONDS
            self._log.warning("%s: %s", self._client, warning)

    def _look_at_tls(self, error: KafkaError) -> None:
        """Shake hands with the brokers in a thread: the client does not report what is wrong.

        Once a minute, also when the connection comes and goes: each time the brokers log a handshake that ends early.
        """
        if may_be_tls(error) and self._monotonic() >= self._look_again:
            self._look_again = self._monotonic() + _REPEAT_SECONDS
            threading.Thread(target=self._find_tls_fault, name="eventzr-kafka TLS probe", daemon=True).start()

    def _find_tls_fault(self) -> None:
        fault = find_tls_fault(self._settings)
        if self._state.reason is None:  # connected meanwhile
            return
        if fault is not None and fault != self.tls_fault:
            self._log.error("%s: %s", self._client, fault)
        self.tls_fault = fault

    def on_statistics(self, statistics: str) -> None:
        """Read the client's statistics: a broker that is up means that the connection is back."""
        names_a_broker = any(mark in statistics for mark in _BROKER_MARKS)
        self._empty_statistics = 0 if names_a_broker else self._empty_statistics + 1
        if self._state.reason is None:
            return
        brokers = json.loads(statistics).get("brokers", {}).values()
        if any(broker.get("state") == "UP" and broker.get("nodeid", -1) >= 0 for broker in brokers):
            self.on_success()

    def on_success(self) -> None:
        """Note that a record came through, or that a broker is up."""
        self.refusal = None
        if self._state.reason is not None:
            self.tls_fault = None
            self._state.report_success("%s: connected to %s again", self._client, self._brokers)


class CallbackGate:
    """Passes the callbacks of one client on, and blocks those of the clients that it replaced."""

    def __init__(self) -> None:
        """Begin without a client."""
        self._clients = 0

    def for_next_client(self) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Return a wrapper for the callbacks of the next client; from now on those of the client before do nothing."""
        self._clients += 1
        number = self._clients
        return lambda callback: lambda *args: callback(*args) if number == self._clients else None
