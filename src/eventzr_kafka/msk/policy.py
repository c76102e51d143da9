"""The least that a service needs to be allowed on an MSK cluster, as an IAM policy or as JSON for Terraform.

1. On the cluster: every service may connect; a service that publishes may also write idempotently.
2. A consumer may describe and read its topics, and describe and alter its groups.
3. A publisher may describe and write its topics. A consumer publishes to the dead-letter topic of its group.
4. The policy holds no wildcard, and allows neither creating nor deleting anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.errors import SettingsError
from eventzr_kafka.safe_text import printable

__all__ = ["ClusterArn", "Policy", "Statement", "service_policy"]

_CLUSTER_ARN = re.compile(
    r"(?P<account>arn:aws[a-z-]*:kafka:[a-z0-9-]+:\d{12}):cluster/(?P<cluster>[A-Za-z0-9-]+/[A-Za-z0-9-]+)"
)
_EXAMPLE = "arn:aws:kafka:us-east-1:123456789012:cluster/orders/1a2b3c4d-0000-1111-2222-333344445555-s1"


@dataclass(frozen=True, slots=True)
class ClusterArn:
    """The ARN of a cluster, from which the ARNs of its topics and groups follow."""

    account: str
    cluster: str

    @classmethod
    def parse(cls, text: str) -> ClusterArn:
        """Parse the text of an ARN.

        Raises:
            SettingsError: It is not the ARN of a cluster.
        """
        match = _CLUSTER_ARN.fullmatch(text.strip())
        if match is None:
            raise SettingsError("--cluster-arn", f"{printable(text, limit=200)!r} is not an ARN such as {_EXAMPLE}")
        return cls(match["account"], match["cluster"])

    def __str__(self) -> str:
        return f"{self.account}:cluster/{self.cluster}"

    def topic(self, name: str) -> str:
        """The ARN of a topic."""
        return f"{self.account}:topic/{self.cluster}/{name}"

    def group(self, name: str) -> str:
        """The ARN of a consumer group."""
        return f"{self.account}:group/{self.cluster}/{name}"


@dataclass(frozen=True, slots=True)
class Statement:
    """Actions, without their prefix ``kafka-cluster:``, on resources."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]

    @property
    def full_actions(self) -> list[str]:
        """The actions with their prefix."""
        return [f"kafka-cluster:{action}" for action in self.actions]


@dataclass(frozen=True, slots=True)
class Policy:
    """Statements that allow."""

    statements: tuple[Statement, ...]

    def to_json(self) -> str:
        """An IAM policy document."""
        statements = [
            {"Sid": one.sid, "Effect": "Allow", "Action": one.full_actions, "Resource": list(one.resources)}
            for one in self.statements
        ]
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)

    def to_terraform(self, name: str = "eventzr_kafka") -> str:
        """A data source ``aws_iam_policy_document`` in Terraform's JSON syntax, for a file ``*.tf.json``."""
        statements = [
            {"sid": one.sid, "effect": "Allow", "actions": one.full_actions, "resources": list(one.resources)}
            for one in self.statements
        ]
        return json.dumps({"data": {"aws_iam_policy_document": {name: {"statement": statements}}}}, indent=2)


def service_policy(
    cluster: ClusterArn, *, consumed: Iterable[str], groups: Iterable[str], published: Iterable[str]
) -> Policy:
    """The policy of a service that consumes and publishes these topics, and nothing else."""
    names = sorted(set(groups))
    writes = sorted({*published, *map(dead_letter_topic, names)})
    reads = sorted(set(consumed))
    on_cluster = ("Connect", "WriteDataIdempotently") if writes else ("Connect",)
    statements = [
        Statement("Connect", on_cluster, (str(cluster),)),
        Statement("Consume", ("DescribeTopic", "ReadData"), tuple(map(cluster.topic, reads))),
        Statement("Groups", ("AlterGroup", "DescribeGroup"), tuple(map(cluster.group, names))),
        Statement("Publish", ("DescribeTopic", "WriteData"), tuple(map(cluster.topic, writes))),
    ]
    return Policy(tuple(statement for statement in statements if statement.resources))
