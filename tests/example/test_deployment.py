"""The manifests parse, what they name is what the code knows, and the image can reach MSK."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from examples.marketplace_service import settings as service_settings
from examples.marketplace_service.events.consumer import GROUP
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.server import GRACE
from examples.marketplace_service.wiring import CONSUMERS
from tests.packaging.fresh import ROOT, Environment, run
from tests.waiting import until

from eventzr_kafka.handlers.decorators import definition_of
from eventzr_marketplace_events import topics

README = Path(__file__).parents[2] / "README.md"
DEPLOY = Path(service_settings.__file__).with_name("deploy")
KUBERNETES: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [document for document in KUBERNETES if document["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = of_kind("Deployment")["spec"]["template"]["spec"]
    return spec


def known_variables() -> str:
    """The tables of the service's settings and, in the README, of the SDK's."""
    return f"{service_settings.__doc__}{README.read_text()}"


def test_every_object_finds_deployment() -> None:
    name, labels = (
        of_kind("Deployment")["metadata"]["name"],
        of_kind("Deployment")["spec"]["template"]["metadata"]["labels"],
    )

    assert of_kind("ScaledObject")["spec"]["scaleTargetRef"]["name"] == name
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("ConfigMap")["metadata"]["name"] == pod()["containers"][0]["envFrom"][0]["configMapRef"]["name"]


def test_keda_scales_on_the_groups_lag() -> None:
    scaled = of_kind("ScaledObject")["spec"]
    (trigger,) = scaled["triggers"]

    assert (trigger["type"], trigger["metadata"]["consumerGroup"]) == ("kafka", GROUP)
    assert trigger["metadata"]["bootstrapServers"] == of_kind("ConfigMap")["data"]["KAFKA_BROKERS"]
    assert of_kind("PodDisruptionBudget")["spec"]["minAvailable"] < scaled["minReplicaCount"]


async def test_probes_are_endpoints(client: httpx.AsyncClient) -> None:
    container = pod()["containers"][0]
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert {(await client.get(path)).status_code for path in paths} == {200}


def test_pod_has_time_it_takes_to_drain() -> None:
    pause = int(pod()["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = max(definition_of(make()).options.drain_timeout for make in CONSUMERS)
    leave = 10  # seconds after which the SDK gives up on leaving a group

    assert pod()["terminationGracePeriodSeconds"] > pause + GRACE + drain + leave


def test_containers_pass_restricted_pod_security() -> None:
    for container in (*pod()["initContainers"], *pod()["containers"]):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert (pod()["securityContext"]["runAsNonRoot"], pod()["securityContext"]["seccompProfile"]["type"]) == (
        True,
        "RuntimeDefault",
    )


def test_every_variable_is_read() -> None:
    named = set(of_kind("ConfigMap")["data"]) | {variable["name"] for variable in pod()["containers"][0]["env"]}
    named |= set(COMPOSE["services"]["marketplace"]["environment"])

    assert [name for name in named if name not in known_variables()] == []


def test_compose_creates_the_services_topics() -> None:
    created = COMPOSE["services"]["topics"]["environment"]["TOPICS"].split()

    assert sorted(created) == sorted((*topics.PRODUCED, *topics.CONSUMED, DEAD_LETTERS, f"{DEAD_LETTERS_GROUP}.dlq"))


def test_compose_builds_in_an_order_that_ends() -> None:
    services = COMPOSE["services"]
    build = services["marketplace"]["build"]
    context = (DEPLOY / build["context"]).resolve()

    assert (context / build["dockerfile"]).is_file()
    assert (context / "pyproject.toml").is_file()
    assert "-h" in services["postgres"]["healthcheck"]["test"]  # its socket answers before the database is there
    assert {needed for service in services.values() for needed in service.get("depends_on", {})} <= services.keys()


# The probe of docker compose, and the image


def probe_of_compose(port: int) -> list[str]:
    """The command of the health check, run by this Python on a port of the test."""
    kind, python, *rest = COMPOSE["services"]["marketplace"]["healthcheck"]["test"]
    assert (kind, python) == ("CMD", "python")
    return [sys.executable, *(word.replace(":8000", f":{port}") for word in rest)]


async def exit_code(command: list[str]) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def test_compose_probes_the_service(client: httpx.AsyncClient) -> None:
    (url,) = re.findall(r"'(http:[^']+)'", COMPOSE["services"]["marketplace"]["healthcheck"]["test"][-1])
    container = pod()["containers"][0]

    assert (httpx.URL(url).port, httpx.URL(url).path) == (
        service_settings.Settings().port,
        container["readinessProbe"]["httpGet"]["path"],
    )
    assert (await client.get(httpx.URL(url).path)).status_code == 200


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_compose_probe_fails_with_the_service(status: int, code: int, unused_tcp_port: int) -> None:
    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    server = uvicorn.Server(uvicorn.Config(answer, port=unused_tcp_port, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    assert await exit_code(probe_of_compose(unused_tcp_port)) == code
    server.should_exit = True
    await serving
    assert await exit_code(probe_of_compose(unused_tcp_port)) == 1  # nothing listens


SIGNS = """
import examples.marketplace_service.wiring
from eventzr_kafka import KafkaSettings
from eventzr_kafka.msk.token import iam_token_provider
token = iam_token_provider(KafkaSettings.from_env()).token()
print(token.identity, examples.__path__[0])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_image_signs_in_to_the_guides_broker(tmp_path: Path) -> None:
    """What the Dockerfile copies and installs, in an environment of its own."""
    folder = tmp_path / "app"
    folder.mkdir()
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for *sources, target in map(str.split, re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE)):
        for source in sources:
            copy_into(ROOT / source, folder / target / (source if target == "./" else ""))
    (line,) = re.findall(r"^RUN pip install (.+?) &&", dockerfile, re.MULTILINE)
    environment = Environment(tmp_path / "venv")
    environment.create(sys.executable)
    wanted = [word for word in shlex.split(line) if not word.startswith("-")]
    environment.install(*(re.sub(r"^\.(?=[/\[])", str(folder), word) for word in wanted))

    aws = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "no secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    broker = "boot-gpm4u49z.c2.kafka-serverless.us-east-1.amazonaws.com:9098"
    variables = {**environment.variables, **aws, "KAFKA_BROKERS": broker}
    printed = run(environment.python, "-c", SIGNS, cwd=folder, env=variables)
    assert printed.split()[-1] == str(folder / "examples")
    assert "AKIA…MPLE" in printed


def copy_into(source: Path, target: Path) -> None:
    """Do as COPY does, without what git ignores."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "dist", "build"))
    else:
        shutil.copy(source, target)
