"""IAM policies: golden files, and nothing that was not asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_kafka.cli.app import call
from eventzr_marketplace_events import ListingCreated, OrderCompleted

pytestmark = pytest.mark.usefixtures("command")
GOLDEN = Path(__file__).parent / "golden"
ARN = "arn:aws:kafka:us-east-1:123456789012:cluster/orders/1a2b3c4d-0000-1111-2222-333344445555-s1"
LISTING = "eventzr.marketplace.listing.created.v1"


@kafka_consumer(group_id="orders-svc")
class Orders:
    def __init__(self, database: object) -> None:
        self.database = database

    @on_message(ListingCreated)
    async def on_listing(self, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message(OrderCompleted)
    async def on_order(self, event: CloudEvent[OrderCompleted]) -> None: ...


BOTH = [f"{__name__}:Orders", "--publishes", LISTING, "--publishes", "eventzr.marketplace.quote.accepted.v1"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (BOTH, "service.json"),
        ([*BOTH, "--terraform"], "service.tf.json"),
        ([f"{__name__}:Orders"], "consumer.json"),
        (["--publishes", "eventzr_marketplace_events:ListingCreated"], "producer.json"),
    ],
)
def test_policy_is_the_golden_one(arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["iam-policy", *arguments, "--cluster-arn", ARN]) == 0

    assert capsys.readouterr().out == (GOLDEN / name).read_text()


def test_source_may_publish_only_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["iam-policy", "--source", "marketplace-svc", "--cluster-arn", ARN]) == 0

    connect, publish = json.loads(capsys.readouterr().out)["Statement"]
    assert connect["Action"] == ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"]
    assert publish["Action"] == ["kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"]
    assert all("*" not in resource for resource in publish["Resource"])
    assert f"{ARN.replace(':cluster/', ':topic/')}/{LISTING}" in publish["Resource"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([f"{__name__}:Orders", "--cluster-arn", "orders"], "is not an ARN such as"),
        (["--cluster-arn", ARN], "nothing to allow"),
        (["--source", "nobody", "--cluster-arn", ARN], "known sources: "),
        (["--publishes", LISTING.replace("created", "creatd"), "--cluster-arn", ARN], "did you mean"),
        (["eventzr_marketplace_events:ListingCreated", "--cluster-arn", ARN], "name published events with"),
    ],
)
def test_impossible_policy_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["iam-policy", *arguments]) == 2

    assert said in capsys.readouterr().err


@kafka_consumer(group_id="parking-svc", after_dead_letter="park_key")
class Parking:
    @on_message(ListingCreated)
    async def on_listing(self, event: CloudEvent[ListingCreated]) -> None: ...


def test_parking_consumer_reads_letters(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["iam-policy", f"{__name__}:Parking", "--cluster-arn", ARN]) == 0
    consume = next(one for one in json.loads(capsys.readouterr().out)["Statement"] if one["Sid"] == "Consume")
    assert any(resource.endswith("/parking-svc.dlq") for resource in consume["Resource"])
