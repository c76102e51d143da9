"""`eventzr-kafka doctor`: each fault is found at its step, with cause, hint and exit code, within 15 s."""

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
from tests.broker.msk_broker import REGION, TOPIC, MskBroker

from eventzr_kafka import CloudEvent, EventData, kafka_consumer, on_message
from eventzr_kafka.cli import probes
from eventzr_kafka.cli.app import call
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.usefixtures("command")
HERE = f"{__name__}:Reader"
SEALED = "msk.sealed.v1"


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
        code = call(["doctor", *arguments])
        lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
        return code, {step: f"{mark} {text}" for mark, step, text in lines}

    return doctor


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
def test_silent_broker_is_given_up_in_time(run: Any, silent: str, tls: str) -> None:
    code, steps = run(KAFKA_BROKERS=silent, KAFKA_TLS=tls)

    assert code == 1
    assert failed(steps) == ["TLS" if tls == "true" else "metadata"]


@pytest.mark.parametrize(
    ("variables", "step", "said", "exit_code"),
    [
        ({"KAFKA_BROKERS": "localhost"}, "settings", "KAFKA_BROKERS: 'localhost' is not a host:port", 2),
        ({"KAFKA_BROKERS": "nowhere.invalid:9092"}, "DNS", "check the host names in KAFKA_BROKERS", 1),
        ({"KAFKA_BROKERS": "a..b:9092"}, "DNS", "a..b:9092: is not a host name: a part between two dots is empty", 1),
        ({"KAFKA_BROKERS": "127.0.0.1:1"}, "TCP", "127.0.0.1:1: Connection refused; check that the broker runs", 1),
    ],
)
def test_dead_end_skips_later_checks(run: Any, variables: dict[str, str], step: str, said: str, exit_code: int) -> None:
    code, steps = run(**variables)

    assert (code, failed(steps)) == (exit_code, [step])
    assert said in steps[step]


def test_all_is_well_on_a_plain_broker(run: Any, kafka: KafkaServer) -> None:
    kafka.create_topics([TOPIC, "doctor-readers.dlq"], partitions=1)

    code, steps = run(HERE, KAFKA_BROKERS=kafka.bootstrap_servers)

    assert (code, failed(steps)) == (0, [])
    assert steps["topics"] == "✓ 2 topics exist and are permitted"
    assert steps["groups"] == "✓ doctor-readers: may join and commit"
    assert steps["sizes"].startswith("✓ batches of 524,288 bytes fit")


class Tight(EventData, topic="doctor.thing.tight.v1", source="doctor"):
    id: str


@kafka_consumer(group_id="doctor-tight")
class RoomyReader:
    @on_message("doctor.thing.roomy.v1")
    async def handle(self, event: CloudEvent[Any]) -> None: ...


def test_conflicting_sizes_are_named(run: Any, kafka: KafkaServer) -> None:
    kafka.create_topic("doctor.thing.tight.v1", configs={"max.message.bytes": "100000"})
    kafka.create_topic("doctor.thing.roomy.v1", configs={"max.message.bytes": "2097152"})
    kafka.create_topic("doctor-tight.dlq", configs={"max.message.bytes": "2097152"})
    arguments = (f"{__name__}:RoomyReader", "--publishes", f"{__name__}:Tight")

    code, steps = run(*arguments, KAFKA_BROKERS=kafka.bootstrap_servers)

    assert (code, failed(steps)) == (1, ["sizes"])
    assert "doctor.thing.tight.v1 takes 100,000 bytes at a time" in steps["sizes"]
    assert "set KAFKA_BATCH_BYTES to less" in steps["sizes"]

    code, steps = run(*arguments, KAFKA_BROKERS=kafka.bootstrap_servers, KAFKA_BATCH_BYTES="90000")

    assert (code, failed(steps)) == (0, [])
    assert "the consumer of doctor-tight refuses values above 1,048,576" in steps["sizes"]


def test_missing_topic_is_named(run: Any, kafka: KafkaServer) -> None:
    code, steps = run("--publishes", f"{__name__}:Absent", KAFKA_BROKERS=kafka.bootstrap_servers)

    assert (code, failed(steps)) == (1, ["topics"])
    assert "doctor.thing.absent.v1: does not exist; eventzr-kafka topics plan" in steps["topics"]


def test_tls_to_plain_port_is_found(run: Any, kafka: KafkaServer) -> None:
    code, steps = run(KAFKA_BROKERS=kafka.bootstrap_servers, KAFKA_TLS="true")

    assert (code, failed(steps)) == (1, ["TLS"])
    assert "the broker does not speak TLS on this port; set KAFKA_TLS=false" in steps["TLS"]


def test_plain_client_towards_tls_is_found(run: Any, msk: MskBroker) -> None:
    code, steps = run(KAFKA_BROKERS=msk.settings.brokers)

    assert (code, failed(steps)) == (2, ["TLS"])
    assert "the broker speaks TLS; set KAFKA_TLS=true" in steps["TLS"]


