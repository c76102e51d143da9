"""Settings: what one variable implies, what overrides it, and what an error names."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent.config import producer_config
from eventzr_kafka.errors import SettingsError
from eventzr_kafka.settings import variables

ROOT = Path(__file__).parents[2]
SERVERLESS = "boot-abc1.c2.kafka-serverless.eu-west-1.amazonaws.com:9098"
PROVISIONED = "b-1.orders.x1.c2.kafka.us-east-1.amazonaws.com"


class Recorder(Mapping[str, str]):
    """An environment that notes what was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_batch_bound_is_below_default() -> None:
    assert read().batch_bytes < 1_048_588
    assert read(KAFKA_BATCH_BYTES="90000").batch_bytes == 90_000


@pytest.mark.parametrize("text", ["0", "-1", "1e5", "90 KB", "2147483648", "9" * 30])
def test_wrong_batch_bound_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="KAFKA_BATCH_BYTES"):
        read(KAFKA_BATCH_BYTES=text)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("KAFKA_OUTSIDE_HANDLERS", "warm", "must be allow, warn or refuse, not 'warm'"),
        ("KAFKA_EVENT_LOOP", "uvlop", "must be auto, uvloop or asyncio, not 'uvlop'"),
        ("OUTBOX_WHILE_DISABLED", "kep", "must be skip or keep, not 'kep'"),
        ("OUTBOX_KEPT_ROWS", "0", "must be a number of rows from 1 to 2147483647, not '0'"),
        ("OUTBOX_KEPT_ROWS", "many", "must be a whole number, not 'many'"),
    ],
)
def test_wrong_outbox_setting_is_named(name: str, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: {problem}$"):
        read(**{name: text})


@pytest.mark.parametrize("content", [b"", b"no certificate", b"0\x82\x01", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_authority_that_is_not_pem_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "authority.pem"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^KAFKA_CA_FILE: '{file}' does not hold a certificate in PEM"):
        read(KAFKA_CA_FILE=str(file))


def test_batch_bound_has_one_place() -> None:
    with pytest.raises(SettingsError, match="KAFKA_BATCH_BYTES"):
        producer_config(KafkaSettings(librdkafka={"batch.size": 90_000}))
    assert producer_config(KafkaSettings(batch_bytes=90_000))["batch.size"] == 90_000


def read(**environ: str) -> KafkaSettings:
    return KafkaSettings.from_env(environ)


def test_msk_serverless_tells_its_login() -> None:
    settings = read(KAFKA_BROKERS=SERVERLESS, AWS_REGION="us-west-2")

    assert (settings.effective_auth, settings.uses_tls, settings.effective_region) == ("iam", True, "eu-west-1")
    assert settings.serverless


@pytest.mark.parametrize(
    ("brokers", "login"),
    [
        (f"{PROVISIONED}:9098", "iam"),
        (f"{PROVISIONED}:9198", "iam"),
        (f"{PROVISIONED}:9092", "none"),
        (f"{PROVISIONED}:9098,localhost:9098", "none"),
        ("boot-abc1.c2.kafka-serverless.cn-north-1.amazonaws.com.cn:9098", "iam"),
        ("kafka-serverless.us-east-1.amazonaws.com.evil.example:9098", "none"),
        ("localhost:9098", "none"),
    ],
)
def test_only_msk_brokers_get_iam(brokers: str, login: str) -> None:
    assert read(KAFKA_BROKERS=brokers).effective_auth == login


def test_every_part_can_be_overridden() -> None:
    settings = read(
        KAFKA_BROKERS=SERVERLESS,
        KAFKA_AUTH="IAM",
        KAFKA_AWS_REGION="us-east-2",
        KAFKA_AWS_PROFILE="dev",
        KAFKA_AWS_ROLE_ARN="arn:aws:iam::123456789012:role/orders",
    )

    assert (settings.effective_region, settings.aws_profile) == ("us-east-2", "dev")
    assert settings.aws_role_arn == "arn:aws:iam::123456789012:role/orders"
    assert read(KAFKA_BROKERS=SERVERLESS, KAFKA_AUTH="none").uses_tls is False
    assert read(KAFKA_BROKERS="proxy:9098", KAFKA_AUTH="iam", AWS_REGION="us-east-2").effective_region == "us-east-2"


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"KAFKA_BROKERS": "localhost"}, "KAFKA_BROKERS"),
        ({"KAFKA_ENABLED": "maybe"}, "KAFKA_ENABLED"),
        ({"KAFKA_AUTH": "kerberos"}, "KAFKA_AUTH"),
        ({"KAFKA_AUTH": "plain", "KAFKA_PASSWORD": "hush"}, "KAFKA_USERNAME"),
        ({"KAFKA_AUTH": "scram", "KAFKA_USERNAME": "u"}, "KAFKA_PASSWORD"),
        ({"KAFKA_CA_FILE": "/nowhere.pem"}, "KAFKA_CA_FILE"),
        ({"KAFKA_AUTH": "iam"}, "KAFKA_AWS_REGION"),
        ({"KAFKA_AUTH": "iam", "KAFKA_AWS_REGION": "Virginia"}, "KAFKA_AWS_REGION"),
        ({"KAFKA_BROKERS": SERVERLESS, "KAFKA_TLS": "false"}, "KAFKA_TLS"),
        ({"KAFKA_BROKERS": SERVERLESS, "KAFKA_AWS_ROLE_ARN": "orders"}, "KAFKA_AWS_ROLE_ARN"),
    ],
)
def test_error_names_variable_only(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        KafkaSettings.from_env(environ)

    assert caught.value.name == variable
    assert "hush" not in str(caught.value)


def test_no_repr_shows_a_login() -> None:
    shown = repr(read(KAFKA_AUTH="plain", KAFKA_USERNAME="jane", KAFKA_PASSWORD="hush"))  # noqa: S106 -- none

    assert "jane" not in shown
    assert "hush" not in shown


def test_reference_is_up_to_date() -> None:
    names = runpy.run_path(str(ROOT / "docs" / "reference" / "generate.py"))

    assert (ROOT / "docs" / "reference" / "settings.md").read_text() == names["settings_page"](), "run make reference"


def test_every_variable_is_documented() -> None:
    env = Recorder()

    KafkaSettings.from_env(env)

    outside = {"AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"}
    assert env.asked - outside == {variable.name for variable in variables()}
