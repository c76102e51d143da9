"""One log line when the brokers are gone, one when they are back."""

from __future__ import annotations

import json
import logging
import time

from confluent_kafka import KafkaError

from eventzr_kafka._confluent.oauth import TokenCallback
from eventzr_kafka.errors import AuthenticationError, printable

__all__ = ["Outage", "describe_kafka_error", "refused_login"]

_DOWN = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._TIMED_OUT,
}
_MENDS = {
    KafkaError._AUTHENTICATION: "check KAFKA_AUTH and the credentials",
    KafkaError._RESOLVE: "check the host names in KAFKA_BROKERS",
    KafkaError._SSL: "check KAFKA_TLS and KAFKA_CA_FILE",
}


def describe_kafka_error(error: KafkaError) -> str:
    """Name and text of a client error, safe for one log line."""
    return f"{error.name()}: {printable(error.str(), limit=200)}"


def refused_login(error: KafkaError, login: TokenCallback | None) -> AuthenticationError:
    """The error for a login that the broker refuses.

    Args:
        login: Who logs in, where that is with tokens.
    """
    identity = "KAFKA_USERNAME" if login is None else login.identity
    return AuthenticationError(identity, describe_kafka_error(error), _mend(error, login))


def _mend(error: KafkaError, login: TokenCallback | None) -> str:
    if error.code() == KafkaError._AUTHENTICATION and login is not None:
        return f"check the region, the permissions and the clock of {login.identity}"
    return _MENDS.get(error.code(), "is it running, and reachable from here?")


class Outage:
    """Whether the client has a connection; it reports changes alone. Any thread may use it.

    Attributes:
        refusal: What the broker said to the login, while the outage lasts.
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
        self.refusal: AuthenticationError | None = None

    def on_error(self, error: KafkaError) -> None:
        """Take an error from the client; the first one of an outage is told, and any that is about something else."""
        if error.code() == KafkaError._AUTHENTICATION:
            self.refusal = refused_login(error, self._login)
        if error.code() not in _DOWN:
            self._log.warning("%s: %s", self._who, describe_kafka_error(error))
        elif self._since is None:
            self._since = time.monotonic()
            reason = describe_kafka_error(error)
            self._log.error(
                "%s: no connection to %s (%s); retrying until it is back: %s",
                self._who,
                self._brokers,
                reason,
                _mend(error, self._login),
            )

    def on_statistics(self, statistics: str) -> None:
        """Take the client's statistics: a broker that is up ends an outage."""
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
