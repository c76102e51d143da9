"""MSK IAM tokens: one source of credentials, the earlier end, a failure that says whose and why, and recovery."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent.config import consumer_config, producer_config
from eventzr_kafka._confluent.connection import ConnectionMonitor
from eventzr_kafka._confluent.oauth import TokenCallback, token_callback
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.clock import Clock
from eventzr_kafka.errors import AuthenticationError, MissingExtraError
from eventzr_kafka.kafka.tokens import Token
from eventzr_kafka.msk import token as token_module
from eventzr_kafka.msk.token import AwsCredentials, IamTokenProvider, iam_token_provider

NOW = 1_800_000_000.0
TOKEN_ENDS = NOW + 900
SETTINGS = KafkaSettings(brokers="boot-a.c2.kafka-serverless.us-east-1.amazonaws.com:9098")


@dataclass
class FakeCredentials:
    """A source of credentials, and how often each part of it was used."""

    refreshes: bool = True
    expires_at: float | None = None
    fault: Exception | None = None
    loaded: int = 0

    def load(self) -> FakeCredentials:
        self.loaded += 1
        return self

    def current(self) -> AwsCredentials:
        if self.fault is not None:
            raise self.fault
        return AwsCredentials("AKIDEXAMPLE7Q", "hush", "session-hush", "assume-role", self.expires_at)


def provider(source: FakeCredentials) -> IamTokenProvider:
    def sign(_region: str, _credentials: AwsCredentials) -> tuple[str, float]:
        return "t", TOKEN_ENDS

    return IamTokenProvider("us-east-1", "profile dev", source.load, sign, clock=Clock(wall=lambda: NOW))


@pytest.mark.parametrize(
    ("credentials_end", "end"),
    [(None, TOKEN_ENDS), (NOW + 60, NOW + 60), (NOW + 3600, TOKEN_ENDS)],
)
def test_token_ends_with_credentials(credentials_end: float | None, end: float) -> None:
    assert provider(FakeCredentials(expires_at=credentials_end)).token().expires_at == end


def test_own_renewal_is_loaded_once() -> None:
    for source, loads in ((FakeCredentials(refreshes=True), 1), (FakeCredentials(refreshes=False), 3)):
        tokens = provider(source)
        for _ in range(3):
            tokens.token()
        assert source.loaded == loads


def test_failure_reloads_everything() -> None:
    source = FakeCredentials()
    tokens = provider(source)
    tokens.token()
    source.fault = ConnectionError("metadata service away")

    with pytest.raises(AuthenticationError) as caught:
        tokens.token()

    assert str(caught.value) == (
        "no MSK IAM token for us-east-1: ConnectionError: metadata service away "
        "(as profile dev, access key AKID…LE7Q (assume-role)); check the AWS credentials of this process"
    )
    source.fault = None
    assert tokens.token().value == "t"
    assert source.loaded == 2


def test_expired_credentials_sign_none() -> None:
    with pytest.raises(AuthenticationError, match="the credentials have expired"):
        provider(FakeCredentials(expires_at=NOW - 1)).token()


def test_failing_provider_logs_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "eventzr_kafka")
    source = FakeCredentials(fault=OSError("disk"))
    callback = TokenCallback(provider(source))
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            callback("")
    assert isinstance(callback.error, AuthenticationError)
    source.fault = None

    assert [callback("") for _ in range(2)] == [("t", TOKEN_ENDS)] * 2

    assert callback.error is None
    failed, recovered = [record.getMessage() for record in caplog.records]
    assert "OSError: disk (as profile dev)" in failed
    assert recovered.startswith("token refresh works again for profile dev, access key")


@dataclass
class Provided:
    """A team's own provider: gives what it is told to, or raises it."""

    result: Token | Exception
    identity: str = "vault"

    def token(self) -> Token:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


GOOD = Token("t", time.time() + 900, "vault")
EXPIRED = Token("hush-token", time.time() - 1, "vault")
RAISED = ValueError("hush-7391")


