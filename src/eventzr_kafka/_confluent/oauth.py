"""The client's token callback.

1. The client swallows what a callback raises and asks again 10 s later. So the cause is logged here, once for each
   reason, and kept for the errors that the user sees.
2. A client whose first token fails is not made at all. So that token is tried first, and its error raised at once.
3. The callback runs in a thread of the client. Making a client takes a second, never on the event loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from eventzr_kafka.errors import AuthenticationError
from eventzr_kafka.kafka.tokens import Token, TokenProvider
from eventzr_kafka.safe_text import error_location

__all__ = ["TokenCallback", "make_client", "token_callback"]

ClientT = TypeVar("ClientT")

log = logging.getLogger("eventzr_kafka.login")


class TokenCallback:
    """What the client calls when it needs a token.

    Attributes:
        error: Why the last token could not be had, or None.
    """

    def __init__(self, provider: TokenProvider) -> None:
        self.error: AuthenticationError | None = None
        self._provider = provider

    @property
    def identity(self) -> str:
        """Whose tokens these are, for people."""
        return self._provider.identity

    def __call__(self, _config: str) -> tuple[str, float]:
        """Make a token: its value, and when it ends in seconds since 1970."""
        try:
            token = self.token()
        except AuthenticationError as error:
            self._fail(error)
            raise
        if self.error is not None:
            log.warning("tokens can be had again as %s", token.identity)
            self.error = None
        return token.value, token.expires_at

    def token(self) -> Token:
        """Make a token.

        Raises:
            AuthenticationError: None can be had, for whatever reason.
        """
        try:
            token = self._provider.token()
        except AuthenticationError:
            raise
        except Exception as error:
            raise AuthenticationError(
                self.identity, f"no token: {error_location(error)}", "fix the provider"
            ) from error
        if token.expires_at <= time.time():  # the client would wait for another one, and say nothing
            raise AuthenticationError(self.identity, "the token has expired already", "check the clock")
        return token

    def _fail(self, error: AuthenticationError) -> None:
        if self.error is None or str(self.error) != str(error):
            log.error("%s; trying again every 10 s", error)
        self.error = error


def token_callback(config: Mapping[str, Any]) -> TokenCallback | None:
    """The callback in a configuration of the client, or None."""
    found = config.get("oauth_cb")
    return found if isinstance(found, TokenCallback) else None


def make_client(kind: Callable[[dict[str, Any]], ClientT], config: dict[str, Any]) -> ClientT:
    """Make a client; blocks.

    Raises:
        AuthenticationError: There is no token for it.
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
