"""Settings → configuration of the client: each login exactly, no secret shown, nothing overridden that counts."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Final

import pytest

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent.config import admin_config, consumer_config, producer_config
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

USER, PASSWORD = "jane", "hush-7391"
BROKERS: Final = "127.0.0.1:1"
CONNECTION: Final = {"bootstrap.servers": BROKERS, "client.id": "eventzr-kafka"}
CLIENTS: Final[dict[str, Callable[[KafkaSettings], dict[str, Any]]]] = {
    "producer": producer_config,
    "classic": lambda settings: consumer_config(settings, "group", "classic"),
    "consumer": lambda settings: consumer_config(settings, "group", "consumer"),
    "admin": admin_config,
}
SHARED: Final = ["bootstrap.servers", "client.id", "security.protocol"]
GUARANTEES: Final = {
    "producer": ["acks", "enable.idempotence", "partitioner"],
    "classic": [
        "allow.auto.create.topics",
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "group.id",
        "group.protocol",
        "partition.assignment.strategy",
    ],
    "consumer": ["enable.auto.commit", "enable.auto.offset.store", "group.id", "group.protocol"],
    "admin": [],
}


def settings(**environ: str) -> KafkaSettings:
    return KafkaSettings.from_env({"KAFKA_BROKERS": BROKERS, **environ})


def with_password(auth: str, **environ: str) -> KafkaSettings:
    return settings(KAFKA_AUTH=auth, KAFKA_USERNAME=USER, KAFKA_PASSWORD=PASSWORD, **environ)


def connection(config: dict[str, Any]) -> dict[str, Any]:
    """What says where and how to connect."""
    names = {"bootstrap.servers", "client.id", "security.protocol"}
    return {name: value for name, value in config.items() if name in names or name.startswith(("sasl.", "ssl."))}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("auth", "mechanism"), [("plain", "PLAIN"), ("scram", "SCRAM-SHA-512")])
@pytest.mark.parametrize(("tls", "protocol"), [("", "SASL_SSL"), ("true", "SASL_SSL"), ("false", "SASL_PLAINTEXT")])
def test_password_login_is_same_for_all(client: str, auth: str, mechanism: str, tls: str, protocol: str) -> None:
    assert connection(CLIENTS[client](with_password(auth, KAFKA_TLS=tls))) == {
        **CONNECTION,
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }


@pytest.mark.parametrize(("tls", "protocol"), [("", "PLAINTEXT"), ("true", "SSL")])
def test_no_login_sends_no_password(tls: str, protocol: str) -> None:
    found = settings(KAFKA_AUTH="none", KAFKA_TLS=tls, KAFKA_USERNAME=USER, KAFKA_PASSWORD=PASSWORD)

    assert connection(producer_config(found)) == {**CONNECTION, "security.protocol": protocol}


CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUY4IR4I7tWrmawhBazB5KMv89WYEwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjEyMDEwNjAzMDFaGA8yMTI2MTEwNzA2MDMw
MVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDbD
R4WfdGnFRs6OZXVAK3oE8l+fxrkwHZnJrcMpj+EBuoZuGN7Oru7NPFoOY019gTIO
pfjvIy/8mHSi/83VdMWjUzBRMB0GA1UdDgQWBBRJa/DFPhrQC6D+8pTS8SP2nBZU
KjAfBgNVHSMEGDAWgBRJa/DFPhrQC6D+8pTS8SP2nBZUKjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQCG7AgX7G8PqVstr9WpascCbMcysqLdzIGK
uDM6N1FzcAIgNNw+V70UC7u46FKIHxQvAy++c0R7OVuCUm/KJn2QdYs=
-----END CERTIFICATE-----
"""  # self-signed, valid for a hundred years


def test_authority_reaches_the_client(tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text(CERTIFICATE)

    config = producer_config(with_password("scram", KAFKA_CA_FILE=str(authority)))

    assert config["ssl.ca.location"] == str(authority)


def test_password_keeps_its_spaces() -> None:
    found = settings(KAFKA_AUTH="plain", KAFKA_USERNAME=" jane\n", KAFKA_PASSWORD=" hush ")  # noqa: S106 -- none

    config = producer_config(found)

    assert (config["sasl.username"], config["sasl.password"]) == ("jane", " hush ")


@pytest.mark.parametrize(
    ("client", "name"), [(client, name) for client, names in GUARANTEES.items() for name in [*SHARED, *names]]
)
def test_guarantees_are_fixed(client: str, name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        CLIENTS[client](KafkaSettings(brokers=BROKERS, librdkafka={name: "secret-7391"}))

    assert (
        str(caught.value) == f"KafkaSettings.librdkafka: {name!r} is set by the SDK and cannot be overridden; remove it"
    )


@pytest.mark.parametrize("name", sorted({*SHARED, *(name for names in GUARANTEES.values() for name in names)}))
def test_docstring_lists_refused_names(name: str) -> None:
    assert f"``{name}``" in (KafkaSettings.__doc__ or "")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.username", "sasl.password"])
def test_login_is_set_in_one_place(client: str, name: str) -> None:
    found = KafkaSettings(
        brokers=BROKERS, auth="scram", username=USER, password=PASSWORD, librdkafka={name: "other-7391"}
    )

    with pytest.raises(SettingsError) as caught:
        CLIENTS[client](found)

    shown = "".join(traceback.format_exception(caught.value)) + repr(found) + str(found)
    assert f"{name!r} is set by the SDK" in shown
    assert PASSWORD not in shown
    assert "other-7391" not in shown


def test_client_settings_win() -> None:
    config = producer_config(
        KafkaSettings(brokers=BROKERS, librdkafka={"linger.ms": 7, "socket.keepalive.enable": True})
    )

    assert (config["linger.ms"], config["socket.keepalive.enable"], config["acks"]) == (7, True, "all")


async def test_refusal_comes_before_connecting() -> None:
    refusing = KafkaSettings(brokers=BROKERS, librdkafka={"enable.auto.commit": False, "acks": 1})
    expected = "cannot be overridden; remove it"

    with pytest.raises(SettingsError, match=expected):
        EventProducer(settings=refusing).start()
    with pytest.raises(SettingsError, match=expected):
        async with ConsumerRunner(Listener(), settings=refusing):
            pass
    with pytest.raises(SettingsError, match=expected):
        ConfluentLogReader(refusing, "group")


@kafka_consumer(group_id="config")
class Listener:
    @on_message("config.v1")
    async def handle(self, event: CloudEvent[Any]) -> None: ...
