"""`eventzr-kafka iam-policy`: the least that a service needs to be allowed on MSK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cyclopts import Parameter

from eventzr_kafka.cli.command import DEFAULT_OUTPUT, Output, run_command
from eventzr_kafka.cli.targets import read_targets, require_declared, topics_of_source
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.msk.policy import ClusterArn, Policy, service_policy

__all__ = ["Publishing", "iam_policy", "published_topics"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Publishing:
    """The events that a service publishes."""

    source: tuple[str, ...] = ()
    """The service publishes every event that is declared with this source; can be repeated."""
    publishes: tuple[str, ...] = ()
    """The service publishes this topic, or this event as module:Class; can be repeated."""


_NOTHING = Publishing()


def iam_policy(
    *targets: str,
    cluster_arn: str,
    publishing: Publishing = _NOTHING,
    terraform: bool = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Print the IAM policy that a service needs on Amazon MSK.

    It allows exactly what the service consumes and publishes.

    Args:
        targets: Consumers of the service as module:Class.
        cluster_arn: ARN of the cluster.
        terraform: Print a data source in Terraform's JSON syntax; write it to a file that ends in .tf.json.
    """

    def act(_terminal: object) -> None:
        policy = _policy(ClusterArn.parse(cluster_arn), targets, publishing)
        print(policy.to_terraform() if terraform else policy.to_json())

    return run_command(output, act)


def _policy(cluster: ClusterArn, targets: Sequence[str], publishing: Publishing) -> Policy:
    found = read_targets(targets)
    if found.events:
        raise UsageError(f"{found.events[0]} is an event, not a consumer: name published events with --publishes")
    topics = published_topics(publishing)
    if not found.consumers and not topics:
        raise UsageError("nothing to allow: name consumers as module:Class, or published events with --source")
    consumed = [*found.consumed, *found.read_dead_letters]
    return service_policy(cluster, consumed=consumed, groups=found.groups, published=topics)


def published_topics(publishing: Publishing) -> list[str]:
    """Topics that a service publishes.

    Raises:
        UsageError: A topic is not declared, or a source has no event.
    """
    by_source = [topic for source in publishing.source for topic in topics_of_source(source)]
    return sorted({*by_source, *(topic for given in publishing.publishes for topic in _topics_named(given))})


def _topics_named(given: str) -> Sequence[str]:
    return read_targets([given]).events if ":" in given else [require_declared(given)]