def test_unknown_authority_is_found(run: Any, msk: MskBroker) -> None:
    code, steps = run(**{**msk.variables, "KAFKA_CA_FILE": ""})

    assert (code, failed(steps)) == (1, ["TLS"])
    assert "no authority that this machine trusts has signed the broker's certificate" in steps["TLS"]


def test_wrong_server_name_is_found(run: Any, msk: MskBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    real, port = socket.getaddrinfo, int(msk.settings.brokers.rpartition(":")[2])

    def lead_there(_host: str, port: int, *family: int, **hints: int) -> Any:
        return real("127.0.0.1", port, *family, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", lead_there)
    code, steps = run(**{**msk.variables, "KAFKA_BROKERS": f"elsewhere.example:{port}"})

    assert (code, failed(steps)) == (1, ["TLS"])
    assert "Hostname mismatch" in steps["TLS"]
    assert "name the broker in KAFKA_BROKERS as its certificate does" in steps["TLS"]


def test_missing_login_is_found(run: Any, msk: MskBroker) -> None:
    code, steps = run(KAFKA_BROKERS=msk.settings.brokers, KAFKA_TLS="true", KAFKA_CA_FILE=msk.settings.ca_file)

    assert (code, failed(steps)) == (1, ["metadata"])
    assert "the broker may want a login, or another one: check KAFKA_AUTH" in steps["metadata"]


def test_msk_with_iam_passes_and_unreadable_topic_is_named(run: Any, msk: MskBroker) -> None:
    msk.server.create_topic("doctor-readers.dlq", partitions=1)
    code, steps = run(HERE, **msk.variables)

    assert (code, failed(steps)) == (0, [])
    assert steps["token"].startswith("✓ AWS's default credentials, access key AKID…0001 (env), until 20")
    assert "TLSv1.3, certificate valid until" in steps["TLS"]

    msk.server.create_topic(SEALED, partitions=1)
    msk.allow("DESCRIBE", topic=SEALED)
    code, steps = run(f"{__name__}:Sealed", **msk.variables)

    assert (code, failed(steps)) == (1, ["topics"])
    assert f"{SEALED}: READ is not permitted" in steps["topics"]


@kafka_consumer(group_id="doctor-readers")
class Sealed:
    @on_message(SEALED)
    async def handle(self, event: CloudEvent[Any]) -> None: ...


def test_forbidden_group_is_named(run: Any, msk: MskBroker) -> None:
    for group in ("doctor-looks-on", "doctor-shut-out"):
        msk.server.create_topic(f"{group}.dlq", partitions=1)
    msk.allow("DESCRIBE", group="doctor-looks-on")
    msk.allow("READ", group="doctor-shut-out", who="somebody")

    code, steps = run(f"{__name__}:LooksOn", f"{__name__}:ShutOut", **msk.variables)

    assert (code, failed(steps)) == (1, ["groups"])
    assert "doctor-looks-on: READ is not permitted" in steps["groups"]
    assert "doctor-shut-out: may not be described by this login; eventzr-kafka iam-policy" in steps["groups"]


@kafka_consumer(group_id="doctor-looks-on")
class LooksOn(Reader): ...


@kafka_consumer(group_id="doctor-shut-out")
class ShutOut(Reader): ...


def test_refused_login_has_identity(run: Any, msk: MskBroker) -> None:
    code, steps = run(**msk.variables, AWS_SECRET_ACCESS_KEY="another")  # noqa: S106 -- none

    assert (code, failed(steps)) == (1, ["metadata"])
    assert "refused: the signature is wrong" in steps["metadata"]
    assert "access key AKID…0001 (env)" in steps["metadata"]


def test_missing_credentials_fail_at_token(run: Any, msk: MskBroker, tmp_path: Any) -> None:
    code, steps = run(**msk.variables, KAFKA_AWS_PROFILE="nobody", AWS_CONFIG_FILE=str(tmp_path / "none"))

    assert (code, failed(steps)) == (1, ["token"])
    assert "check KAFKA_AWS_PROFILE" in steps["token"]


class Tomorrow(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response_only(302)
        self.send_header("Date", self.date_time_string(time.time() + 600))
        self.end_headers()


def test_answer_without_http_leaves_clock_unknown(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_region: str) -> float:
        raise http.client.BadStatusLine("SSH-2.0")

    monkeypatch.setattr(probes, "aws_clock_skew", answer)
    _, steps = run(KAFKA_BROKERS="127.0.0.1:1", KAFKA_AUTH="iam", KAFKA_AWS_REGION=REGION)

    assert steps["clock"] == "- AWS's time cannot be read from here: SSH-2.0"


def test_wrong_clock_is_found_despite_failed_login(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
