"""examples/aws_lambda: the template is valid and says what the code says; the guide's Python runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
import yaml
from tests.unit.lambda_events import Context, lambda_event

from eventzr_kafka import CloudEvent, KafkaSettings, Record, encode
from eventzr_kafka.aws_lambda.container import event_loop
from eventzr_kafka.events.event_data import topic_of
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_marketplace_events import EscrowReleased, OrderCompleted, example

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "aws_lambda"


class Template(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, each read as its argument."""


def _argument(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


Template.add_multi_constructor("!", _argument)  # pyright: ignore[reportUnknownMemberType] -- half typed


RESOURCES: Final = yaml.load((FOLDER / "template.yaml").read_text(), Template)["Resources"]  # noqa: S506 -- it is a SafeLoader
FUNCTION: Final[dict[str, Any]] = RESOURCES["EscrowFunction"]["Properties"]
MAPPING: Final[dict[str, Any]] = RESOURCES["OrderCompletedEvents"]["Properties"]

# The AWS Lambda Developer Guide, "MSK cluster authentication", IAM role-based authentication.
NEEDED_BY_A_MAPPING: Final = {
    "kafka-cluster:Connect",
    "kafka-cluster:DescribeGroup",
    "kafka-cluster:AlterGroup",
    "kafka-cluster:DescribeTopic",
    "kafka-cluster:ReadData",
    "kafka-cluster:DescribeClusterDynamicConfiguration",
}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The function's module as a container loads it, without Kafka."""
    monkeypatch.setenv("KAFKA_ENABLED", "false")
    event_loop.cache_clear()
    module, _, _name = FUNCTION["Handler"].partition(".")
    spec = spec_from_file_location(module, FOLDER / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module, loaded)
    spec.loader.exec_module(loaded)
    yield loaded
    event_loop().close()
    event_loop.cache_clear()


@pytest.fixture
def definition(app: ModuleType) -> ConsumerDefinition:
    return definition_of(app.EscrowHandler(app.producer, app.SELLERS.get))


def test_template_handler_exists(app: ModuleType) -> None:
    assert callable(getattr(app, FUNCTION["Handler"].partition(".")[2]))


def test_template_fits_the_topics_group_and_report(definition: ConsumerDefinition) -> None:
    assert MAPPING["Topics"] == [route.topic for route in definition.routes]
    assert MAPPING["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"] == definition.group_id
    assert MAPPING["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "ProvisionedPollerConfig" in MAPPING


def test_template_policy_allows_code(definition: ConsumerDefinition) -> None:
    given = FUNCTION["Policies"][1]["Statement"]
    statements = {each["Sid"]: each["Resource"] for each in given}
    actions = {action for each in given for action in each["Action"]}
    written = {resource.rpartition("/")[2] for resource in statements["Publish"]}

    assert statements["Group"].endswith(f":group/${{ClusterPath}}/{definition.group_id}")
    assert [statements["Consume"].rpartition("/")[2]] == MAPPING["Topics"]
    assert written == {topic_of(EscrowReleased), f"{definition.group_id}.dlq"}
    assert actions >= NEEDED_BY_A_MAPPING


def test_template_turns_kafka_on() -> None:
    variables = FUNCTION["Environment"]["Variables"]

    assert KafkaSettings.from_env({**variables, "AWS_LAMBDA_FUNCTION_NAME": "f", "KAFKA_BROKERS": "b:9092"}).enabled


def order(number: int) -> Record:
    event = CloudEvent(
        id=f"e{number}",
        source="marketplace-svc",
        type="eventzr.marketplace.order.completed.v1",
        tenantid="t1",
        data=example(OrderCompleted),
    )
    return Record(event.type, 0, number, *encode(event)[1:])


def test_function_handles_the_mapping(app: ModuleType) -> None:
    assert app.handler(lambda_event([order(1), order(2)]), Context()) == {"batchItemFailures": []}


BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/how-to/lambda.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["consume", "publish"])
@pytest.mark.usefixtures("app")
def test_guides_python_runs(block: str) -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(block, "lambda.md", "exec"), names)  # noqa: S102 -- that is the test

    event = {"tenant": "t1"} if "producer" in names else lambda_event([])
    assert names["handler"](event, Context()) in (None, {"batchItemFailures": []})
