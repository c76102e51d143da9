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
        """Whether botocore renews them."""
        return isinstance(self._credentials, RefreshableCredentials)

    def current(self) -> AwsCredentials:
        """Have botocore renew them if need be."""
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
    """Find credentials in AWS's chain, and a role's with their help.

    Args:
        region: Of the cluster; STS is asked there, unless AWS's own settings name a region.

    Raises:
        BotoCoreError: There are none, or no such profile.
    """
    session = Session(profile=profile)
    if (
        session.get_config_variable("region") is None
    ):  # a chain that ends in STS needs one: web identity, a profile's role
        session.set_config_variable("region", region)
    credentials = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    return BotocoreCredentials(_of_role(session, credentials, region, role_arn) if role_arn else credentials)


def _of_role(session: Session, source: Credentials, region: str, role_arn: str) -> Credentials:
    fetcher = AssumeRoleCredentialFetcher(
        partial(session.create_client, region_name=region),
        source,
        role_arn,
        extra_args={"RoleSessionName": _SESSION_NAME},
    )
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


def sign_token(region: str, credentials: AwsCredentials) -> tuple[str, float]:
    """The token and when it ends, in seconds since 1970."""
    given = Credentials(credentials.access_key, credentials.secret_key, credentials.session_token)
    token, expires_ms = _signer.generate_auth_token_from_credentials_provider(region, _Given(given))
    return token, expires_ms / 1000


class _Given(CredentialProvider):
    """Credentials that are there already, in the form that the signer wants."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials
