"""The client's token callback.

1. The client ignores an exception of the callback and asks again 10 s later. So the cause is logged here, once for each
   reason, and kept for the errors that the user sees.
2. A client whose first token fails is not made at all. So a token is made first, and its error is raised at once.
3. The callback runs in a thread of the client. Making such a client takes a second: never make it on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import AuthenticationError
from eventzr_kafka.kafka.tokens import Token, TokenProvider
from eventzr_kafka.lifecycle.state_log import StateLog
from eventzr_kafka.safe_text import error_location

__all__ = ["TokenCallback", "make_client", "token_callback"]

ClientT = TypeVar("ClientT")

log = logging.getLogger("eventzr_kafka.login")


class TokenCallback:
    """The function that the client calls when it needs a token.

    Attributes:
        error: The error of the last attempt to get a token, or None.
    """

    def __init__(self, provider: TokenProvider, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.error: AuthenticationError | None = None
        self._provider = provider
        self._clock = clock
        self._state = StateLog(log, clock=clock)

    @property
    def identity(self) -> str:
        """The owner of the tokens, for messages."""
        return self._provider.identity

    def __call__(self, _config: str) -> tuple[str, float]:
        """Return the value of a token, and the seconds since 1970 at which it expires."""
        try:
            token = self.token()
        except AuthenticationError as error:
            self.error = error
            self._state.report_failure(str(error), "%s; trying again every 10 s", error)
            raise
        self.error = None
        self._state.report_success("token refresh works again for %s", token.identity)
        return token.value, token.expires_at

    def token(self) -> Token:
        """Make a token.

        Raises:
            AuthenticationError: The provider cannot make one.
        """
        try:
            token = self._provider.token()
        except AuthenticationError:
            raise
        except Exception as error:
            raise AuthenticationError(
                self.identity, f"no token: {error_location(error)}", "fix the provider"
            ) from error
        if token.expires_at <= self._clock.wall():  # the client would wait for another one without an error
            raise AuthenticationError(self.identity, "the token has expired already", "check the clock")
        return token


def token_callback(config: Mapping[str, Any]) -> TokenCallback | None:
    """Return the callback of a client's configuration, or None."""
    found = config.get("oauth_cb")
    return found if isinstance(found, TokenCallback) else None


def make_client(kind: Callable[[dict[str, Any]], ClientT], config: dict[str, Any]) -> ClientT:
    """Make a client; blocks.

    Raises:
        AuthenticationError: A token for it could not be made.
    """
    callback = token_callback(config)
    if callback is None:
        return kind(config)
    callback.token()
    try:
        return kind(config)
    except KafkaException as error:
        if callback.error is not None:
            raise callback.error from error
        raise
