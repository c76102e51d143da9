"""README.md and docs tell the truth: their Python runs, their commands and links exist, their messages are real."""

from __future__ import annotations

import asyncio
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from tests.waiting import until

from eventzr_kafka import ConsumerRunner, EventProducer, KafkaSettings, Record, embedded_broker
from eventzr_kafka.cli.app import app
from eventzr_kafka.cli.dlq_replay import ReplayReport
from eventzr_kafka.cli.topic_file import TopicFile
from eventzr_kafka.dead_letters.order import LetterChoice
from eventzr_kafka.errors import EventStoppedError, RoutingError
from eventzr_kafka.settings import variables
from eventzr_marketplace_events import ListingCreated, OrderCompleted, example

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [*ROOT_PAGES, *ROOT.glob("docs/**/*.md")]}


TRUST = (ROOT / "docs" / "how-to" / "trust.md").read_text()
EVENTS = (ROOT / "docs" / "how-to" / "cloud-event.md").read_text()
MSK = (ROOT / "docs" / "how-to" / "msk.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


PYTHON = blocks("python")
INLINE = [command for page in PAGES.values() for command in re.findall(r"`((?:make|pip|eventzr-kafka) [^`]+)`", page)]
COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line] + INLINE


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """An embedded broker that has an event of each kind that the README consumes."""
    with embedded_broker() as broker:
        with EventProducer(settings=KafkaSettings(brokers=broker.bootstrap_servers)) as producer:
            producer.enqueue(example(ListingCreated), tenant_id="t0")
            producer.enqueue(example(OrderCompleted), tenant_id="t0")
        yield broker.bootstrap_servers


@pytest.fixture(autouse=True)
def environment(brokers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", brokers)
    monkeypatch.delenv("KAFKA_ENABLED", raising=False)


def execute(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 -- that is the test
    return names


def with_text(text: str) -> dict[str, Any]:
    (block,) = [block for block in PYTHON if text in block]
    return execute(block)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block_runs_by_itself(number: int) -> None:
    assert execute(PYTHON[number])


@pytest.mark.parametrize("block", blocks("python", EVENTS), ids=["values", "fastapi"])
def test_python_about_events_runs(block: str) -> None:
    assert execute(block)


@pytest.mark.parametrize("block", blocks("python", TRUST), ids=["sources", "threads", "when"])
def test_python_about_trust_runs(block: str) -> None:
    assert execute(block)


def test_quick_start_consumer_handles_its_producer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = ""

    def has_printed(lines: int) -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return printed.count("\n") >= lines

    async def consume(handler: object) -> None:
        async with ConsumerRunner(handler) as runner:
            await until(lambda: has_printed(3) or runner.error)

    with_text("asyncio.run(main())")
    published = capsys.readouterr().out
    asyncio.run(consume(with_text("class MarketplaceEventHandler")["MarketplaceEventHandler"]()))

    assert re.fullmatch(r"eventzr\.marketplace\.listing\.created\.v1\[\d\]@\d\n", published)
    assert "New listing in lane vendora: Hall\n" in printed
    assert "New listing in lane vendora: Premium Catering Service\n" in printed
    assert "Order order-uuid completed for t0\n" in printed


def test_service_with_own_loop_ends() -> None:
    asyncio.run(asyncio.wait_for(with_text("async def serve()")["serve"](), 60))


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) == 7
    assert {"make demo", "make test", "pip install '.[cli]' ./marketplace-events"} <= set(COMMANDS)
    assert {shlex.split(c)[1] for c in COMMANDS if c.startswith("eventzr-kafka")} == {"run", "dev", "dlq"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        assert name in {*variables_of_the_settings(), "OUTBOX_URL"}
        monkeypatch.setenv(name, value)

    check(words)


@pytest.mark.parametrize("command", [line for block in blocks("sh", MSK) for line in block.splitlines()])
def test_every_command_for_msk_exists(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "eventzr-kafka":
        check(words)
    else:
        assert words[0] in {"pip", "export"}


@pytest.mark.parametrize("block", blocks("toml", MSK), ids=["topics", "quotas"])
def test_topic_file_for_msk_is_right(block: str) -> None:
    TopicFile.model_validate(tomllib.loads(block))


def check(words: list[str]) -> None:
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "pip":
        extra = words[2].partition("[")[2].removesuffix("]")
        assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert all((ROOT / word / "pyproject.toml").exists() for word in words[3:] if word.startswith("./"))
    else:
        assert words[0] == "eventzr-kafka"
        if len(words) == 2:  # the name of a command, in a sentence
            assert isinstance(app[words[1]], App)
            return
        app.parse_args(words[1:], exit_on_error=False, print_error=False)


def variables_of_the_settings() -> Mapping[str, str]:
    return {variable.name: variable.meaning for variable in variables()}


def test_variables_are_the_settings() -> None:
    rows = re.findall(r"^\| `(KAFKA_\w+)` \| (.*) \|$", README, re.MULTILINE)

    assert rows
    assert dict(rows).items() <= variables_of_the_settings().items()


@pytest.mark.parametrize("page", PAGES)
def test_every_linked_file_exists(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[page])

    assert page != "README.md" or {"ARCHITECTURE.md", "docs/testing.md"} <= set(links)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_routing_error_is_as_shown() -> None:
    source = (
        "from eventzr_kafka import CloudEvent, kafka_consumer, on_message\n"
        "from eventzr_marketplace_events import ListingCreated, OrderCompleted\n\n\n"
        "@kafka_consumer(group_id='g')\n"
        "class MarketplaceEventHandler:\n"
        "    @on_message(ListingCreated)\n"
        "    async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...\n"
    )

    with pytest.raises(RoutingError) as caught:
        exec(compile(source, "handlers.py", "exec"), {"__name__": "handlers"})  # noqa: S102

    assert str(caught.value) in README


def test_stopping_event_error_is_as_shown() -> None:
    record = Record("eventzr.marketplace.order.completed.v1", 0, 7, b"t1", b"{}")
    error = EventStoppedError(record, "MarketplaceEventHandler.handle_order_completed", KeyError(), event_id="01a2…")

    shown = str(error).replace("raised KeyError", "raised KeyError at handlers.py:14").replace("; ", "\n  ")
    assert f"error: an event stopped the consumer\n  {shown}\n" in README


def test_replay_summary_is_as_shown() -> None:
    selected: list[Any] = [None] * 30
    report = ReplayReport()
    report.begin(LetterChoice(selected))
    report.counts.update(replayed=27, failed=1, behind=2)

    assert f"```text\n{report.text()}\n```\n" in README
