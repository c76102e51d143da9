"""A real Kafka that logs in as MSK does: SASL_SSL, OAUTHBEARER, and a validator of MSK IAM tokens."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import admin as untyped_admin
from tests.broker.jars_broker import jars_kafka

from eventzr_kafka import KafkaSettings
from eventzr_kafka.testing._kafka_backend import free_ports
from eventzr_kafka.testing._kafka_jars import JarsKafka, resolve_libs
from eventzr_kafka.testing.kafka_server import KafkaServer, KafkaUnavailableError

REGION = "us-east-1"
TOPIC = "msk.thing.happened.v1"
ACCESS_KEY, SECRET_KEY = "AKIDMSKTEST00001", "a-secret-for-tests-alone"
SESSION_SECONDS = 2  # before a connection has to authenticate again; the broker refuses less than 1 s
kafka_admin: Any = untyped_admin
_VALIDATOR = Path(__file__).parent / "msk" / "MskTokenValidator.java"
_PASSWORD = "changeit"  # noqa: S105 -- of a key store that lives for one test session


@dataclass(frozen=True)
class MskBroker:
    """The running broker and how to reach it.

    Attributes:
        settings: Region and authority included; the credentials come from the environment.
    """

    server: KafkaServer
    settings: KafkaSettings
    backend: JarsKafka

    @property
    def variables(self) -> dict[str, str]:
        """The environment that leads to it."""
        authority = self.settings.ca_file or ""
        brokers = {"KAFKA_BROKERS": self.settings.brokers, "KAFKA_CA_FILE": authority}
        return {**brokers, "KAFKA_AUTH": "iam", "KAFKA_AWS_REGION": REGION}

    def allow(
        self, operation: str, *, topic: str | None = None, group: str | None = None, who: str = ACCESS_KEY
    ) -> None:
        """Let a login do one thing with a topic or a group, and nobody anything else."""
        kind = kafka_admin.ResourceType.TOPIC if topic else kafka_admin.ResourceType.GROUP
        literal, allow = kafka_admin.ResourcePatternType.LITERAL, kafka_admin.AclPermissionType.ALLOW
        what = kafka_admin.AclOperation[operation]
        binding = kafka_admin.AclBinding(kind, topic or group, literal, f"User:{who}", "*", what, allow)
        client = kafka_admin.AdminClient({"bootstrap.servers": self.server.bootstrap_servers})
        for future in client.create_acls([binding]).values():
            future.result(10)

    def reauthentications(self) -> int:
        """How often a connection has authenticated again."""
        return self.backend.log().count(b"Beginning re-authentication")


@contextmanager
def msk_broker(folder: Path) -> Generator[MskBroker]:
    """Compile the validator, make a certificate, run the broker.

    Args:
        folder: For what is made.

    Raises:
        KafkaUnavailableError: There is no JDK, or not all of it.
    """
    if shutil.which("javac") is None or shutil.which("keytool") is None:
        raise KafkaUnavailableError("no JDK with javac and keytool, which MSK logins are tested with")
    (port,) = free_ports(1)
    backend = jars_kafka(
        properties=_properties(_key_store(folder)),
        listeners=[f"SASL_SSL://127.0.0.1:{port}"],
        classpath=[_classes(folder)],
    )
    settings = KafkaSettings(
        brokers=f"127.0.0.1:{port}", auth="iam", aws_region=REGION, ca_file=str(folder / "authority.pem")
    )
    with KafkaServer(backend) as server:
        server.create_topic(TOPIC, partitions=3)
        yield MskBroker(server, settings, backend)


def _properties(key_store: Path) -> dict[str, str]:
    listener = "listener.name.sasl_ssl"
    module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
    return {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{listener}.oauthbearer.sasl.jaas.config": module,
        f"{listener}.oauthbearer.sasl.server.callback.handler.class": "MskTokenValidator",
        f"{listener}.oauthbearer.connections.max.reauth.ms": str(SESSION_SECONDS * 1000),
        f"{listener}.ssl.keystore.type": "PKCS12",
        f"{listener}.ssl.keystore.location": str(key_store),
        f"{listener}.ssl.keystore.password": _PASSWORD,
        "msk.test.region": REGION,
        "msk.test.access.key": ACCESS_KEY,
        "msk.test.secret.key": SECRET_KEY,
    }


def _key_store(folder: Path) -> Path:
    """Make a self-signed certificate; its public half is authority.pem."""
    store, names = folder / "keys.p12", "SAN=ip:127.0.0.1,dns:localhost"
    given = ["-keystore", str(store), "-storepass", _PASSWORD, "-alias", "broker"]
    pair = ["-genkeypair", *given, "-keyalg", "EC", "-dname", "CN=localhost", "-ext", names, "-validity", "2"]
    _run("keytool", *pair, "-storetype", "PKCS12")
    _run("keytool", "-exportcert", *given, "-rfc", "-file", str(folder / "authority.pem"))
    return store


def _classes(folder: Path) -> Path:
    classes = folder / "classes"
    classes.mkdir()
    _run("javac", "-cp", str(resolve_libs() / "*"), "-d", str(classes), str(_VALIDATOR))
    logger = "org.apache.kafka.common.security.authenticator.SaslServerAuthenticator"
    (classes / "simplelogger.properties").write_text(f"org.slf4j.simpleLogger.log.{logger}=debug\n")
    return classes


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=240)
