"""The only importer of botocore and of the MSK IAM signer; importing it costs half a second."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    Credentials,
    DeferredRefreshableCredentials,
    RefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError
from botocore.session import Session

from eventzr_kafka.msk.token import AwsCredentials

__all__ = ["BotocoreCredentials", "load_credentials", "sign_token"]

_signer: Any = import_module("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")  # has no types
_SESSION_NAME = "eventzr-kafka"  # part of the principal's name, which must not change


class BotocoreCredentials:
    """A `CredentialSource` on the credentials of a botocore session."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    @property
    def refreshes(self) -> bool:
        """True if botocore renews the credentials."""
        return isinstance(self._credentials, RefreshableCredentials)

    def current(self) -> AwsCredentials:
        """Return the credentials; botocore renews them if necessary."""
        frozen = self._credentials.get_frozen_credentials()
        expiry = getattr(self._credentials, "_expiry_time", None)  # botocore has no public name for it
        return AwsCredentials(
            access_key=frozen.access_key or "",
            secret_key=frozen.secret_key or "",
            session_token=frozen.token,
            method=self._credentials.method or "unknown",
            expires_at=None if expiry is None else expiry.timestamp(),
        )


def load_credentials(region: str, profile: str | None, role_arn: str | None) -> BotocoreCredentials:
    """Find credentials in AWS's chain, and use them to assume a role if one is given.

    Args:
        region: The cluster's region; STS is called there, unless AWS's own settings name a region.

    Raises:
        BotoCoreError: There are no credentials, or the profile does not exist.
    """
    session = Session(profile=profile)
    if (
        session.get_config_variable("region") is None
    ):  # a chain that ends in STS needs one: web identity, a profile's role
        session.set_config_variable("region", region)
    credentials = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    return BotocoreCredentials(_assume_role(session, credentials, region, role_arn) if role_arn else credentials)


def _assume_role(session: Session, source: Credentials, region: str, role_arn: str) -> Credentials:
    fetcher = AssumeRoleCredentialFetcher(
        partial(session.create_client, region_name=region),
        source,
        role_arn,
        extra_args={"RoleSessionName": _SESSION_NAME},
    )
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


def sign_token(region: str, credentials: AwsCredentials) -> tuple[str, float]:
    """Return a token, and the seconds since 1970 at which it expires."""
    given = Credentials(credentials.access_key, credentials.secret_key, credentials.session_token)
    token, expires_ms = _signer.generate_auth_token_from_credentials_provider(region, _FixedProvider(given))
    return token, expires_ms / 1000


class _FixedProvider(CredentialProvider):
    """Hands existing credentials to the signer."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials
