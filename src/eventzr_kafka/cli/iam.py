"""`eventzr-kafka iam-policy`: what a service must be allowed on MSK, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from eventzr_kafka.cli.app import Output, outcome
from eventzr_kafka.cli.declared import Declared, declared, published_by, published_topic
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.msk.policy import ClusterArn, Policy, service_policy

__all__ = ["Publishing", "iam_policy", "published"]

_OUTPUT = Output()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Publishing:
    """Which events a service publishes."""

    source: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """It publishes every event that is declared with this source; may be given several times."""
    publishes: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """It publishes this topic, or module:Class of an event; may be given several times."""


_NOTHING = Publishing()


def iam_policy(
    *targets: str,
    cluster_arn: str,
    publishing: Publishing = _NOTHING,
    terraform: Annotated[bool, Parameter(negative=())] = False,
    output: Output = _OUTPUT,
) -> int:
    """Print the IAM policy for exactly what a service consumes and publishes on MSK.

    Args:
        targets: module:Class of its consumers.
        cluster_arn: ARN of the cluster.
        terraform: Print a data source in Terraform's JSON syntax: write it to a file that ends in .tf.json.
    """

    def act(_screen: object) -> None:
        policy = _policy(ClusterArn.parse(cluster_arn), targets, publishing)
        print(policy.to_terraform() if terraform else policy.to_json())

    return outcome(output, act)


def _policy(cluster: ClusterArn, targets: Sequence[str], publishing: Publishing) -> Policy:
    found = _consumers(targets)
    topics = published(publishing)
    if not found.consumers and not topics:
        raise UsageError("nothing to allow: name consumers as module:Class, or what is published with --source")
    consumed = [*found.consumed, *found.read_dead_letters]
    return service_policy(cluster, consumed=consumed, groups=found.groups, published=topics)


def _consumers(targets: Sequence[str]) -> Declared:
    found = declared(targets)
    if found.events:
        raise UsageError(f"{found.events[0]} is an event, no consumer: give what is published with --publishes")
    return found


def published(publishing: Publishing) -> list[str]:
    """Topics that a service publishes.

    Raises:
        UsageError: One is declared nowhere, or a source has no event.
    """
    by_source = [topic for source in publishing.source for topic in published_by(source)]
    return sorted({*by_source, *(topic for given in publishing.publishes for topic in _topics(given))})


def _topics(given: str) -> Sequence[str]:
    return declared([given]).events if ":" in given else [published_topic(given)]
