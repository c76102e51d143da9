"""The port to whoever makes login tokens for the Kafka client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Token", "TokenProvider"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token for SASL/OAUTHBEARER; its value is in no ``repr``.

    Attributes:
        expires_at: Seconds since 1970.
        identity: Whose token it is, for people.
    """

    value: str = field(repr=False)
    expires_at: float
    identity: str


class TokenProvider(Protocol):
    """Makes tokens; used from threads of the client, never from the event loop."""

    @property
    def identity(self) -> str:
        """Whose tokens these are, as far as it is known; asks nobody."""
        ...

    def token(self) -> Token:
        """Make a token; may take seconds.

        Raises:
            AuthenticationError: None can be had; it names the identity and the cause.
        """
        ...
