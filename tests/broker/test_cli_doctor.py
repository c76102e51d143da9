"""`eventzr-kafka doctor`: each fault is found at its step, with cause, mend and exit code, within 15 s."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from confluent_kafka import admin as untyped_admin
from tests.broker.msk_broker import ACCESS_KEY, REGION, TOPIC, MskBroker

from eventzr_kafka import CloudEvent, EventData, kafka_consumer, on_message
from eventzr_kafka.cli.app import call
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.usefixtures("command")
HERE = f"{__name__}:Reader"
SEALED = "msk.sealed.v1"
kafka_admin: Any = untyped_admin


class Absent(EventData, topic="doctor.thing.absent.v1", source="doctor"):
    id: str


@kafka_consumer(group_id="doctor-readers")
class Reader:
    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the doctor with these variables; gives the exit code, and mark and text of each step."""

    def doctor(*arguments: str, **variables: str) -> tuple[int, dict[str, str]]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        begin = time.monotonic()
        code = call(["doctor", *arguments])
        assert time.monotonic() - begin < 15
        lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
        return code, {step: f"{mark} {text}" for mark, step, text in lines}

    return doctor


def iam(msk: MskBroker) -> dict[str, str]:
    """The variables that lead to the broker."""
    return {
        "KAFKA_BROKERS": msk.settings.brokers,
        "KAFKA_AUTH": "iam",
        "KAFKA_AWS_REGION": REGION,
        "KAFKA_CA_FILE": msk.settings.ca_file or "",
    }


def failed(steps: dict[str, str]) -> list[str]:
    return [step for step, text in steps.items() if text.startswith("✗")]


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("tls", ["true", "false"])
def test_a_broker_that_never_answers_is_given_up_in_time(run: Any, silent: str, tls: str) -> None:
    code, steps = run(KAFKA_BROKERS=silent, KAFKA_TLS=tls)

    assert code == 1
    assert failed(steps) == ["TLS" if tls == "true" else "metadata"]


@pytest.mark.parametrize(
    ("variables", "step", "said", "exit_code"),
    [
        ({"KAFKA_BROKERS": "localhost"}, "settings", "KAFKA_BROKERS: 'localhost' is no host:port", 2),
        ({"KAFKA_BROKERS": "nowhere.invalid:9092"}, "DNS", "check the host names in KAFKA_BROKERS", 1),
        ({"KAFKA_BROKERS": "127.0.0.1:1"}, "TCP", "127.0.0.1:1: Connection refused; is the broker running", 1),
    ],
)
def test_a_dead_end_is_named_and_what_follows_is_not_tried(
    run: Any, variables: dict[str, str], step: str, said: str, exit_code: int
) -> None:
    code, steps = run(**variables)

    assert (code, failed(steps)) == (exit_code, [step])
    assert said in steps[step]


def test_all_is_well_on_a_plain_broker(run: Any, kafka: KafkaServer) -> None:
    kafka.create_topics([TOPIC, "doctor-readers.dlq"], partitions=1)

    code, steps = run(HERE, KAFKA_BROKERS=kafka.bootstrap_servers)

    assert (code, failed(steps)) == (0, [])
    assert steps["topics"] == "✓ 2 topics are there and permitted"


def test_a_missing_topic_is_named(run: Any, kafka: KafkaServer) -> None:
    code, steps = run("--publishes", f"{__name__}:Absent", KAFKA_BROKERS=kafka.bootstrap_servers)

    assert (code, failed(steps)) == (1, ["topics"])
    assert "doctor.thing.absent.v1: does not exist; eventzr-kafka topics plan" in steps["topics"]


def test_tls_towards_a_plain_port_is_found(run: Any, kafka: KafkaServer) -> None:
    code, steps = run(KAFKA_BROKERS=kafka.bootstrap_servers, KAFKA_TLS="true")

    assert (code, failed(steps)) == (1, ["TLS"])
    assert "set KAFKA_TLS=false or take another port" in steps["TLS"]


def test_a_plain_client_towards_tls_is_found(run: Any, msk: MskBroker) -> None:
    code, steps = run(KAFKA_BROKERS=msk.settings.brokers)

    assert (code, failed(steps)) == (2, ["TLS"])
    assert "the broker speaks TLS; set KAFKA_TLS=true" in steps["TLS"]


