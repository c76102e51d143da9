"""A real Kafka with user names and passwords, and with a listener that names itself by an address where nothing is."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import admin as untyped_admin
from tests.broker.jars_broker import jars_kafka

from eventzr_kafka.testing._kafka_backend import free_ports
from eventzr_kafka.testing.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Generator

USER, PASSWORD = "jane", "hush-7391"
_SECURITY: Final = "org.apache.kafka.common.security"
kafka_admin: Any = untyped_admin


@dataclass(frozen=True)
class LoginBroker:
    """The running broker, and the ports of its listeners.

    Attributes:
        login: Takes PLAIN and SCRAM-SHA-512, without TLS.
        older: Takes SCRAM-SHA-256 alone.
        away: Takes anyone, but the broker names itself by the address `nothing` there.
    """

    server: KafkaServer
    login: str
    older: str
    away: str
    nothing: str


@contextmanager
def login_broker() -> Generator[LoginBroker]:
    """Run the broker; it knows one user.

    Raises:
        KafkaUnavailableError: There is no JDK that is new enough, or no jars.
    """
    login, older, away, nothing = (f"127.0.0.1:{port}" for port in free_ports(4))
    here = [f"LOGIN://{login}", f"OLDER://{older}"]
    backend = jars_kafka(
        properties=_properties(),
        listeners=[*here, f"AWAY://{away}"],
        advertised=[*here, f"AWAY://{nothing}"],
    )
    with KafkaServer(backend) as server:
        _make_user(server)
        yield LoginBroker(server, login, older, away, nothing)


def _properties() -> dict[str, str]:
    scram = f"{_SECURITY}.scram.ScramLoginModule required;"
    protocols = "LOGIN:SASL_PLAINTEXT,OLDER:SASL_PLAINTEXT,AWAY:PLAINTEXT"
    return {
        "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.login.plain.sasl.jaas.config": (
            f'{_SECURITY}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
        "listener.name.login.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.older.sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.older.scram-sha-256.sasl.jaas.config": scram,
    }


def _make_user(server: KafkaServer) -> None:
    client = kafka_admin.AdminClient({"bootstrap.servers": server.bootstrap_servers})
    for mechanism in (kafka_admin.ScramMechanism.SCRAM_SHA_256, kafka_admin.ScramMechanism.SCRAM_SHA_512):
        info = kafka_admin.ScramCredentialInfo(mechanism, 4096)
        made = kafka_admin.UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
        for future in client.alter_user_scram_credentials([made]).values():
            future.result(30)