@pytest.mark.parametrize(
    ("result", "begin", "end"),
    [
        (RAISED, "no token: ValueError", " (as vault); "),
        (EXPIRED, "the token has expired already (as vault); check the clock", ""),
    ],
    ids=["raises", "expired"],
)
def test_tokenless_provider_is_named(
    result: Token | Exception, begin: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "eventzr_kafka")
    own = Provided(result)
    callback = TokenCallback(own)
    first, again = refused(callback), refused(callback)
    assert str(first) == str(again) == str(callback.error)
    assert str(first).startswith(begin)
    assert end in str(first)
    assert first.__cause__ is (result if isinstance(result, Exception) else None)

    own.result = GOOD
    assert callback("") == ("t", GOOD.expires_at)
    assert callback.error is None
    failed, recovered = caplog.messages
    assert failed == f"{first}; trying again every 10 s"
    assert re.fullmatch(r"token refresh works again for vault after \d+\.\d s", recovered)
    assert "hush" not in caplog.text


def refused(callback: TokenCallback) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as caught:
        callback("")
    return caught.value


def test_another_reason_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    own = Provided(RAISED)
    callback = TokenCallback(own)
    for result in (RAISED, RAISED, EXPIRED, EXPIRED, RAISED):
        own.result = result
        refused(callback)
    assert [message.split(" ", maxsplit=3)[:2] for message in caplog.messages] == [
        ["no", "token:"],
        ["the", "token"],
        ["no", "token:"],
    ]


@pytest.mark.parametrize("result", [RAISED, EXPIRED], ids=["raises", "expired"])
def test_client_with_a_bad_token_recovers(result: Token | Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Provided(result)

    def provide(_region: str, _profile: str | None, _role_arn: str | None) -> Provided:
        return own

    monkeypatch.setattr(token_module, "_provider", provide)
    producer = ConfluentProducer(KafkaSettings(brokers="127.0.0.1:1", auth="iam", aws_region="us-east-1"))
    with pytest.raises(AuthenticationError, match=r"\(as vault\)"):
        producer.start(lambda: None)
    own.result = GOOD
    producer.start(lambda: None)
    producer.close()


def test_no_secret_is_in_any_repr() -> None:
    tokens = provider(FakeCredentials())

    assert "hush" not in repr(FakeCredentials().current())
    assert "'t'" not in repr(tokens.token())


def test_signer_makes_a_token_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE7Q")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")

    token = iam_token_provider(KafkaSettings(auth="iam", aws_region="ap-south-1")).token()

    url = urlsplit(base64.urlsafe_b64decode(token.value + "==").decode())
    query = parse_qs(url.query)
    assert (url.hostname, query["Action"]) == ("kafka.ap-south-1.amazonaws.com", ["kafka-cluster:Connect"])
    assert "hush" not in str(url)
    assert 1_700_000_000 < token.expires_at < 10_000_000_000
    assert token.identity == "AWS's default credentials, access key AKID…LE7Q (env)"


def test_missing_profile_names_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    tokens = iam_token_provider(KafkaSettings(auth="iam", aws_region="us-east-1", aws_profile="nobody"))

    with pytest.raises(AuthenticationError, match=r"nobody.*check KAFKA_AWS_PROFILE"):
        tokens.token()


def test_clients_share_credentials() -> None:
    assert iam_token_provider(SETTINGS) is iam_token_provider(SETTINGS)


@pytest.mark.parametrize("made", [producer_config(SETTINGS), consumer_config(SETTINGS, "g", "classic")])
def test_iam_is_oauthbearer_over_tls(made: dict[str, Any]) -> None:
    assert (made["security.protocol"], made["sasl.mechanism"]) == ("SASL_SSL", "OAUTHBEARER")
    assert token_callback(made) is not None


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(_name: str) -> None: ...

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)

    with pytest.raises(MissingExtraError, match=r"pip install 'eventzr-kafka\[msk\]'"):
        ConfluentProducer(SETTINGS)


def test_tokenless_client_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    producer = ConfluentProducer(
        KafkaSettings(brokers="127.0.0.1:1", auth="iam", aws_region="us-east-1", aws_profile="x")
    )

    with pytest.raises(AuthenticationError, match="profile x"):
        producer.start(lambda: None)


def test_refused_login_names_identity(caplog: pytest.LogCaptureFixture) -> None:
    from confluent_kafka import KafkaError  # noqa: PLC0415 -- the adapter's own error

    callback = TokenCallback(provider(FakeCredentials()))
    callback("")
    connection = ConnectionMonitor(
        logging.getLogger("eventzr_kafka.producer"), "producer", KafkaSettings(brokers="b:9098"), callback
    )

    connection.on_error(KafkaError(KafkaError._AUTHENTICATION, "Access denied"))

    assert "permissions and the clock of profile dev, access key AKID…LE7Q" in caplog.text


