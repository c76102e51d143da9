"""The Protocol of a provider that makes login tokens for the Kafka client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Token", "TokenProvider"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token for SASL/OAUTHBEARER; its value is in no ``repr``.

    Attributes:
        expires_at: Seconds since 1970.
        identity: The owner of the token, for messages.
    """

    value: str = field(repr=False)
    expires_at: float
    identity: str


class TokenProvider(Protocol):
    """Makes tokens. Threads of the client call it, never the event loop."""

    @property
    def identity(self) -> str:
        """The owner of the tokens, as far as it is known; sends no request."""
        ...

    def token(self) -> Token:
        """Make a token; may take seconds.

        Raises:
            AuthenticationError: A token cannot be made; the error names the identity and the cause.
        """
        ...
