"""Tokens for MSK IAM.

1. Credentials that renew themselves are loaded once, so that the principal keeps its name: a broker refuses another
   name on re-authentication. Other credentials are read again for each token, so that new ones in the environment or a
   file are used.
2. After a failure the credentials are loaded again.
3. A token expires at its own time or with the credentials that signed it, whichever is earlier. Times are in seconds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Protocol

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import AuthenticationError, MissingExtraError
from eventzr_kafka.kafka.tokens import Token
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["AwsCredentials", "CredentialSource", "IamTokenProvider", "iam_token_provider"]

_HINTS = {
    "NoCredentialsError": "give the process a role, or set KAFKA_AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret",
    "ProfileNotFound": "check KAFKA_AWS_PROFILE",
    "ClientError": "check that KAFKA_AWS_ROLE_ARN may be assumed by these credentials",
}
_DEFAULT_HINT = "check the AWS credentials of this process"


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Credentials at one moment; secrets are in no ``repr``.

    Attributes:
        method: The link of AWS's chain that found them, for example ``env`` or ``assume-role``.
        expires_at: Seconds since 1970; None for those that do not expire.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    method: str
    expires_at: float | None


class CredentialSource(Protocol):
    """Credentials that may change over time."""

    @property
    def refreshes(self) -> bool:
        """True if the credentials renew themselves."""
        ...

    def current(self) -> AwsCredentials:
        """Return the present credentials, renewed if they are about to expire."""
        ...


class IamTokenProvider:
    """A `TokenProvider`; its methods may be called from any thread."""

    def __init__(
        self,
        region: str,
        owner: str,
        load: Callable[[], CredentialSource],
        sign: Callable[[str, AwsCredentials], tuple[str, float]],
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Keep the arguments; nothing is loaded before the first token.

        Args:
            owner: The owner of the credentials, for messages.
            sign: Takes region and credentials; returns a token, and the time at which it expires.
        """
        self.identity = owner
        self._region = region
        self._owner = owner
        self._load = load
        self._sign = sign
        self._wall = clock.wall
        self._source: CredentialSource | None = None
        self._lock = Lock()

    def token(self) -> Token:
        """Sign a token with the present credentials."""
        with self._lock:
            try:
                return self._sign_token()
            except Exception as error:
                self._source = None
                raise self._with_hint(error) from error

    def _sign_token(self) -> Token:
        credentials = self._current_credentials()
        self.identity = f"{self._owner}, access key {_mask(credentials.access_key)} ({credentials.method})"
        value, expires_at = self._sign(self._region, credentials)
        return Token(value, min(expires_at, credentials.expires_at or expires_at), self.identity)

    def _current_credentials(self) -> AwsCredentials:
        if self._source is None or not self._source.refreshes:
            self._source = self._load()
        credentials = self._source.current()
        if credentials.expires_at is not None and credentials.expires_at <= self._wall():
            raise TimeoutError("the credentials have expired and were not renewed")
        return credentials

    def _with_hint(self, error: Exception) -> AuthenticationError:
        kind = type(error).__name__
        problem = f"no MSK IAM token for {self._region}: {kind}: {printable(str(error), limit=300)}"
        return AuthenticationError(self.identity, problem, _HINTS.get(kind, _DEFAULT_HINT))


def iam_token_provider(settings: KafkaSettings) -> IamTokenProvider:
    """Return the provider for these settings; all clients of a process share it.

    Raises:
        MissingExtraError: The extra ``msk`` is not installed.
    """
    if importlib.util.find_spec("aws_msk_iam_sasl_signer") is None:
        raise MissingExtraError("msk", "KAFKA_AUTH=iam")
    return _provider(settings.effective_region or "", settings.aws_profile, settings.aws_role_arn)


@cache
def _provider(region: str, profile: str | None, role_arn: str | None) -> IamTokenProvider:
    def load() -> CredentialSource:
        from eventzr_kafka.msk._aws import load_credentials  # noqa: PLC0415 -- 450 ms, and needs the extra

        return load_credentials(region, profile, role_arn)

    def sign(region: str, credentials: AwsCredentials) -> tuple[str, float]:
        from eventzr_kafka.msk._aws import sign_token  # noqa: PLC0415

        return sign_token(region, credentials)

    return IamTokenProvider(region, _name_owner(profile, role_arn), load, sign)


def _name_owner(profile: str | None, role_arn: str | None) -> str:
    base = f"profile {profile}" if profile else "AWS's default credentials"
    return f"role {role_arn} by {base}" if role_arn else base


def _mask(access_key: str) -> str:
    return f"{access_key[:4]}…{access_key[-4:]}"
