"""A real Kafka with listeners that speak TLS, each with a certificate of its own."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.broker.jars_broker import jars_kafka

from eventzr_kafka.testing._kafka_backend import free_ports
from eventzr_kafka.testing.kafka_server import KafkaServer, KafkaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

STORE_SECRET: Final = "changeit"  # noqa: S105 -- of files that live as long as a test
_HERE: Final = "SAN=ip:127.0.0.1"
_LISTENERS: Final = ("good", "expired", "early", "elsewhere", "mutual")


@dataclass(frozen=True)
class TlsBroker:
    """The running broker: its listeners, and the files of the clients.

    Attributes:
        good: A valid certificate for 127.0.0.1.
        expired: A certificate for 127.0.0.1 that has expired.
        early: A certificate for 127.0.0.1 that is not yet valid.
        elsewhere: A valid certificate for another host.
        mutual: A valid certificate for 127.0.0.1; clients must have the one in `client`.
        plain: Does not speak TLS.
        folder: Holds ``NAME.pem`` for each listener but `plain`, the certificate that its clients must trust.
        client: A PKCS12 file with the client's key, for `STORE_SECRET`.
    """

    server: KafkaServer
    good: str
    expired: str
    early: str
    elsewhere: str
    mutual: str
    plain: str
    folder: Path
    client: Path

    def authority(self, name: str) -> str:
        """The PEM file for KAFKA_CA_FILE."""
        return str(self.folder / f"{name}.pem")


@contextmanager
def tls_broker(folder: Path) -> Generator[TlsBroker]:
    """Run the broker.

    Args:
        folder: Takes keys and certificates.

    Raises:
        KafkaUnavailableError: There is no JDK that is new enough, or no jars.
    """
    if shutil.which("keytool") is None:
        raise KafkaUnavailableError("no JDK with keytool, which makes the certificates")
    _make_certificates(folder)
    ports = free_ports(len(_LISTENERS))
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(_LISTENERS, ports, strict=True)}
    backend = jars_kafka(
        properties=_properties(folder),
        listeners=[f"{name.upper()}://{address}" for name, address in addresses.items()],
    )
    with KafkaServer(backend) as server:
        yield TlsBroker(
            server=server, **addresses, plain=server.bootstrap_servers, folder=folder, client=folder / "client.p12"
        )


def _properties(folder: Path) -> dict[str, str]:
    protocols = ",".join(f"{name.upper()}:SSL" for name in _LISTENERS)
    found = {"listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}"}
    for name in _LISTENERS:
        prefix = f"listener.name.{name}.ssl"
        found[f"{prefix}.keystore.type"] = "PKCS12"
        found[f"{prefix}.keystore.location"] = str(folder / f"{name}.p12")
        found[f"{prefix}.keystore.password"] = STORE_SECRET
    found["listener.name.mutual.ssl.client.auth"] = "required"
    found["listener.name.mutual.ssl.truststore.type"] = "PEM"
    found["listener.name.mutual.ssl.truststore.location"] = str(folder / "client.pem")
    return found


def _make_certificates(folder: Path) -> None:
    """Make them at once: each call of keytool starts a JVM."""
    subjects: dict[str, list[str]] = {
        "good": ["-ext", _HERE],
        "expired": ["-ext", _HERE, "-startdate", "-10d", "-validity", "5"],
        "early": ["-ext", _HERE, "-startdate", "+10d"],
        "elsewhere": ["-ext", "SAN=dns:kafka.elsewhere.example"],
        "mutual": ["-ext", _HERE],
        "client": [],
    }
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_make_certificate, folder), subjects, subjects.values()))


def _make_certificate(folder: Path, name: str, options: list[str]) -> None:
    store = ["-keystore", str(folder / f"{name}.p12"), "-storetype", "PKCS12", "-storepass", STORE_SECRET]
    pair = ["-genkeypair", "-alias", name, "-keyalg", "EC", "-groupname", "secp256r1", "-dname", f"CN={name}"]
    _keytool(*pair, *options, *store)
    _keytool("-exportcert", "-alias", name, "-rfc", "-file", str(folder / f"{name}.pem"), *store)


def _keytool(*arguments: str) -> None:
    done = subprocess.run(["keytool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