STS = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>ASIAROLE00000042</AccessKeyId><SecretAccessKey>hush</SecretAccessKey><SessionToken>hush</SessionToken>
<Expiration>{end}</Expiration></Credentials></{action}Result></{action}Response>"""


class Sts(BaseHTTPRequestHandler):
    """Gives a role's credentials for 14 minutes, so that they end before a token would; notes who asks."""

    asked: ClassVar[list[str]] = []
    signatures: ClassVar[list[str]] = []
    end = ""  # of the credentials: the fixture sets it, since a whole run may last longer than they do

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(asked)
        self.signatures.append(self.headers.get("Authorization", ""))
        body = STS.format(action=parse_qs(asked)["Action"][0], end=self.end).encode()
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        """Note the address that a client of this proxy asks for, and refuse it."""
        self.asked.append(self.path)
        self.send_error(403)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 -- the name that it overrides


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A stand-in for AWS STS; gives the requests that it got."""
    monkeypatch.setattr(Sts, "asked", [])
    monkeypatch.setattr(Sts, "signatures", [])
    monkeypatch.setattr(Sts, "end", (datetime.now(UTC) + timedelta(minutes=14)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with HTTPServer(("127.0.0.1", 0), Sts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
        yield Sts.asked
        server.shutdown()


def test_role_has_one_session_name(sts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE7Q")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    role = "arn:aws:iam::123456789012:role/orders"

    token = iam_token_provider(KafkaSettings(auth="iam", aws_region="us-east-1", aws_role_arn=role)).token()

    assert sts
    assert all("RoleSessionName=eventzr-kafka" in request for request in sts)
    assert datetime.fromtimestamp(token.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") == Sts.end
    assert token.identity == f"role {role} by AWS's default credentials, access key ASIA…0042 (assume-role)"


@pytest.fixture
def no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process that AWS's own settings give neither a region nor credentials; gives its configuration file."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return config


def test_web_identity_uses_sdk_region(sts: list[str], no_region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = no_region.with_name("identity")
    identity.write_text("a-web-identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(identity))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    settings = KafkaSettings(auth="iam", aws_region="eu-south-2")

    token = iam_token_provider(settings).token()

    assert ["Action=AssumeRoleWithWebIdentity" in request for request in sts] == [True]
    assert token.identity.endswith("access key ASIA…0042 (assume-role-with-web-identity)")

    monkeypatch.setenv("HTTPS_PROXY", os.environ["AWS_ENDPOINT_URL_STS"])
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    token_module._provider.cache_clear()
    with pytest.raises(AuthenticationError, match="ProxyConnectionError"):
        iam_token_provider(settings).token()
    assert set(sts[1:]) == {"sts.eu-south-2.amazonaws.com:443"}


@pytest.mark.parametrize(("own", "used"), [("", "eu-south-1"), ("region = af-south-1", "af-south-1")])
def test_role_of_a_profile_has_its_region(sts: list[str], no_region: Path, own: str, used: str) -> None:
    no_region.write_text(
        "[profile base]\naws_access_key_id = AKIDEXAMPLE7Q\naws_secret_access_key = hush\n"
        f"[profile pod]\nrole_arn = arn:aws:iam::123456789012:role/pod\nsource_profile = base\n{own}\n"
    )
    settings = KafkaSettings(auth="iam", aws_region="eu-south-1", aws_profile="pod")
    token_module._provider.cache_clear()

    iam_token_provider(settings).token()

    assert len(sts) == 1
    assert f"/{used}/sts/" in Sts.signatures[0]


async def test_tokenless_consumer_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    settings = KafkaSettings(brokers="127.0.0.1:1", auth="iam", aws_region="us-east-1", aws_profile="y")

    with pytest.raises(AuthenticationError, match="profile y"):
        await asyncio.wait_for(ConsumerRunner(Listener(), settings=settings).run(), 60)


@kafka_consumer(group_id="tokens")
class Listener:
    @on_message("tokens.v1")
    async def handle(self, event: CloudEvent[Any]) -> None: ...
