"""The manifests parse, and what they name is what the code knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import yaml
from examples.marketplace_service import settings as service_settings
from examples.marketplace_service.events.consumer import GROUP
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.server import GRACE
from examples.marketplace_service.wiring import CONSUMERS

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