def test_an_unknown_authority_is_found(run: Any, msk: MskBroker) -> None:
    code, steps = run(**{**iam(msk), "KAFKA_CA_FILE": ""})

    assert (code, failed(steps)) == (1, ["TLS"])
    assert "CERTIFICATE_VERIFY_FAILED: self-signed certificate; set KAFKA_CA_FILE" in steps["TLS"]


def test_a_name_that_is_not_in_the_certificate_is_found(
    run: Any, msk: MskBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, port = socket.getaddrinfo, int(msk.settings.brokers.rpartition(":")[2])

    def lead_there(_host: str, port: int, *family: int, **hints: int) -> Any:
        return real("127.0.0.1", port, *family, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", lead_there)
    code, steps = run(**{**iam(msk), "KAFKA_BROKERS": f"elsewhere.example:{port}"})

    assert (code, failed(steps)) == (1, ["TLS"])
    assert "Hostname mismatch" in steps["TLS"]
    assert "name the broker in KAFKA_BROKERS as its certificate does" in steps["TLS"]


def test_no_login_towards_a_broker_that_wants_one_is_found(run: Any, msk: MskBroker) -> None:
    code, steps = run(KAFKA_BROKERS=msk.settings.brokers, KAFKA_TLS="true", KAFKA_CA_FILE=msk.settings.ca_file)

    assert (code, failed(steps)) == (1, ["metadata"])
    assert "does the broker want a login, or another one? check KAFKA_AUTH" in steps["metadata"]


def test_msk_with_iam_is_well_and_a_topic_that_may_not_be_read_is_named(run: Any, msk: MskBroker) -> None:
    msk.server.create_topic("doctor-readers.dlq", partitions=1)
    code, steps = run(HERE, **iam(msk))

    assert (code, failed(steps)) == (0, [])
    assert steps["token"].startswith("✓ AWS's default credentials, access key AKID…0001 (env), until 20")
    assert "TLSv1.3, certificate valid until" in steps["TLS"]

    seal(msk)
    code, steps = run(f"{__name__}:Sealed", **iam(msk))

    assert (code, failed(steps)) == (1, ["topics"])
    assert f"{SEALED}: READ is not permitted" in steps["topics"]


@kafka_consumer(group_id="doctor-readers")
class Sealed:
    @on_message(SEALED)
    async def handle(self, event: CloudEvent[Any]) -> None: ...


def seal(msk: MskBroker) -> None:
    """Let the login describe the topic, and nothing else."""
    msk.server.create_topic(SEALED, partitions=1)
    client = kafka_admin.AdminClient({"bootstrap.servers": msk.server.bootstrap_servers})
    binding = kafka_admin.AclBinding(
        kafka_admin.ResourceType.TOPIC,
        SEALED,
        kafka_admin.ResourcePatternType.LITERAL,
        f"User:{ACCESS_KEY}",
        "*",
        kafka_admin.AclOperation.DESCRIBE,
        kafka_admin.AclPermissionType.ALLOW,
    )
    for future in client.create_acls([binding]).values():
        future.result(10)


def test_a_refused_login_is_named_with_its_identity(run: Any, msk: MskBroker) -> None:
    code, steps = run(**iam(msk), AWS_SECRET_ACCESS_KEY="another")  # noqa: S106 -- none

    assert (code, failed(steps)) == (1, ["metadata"])
    assert "refused: the signature is wrong" in steps["metadata"]
    assert "access key AKID…0001 (env)" in steps["metadata"]


def test_no_credentials_are_found_at_the_token(run: Any, msk: MskBroker, tmp_path: Any) -> None:
    code, steps = run(**iam(msk), KAFKA_AWS_PROFILE="nobody", AWS_CONFIG_FILE=str(tmp_path / "none"))

    assert (code, failed(steps)) == (1, ["token"])
    assert "check KAFKA_AWS_PROFILE" in steps["token"]


class Tomorrow(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response_only(302)
        self.send_header("Date", self.date_time_string(time.time() + 600))
        self.end_headers()


def test_a_wrong_clock_is_found_even_where_the_login_fails(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), Tomorrow)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def local(_host: str, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=timeout)

    monkeypatch.setattr(http.client, "HTTPSConnection", local)
    code, steps = run(KAFKA_BROKERS="127.0.0.1:1", KAFKA_AUTH="iam", KAFKA_AWS_REGION=REGION)
    server.shutdown()
    server.server_close()

    assert (code, failed(steps)) == (1, ["TCP", "clock"])
    assert re.match(r"✗ (599|600) s behind AWS; set the clock by NTP", steps["clock"])
