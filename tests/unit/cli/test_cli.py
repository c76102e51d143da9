"""The command, in this process and without a broker: loading, card, logs, messages and exit codes."""

from __future__ import annotations

import io
import json
import logging
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.text import Text

from eventzr_kafka import CloudEvent, KafkaSettings, Record, kafka_consumer, on_message
from eventzr_kafka.cli import dev
from eventzr_kafka.cli.app import call
from eventzr_kafka.cli.banner import banner
from eventzr_kafka.cli.command import Output, run_command
from eventzr_kafka.cli.loading import load_consumer, trace_of
from eventzr_kafka.cli.logs import set_up_logging
from eventzr_kafka.cli.run import ReadyLine
from eventzr_kafka.cli.terminal import Terminal
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.errors import (
    DeliveryError,
    EventStoppedError,
    EventzrKafkaError,
    RoutingError,
    SettingsError,
    TransportError,
)
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.hooks import PartitionsAssigned
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_marketplace_events import ListingCreated, OrderCompleted

CONSUMER = """
from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_marketplace_events import ListingCreated

@kafka_consumer(group_id="g")
class Handler:
    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
"""
NEEDY = CONSUMER.replace("    @on", "    def __init__(self, db, *rest, mail, size=1): self.db = db\n\n    @on")
RECORD = Record("orders.v1", 2, 41, b"t1", b'{"secret": "payload"}')


@kafka_consumer(group_id="card")
class Consumer:
    @on_message(ListingCreated)
    async def on_listing(self, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message("eventzr.marketplace.order.completed.v1")
    def on_order(self, event: CloudEvent[OrderCompleted]) -> None: ...

    @on_message("elsewhere.v1")
    async def on_else(self, event: CloudEvent) -> None: ...


Write = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty current directory and no settings; modules, paths and log handlers as before afterwards."""
    for name in ("BROKERS", "ENABLED", "AUTH", "TLS", "USERNAME", "PASSWORD", "CA_FILE", "CLIENT_ID"):
        monkeypatch.delenv(f"KAFKA_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root, known = logging.getLogger(), set(sys.modules)
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    return write


# Loading


def test_class_is_loaded_from_here(write: Write) -> None:
    write("service/handlers.py", CONSUMER)

    assert definition_of(load_consumer("service.handlers:Handler")).group_id == "g"


def test_object_and_maker_are_taken_too(write: Write) -> None:
    write("wired.py", NEEDY + "\nready = Handler('db', mail=1)\n\ndef make(): return Handler('made', mail=1)\n")

    assert vars(load_consumer("wired:ready")) == {"db": "db"}
    assert vars(load_consumer("wired:make")) == {"db": "made"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("service.handlers", "'service.handlers' is not module:Class: write service:handlers"),
        ("service.handlers.Handler", "'service.handlers.Handler' is not module:Class: write service.handlers:Handler"),
        ("a/handlers.py:Handler", "'a/handlers.py:Handler' is not module:Class: write a.handlers:Handler"),
        ("a/handlers.py", "'a/handlers.py' is not module:Class: write a.handlers:Class"),
        ("handler", "'handler' is not module:Class: write, for example, service.handlers:MarketplaceEventHandler"),
        ("a\x1b[2J:B", "'a?[2J:B' is not module:Class: write, for example, service.handlers:MarketplaceEventHandler"),
        ("nowhere:Handler", "module 'nowhere' is neither in {here} nor installed"),
        ("nowhere.handlers:Handler", "module 'nowhere.handlers': 'nowhere' is neither in {here} nor installed"),
        ("service.handlrs:Handler", "package 'service' has no module 'handlrs'"),
        ("service.handlers:Handlr", "module 'service.handlers' has no 'Handlr'; did you mean 'Handler'?"),
        ("service.handlers:xyz", "module 'service.handlers' has no 'xyz'; its consumers: Handler"),
        ("other:xyz", "module 'other' has no 'xyz' and no consumer at all"),
        ("other:Plain", "other:Plain is not a consumer: decorate the class with @kafka_consumer(group_id=…)"),
        ("other:number", "other:number is not a consumer: it is 'int', not an object of a @kafka_consumer class"),
        ("other:later", "other:later is async: give a plain function, and connect in the first call of a handler"),
        (
            "service.needy:Handler",
            ("service.needy:Handler needs arguments (db, mail): write a function without any that makes the object, "
            "and give service.needy:that_function; or make the object there and give its name"),
        ),
    ],
)  # fmt: skip
def test_bad_target_is_explained(write: Write, tmp_path: Path, target: str, message: str) -> None:
    write("service/handlers.py", CONSUMER)
    write("service/needy.py", NEEDY)
    write("other.py", "class Plain: ...\n\nnumber = 3\n\nasync def later(): ...\n")

    with pytest.raises(UsageError) as caught:
        load_consumer(target)

    assert str(caught.value) == message.format(here=tmp_path)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import json\n\njson.loads('{')\n", "3: JSONDecodeError: Expecting property name"),
        ("import nowhere_at_all\n", "1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = (\n", "1: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(5)\n", "2: SystemExit: 5"),
        ("def f():\n    raise KeyError\nf()\n", "2: KeyError"),
        (
            "from eventzr_marketplace_events import ListingCreated\nListingCreated(id=1)\n",
            "2: PayloadError: ListingCreated: missing when published: title",
        ),
    ],
)
def test_failing_module_names_its_line(write: Write, tmp_path: Path, source: str, problem: str) -> None:
    write("broken.py", source)

    with pytest.raises(UsageError) as caught:
        load_consumer("broken:Handler")

    assert str(caught.value).startswith(f"importing broken failed: {tmp_path / 'broken.py'}:{problem}")
    assert "\n" not in str(caught.value)


def test_missing_events_are_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("alone.py", "from eventzr_marketplace_events import OrderCompleted\n")
    monkeypatch.setitem(sys.modules, "eventzr_marketplace_events", None)

    with pytest.raises(UsageError, match=r"alone\.py:1: ModuleNotFoundError: .*; the events of the marketplace"):
        load_consumer("alone:Handler")


def test_traceback_begins_in_the_module(write: Write, tmp_path: Path) -> None:
    write("broken.py", "import json\n\njson.loads('{')\n")

    with pytest.raises(UsageError) as caught:
        load_consumer("broken:Handler")

    assert caught.value.__cause__ is not None
    first = trace_of(caught.value.__cause__).splitlines()[1]
    assert first == f'  File "{tmp_path / "broken.py"}", line 3, in <module>'


def test_failing_constructor_names_its_line(write: Write, tmp_path: Path) -> None:
    write("failing.py", CONSUMER.replace("    @on", "    def __init__(self): raise OSError('no db')\n\n    @on"))

    with pytest.raises(UsageError, match=rf"^failing:Handler\(\) failed: {tmp_path}/failing\.py:7: OSError: no db$"):
        load_consumer("failing:Handler")


def test_wrong_consumer_names_itself(write: Write) -> None:
    write("wrong.py", CONSUMER.replace("event: CloudEvent[ListingCreated]", "event: int"))

    with pytest.raises(RoutingError, match=r"wrong\.py:\d+: Handler\.handle: parameter 'event' is not annotated"):
        load_consumer("wrong:Handler")


# The card and what follows


def plain_banner(settings: KafkaSettings, *handlers: object) -> str:
    return banner(settings, [definition_of(handler) for handler in handlers]).plain


def test_card_shows_broker_and_methods() -> None:
    assert plain_banner(KafkaSettings(), Consumer()).splitlines()[1:] == [
        "  broker  localhost:9092 (no TLS, no login)",
        "  group   card",
        "          eventzr.marketplace.listing.created.v1 -> Consumer.on_listing(ListingCreated)",
        "          eventzr.marketplace.order.completed.v1 -> Consumer.on_order(OrderCompleted)",
        "          elsewhere.v1                           -> Consumer.on_else(JSON)",
    ]


@pytest.mark.parametrize(("auth", "shown"), [("plain", "PLAIN as ***"), ("scram", "SCRAM as ***")])
def test_card_hides_user_and_password(monkeypatch: pytest.MonkeyPatch, auth: str, shown: str) -> None:
    monkeypatch.setenv("KAFKA_AUTH", auth)
    monkeypatch.setenv("KAFKA_USERNAME", "alice")
    monkeypatch.setenv("KAFKA_PASSWORD", "wonderland")

    text = plain_banner(KafkaSettings.from_env(), Consumer())

    assert f"localhost:9092 (TLS, {shown})" in text
    assert "alice" not in text
    assert "wonderland" not in text


def test_long_line_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print(Text("x" * 500))

    assert capsys.readouterr().out == "x" * 500 + "\n"


class TerminalStream(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch, no_color: str, *, coloured: bool) -> None:
    stream = TerminalStream()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stdout", stream)

    Terminal().print(Text("ready", style="cyan"))

    assert ("\x1b[36m" in stream.getvalue()) is coloured


def assigned(group_id: str, *partitions: tuple[str, int]) -> PartitionsAssigned:
    return PartitionsAssigned(group_id, tuple(TopicPartition(*partition) for partition in partitions))


@pytest.mark.parametrize("error", [None, UsageError("no"), KeyboardInterrupt()])
def test_logging_is_restored(error: BaseException | None) -> None:
    def act(_: Terminal) -> None:
        assert len(root.handlers) == len(handlers) + 1
        assert root.level == logging.DEBUG
        if error is not None:
            raise error

    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)

    run_command(Output(log_level="debug"), act)

    assert (root.level, root.handlers) == (level, handlers)


def test_ready_waits_for_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    ready: list[bool] = []
    line = ReadyLine({"a", "b"}, Terminal(), lambda: ready.append(True))

    line.on_assigned(assigned("a", ("x", 0), ("x", 1)))
    line.on_assigned(assigned("b"))
    line.on_assigned(assigned("b"))
    before = capsys.readouterr().out
    line.on_assigned(assigned("b", ("y", 0)))
    line.on_assigned(assigned("b", ("y", 1)))

    assert before.startswith("not ready: b joined, without partitions so far: other members have them")
    assert before.count("\n") == 1
    assert capsys.readouterr().out == "ready: 3 partitions of 2 topics\n"
    assert ready == [True]


# Logs


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def log_a_failure() -> None:
    try:
        int("two\nlines")
    except ValueError:
        logging.getLogger("service").exception("it\nfailed: %s", "why")


def test_traceback_is_one_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "text")

    log_a_failure()

    (line,) = logged(capsys)
    assert line[10:11] == "T"
    assert "Z ERROR service: it | failed: why | Traceback (most recent call last): | File" in line


def test_log_record_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")

    log_a_failure()

    (line,) = logged(capsys)
    fields = json.loads(line)
    assert (fields["level"], fields["logger"], fields["message"]) == ("error", "service", "it\nfailed: why")
    assert "ValueError: invalid literal" in fields["exception"]


def test_log_level_is_the_processes(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("warning", "text")

    logging.getLogger("service").info("hidden")
    logging.getLogger("service").warning("shown")

    assert [line.split(": ")[1] for line in logged(capsys)] == ["shown"]


# Outcomes


def stopped(cause: Exception) -> EventStoppedError:
    error = EventStoppedError(RECORD, "Handler.handle", cause, event_id="e1")
    error.__cause__ = cause
    return error


def outcome(error: BaseException, output: Output | None = None) -> int:
    def act(_terminal: Terminal) -> None:
        if isinstance(error, EventzrKafkaError):
            logging.getLogger("eventzr_kafka.consumer").error("%s", error)
        raise error

    return run_command(output or Output(), act)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (stopped(ValueError()), 1),
        (TransportError("gone"), 1),
        (DeliveryError("e1", "orders.v1", "_MSG_TIMED_OUT", "again"), 1),
        (SettingsError("KAFKA_TLS", "must be true or false"), 2),
        (RoutingError("handlers.py:3", "Handler.handle", "returns a value"), 2),
        (UsageError("no module"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code_says_who_must_act(error: BaseException, code: int) -> None:
    assert outcome(error) == code


def test_stopping_event_is_shown_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome(stopped(ValueError("secret payload")))

    assert logged(capsys) == [
        "error: an event stopped the consumer",
        "  orders.v1[2]@41, event e1: Handler.handle: raised ValueError",
        "  stopped before committing it: fix the handler (or the record) and start again, it is redelivered",
        "  --traceback shows more; it may quote the payload",
    ]


def test_traceback_shows_handlers_error(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(stopped(ValueError("details")), Output(traceback=True))

    lines = logged(capsys)
    assert lines[-1] == "ValueError: details"
    assert not any("--traceback" in line for line in lines)


def test_json_covers_errors_too(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(stopped(ValueError("details")), Output(log_format="json", traceback=True))

    (line,) = logged(capsys)
    fields = json.loads(line)
    assert fields["message"].startswith(
        "error: an event stopped the consumer; orders.v1[2]@41, event e1: Handler.handle"
    )
    assert fields["exception"] == "ValueError: details"


# Commands


def test_disabled_run_says_so_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    write("handlers.py", CONSUMER)
    monkeypatch.setenv("KAFKA_ENABLED", "false")

    assert call(["run", "handlers:Handler"]) == 0

    out, err = capsys.readouterr()
    assert "eventzr.marketplace.listing.created.v1 -> Handler.handle(ListingCreated)" in out
    assert "connecting" not in out
    assert "ready" not in out
    assert "Kafka is disabled (KAFKA_ENABLED): nothing is consumed" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "requires an argument"),
        (["rnu", "a:B"], 'Did you mean "run"?'),
        (["run", "a:B", "--log-level", "loud"], "--log-level"),
        (["run", "nowhere:B"], "error: module 'nowhere' is neither in"),
        (["run", "handlers:Handler", "handlers:Handler"], "already: one method a topic"),
        (["dev", "nowhere:B"], "error: module 'nowhere' is neither in"),
        (["publish", "x.y.v1", "--tenant", "t1"], "error: topic 'x.y.v1' is declared nowhere; name the module"),
        (
            ["publish", "eventzr.marketplace.listing.craeted.v1", "--tenant", "t1"],
            "did you mean 'eventzr.marketplace.listing.created.v1'?",
        ),
        (["publish", "eventzr.marketplace.listing.created.v1"], "--tenant"),
        (
            ["publish", "eventzr.marketplace.listing.created.v1", "--tenant", "t1", "--data", '{"id": "secret"}'],
            "error: --data is not a ListingCreated: sellerId: Field required",
        ),
        (
            [
                *("publish", "eventzr.marketplace.listing.published.v1", "--tenant", "t1"),
                *("--data", '{"id": "secret", "sellerId": "secret", "publishdAt": "secret"}'),
            ],
            "error: --data is not a whole ListingPublished: unknown field 'publishdAt' (did you mean 'published_at'?);",
        ),
        (
            ["publish", "eventzr.marketplace.listing.created.v1", "--tenant", "t1", "--data", "{", "--example"],
            "error: --data and --example exclude each other: give one of them",
        ),
        (
            ["publish", "own.made.v1", "--tenant", "t1", "--module", "own"],
            "error: Made has no example: give --data '{…}'",
        ),
        (
            ["publish", "own.made.v1", "--tenant", "t1", "--module", "own", "--data", '{"id": "1"}'],
            "error: Made declares no source: give --source",
        ),
    ],
)
def test_wrong_call_exits_with_2(
    capsys: pytest.CaptureFixture[str], write: Write, arguments: list[str], message: str
) -> None:
    write("handlers.py", CONSUMER)
    write("own.py", "from eventzr_kafka import EventData\n\nclass Made(EventData, topic='own.made.v1'):\n    id: str\n")

    assert call(arguments) == 2

    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in error
    assert "secret" not in error
    assert "Traceback" not in error


def test_wrong_setting_hides_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    write("handlers.py", CONSUMER)
    monkeypatch.setenv("KAFKA_AUTH", "scram")
    monkeypatch.setenv("KAFKA_PASSWORD", "wonderland")

    assert call(["run", "handlers:Handler"]) == 2

    assert capsys.readouterr().err == "error: KAFKA_USERNAME: is needed for KAFKA_AUTH=scram\n"


def test_disabled_publish_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KAFKA_ENABLED", "false")

    assert call(["publish", "eventzr.marketplace.listing.created.v1", "--tenant", "t1"]) == 1

    assert "error: nothing was published: Kafka is disabled (KAFKA_ENABLED)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"], ["dev", "-h"], ["publish", "-h"]])
def test_version_and_help_end_well(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert call(arguments) == 0

    assert capsys.readouterr().out


# What dev prints


def test_dev_names_a_command_that_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["some where/eventzr-kafka", "dev"])

    how = dev.publish_commands("127.0.0.1:1", ["eventzr.marketplace.listing.created.v1"], "handlers").plain

    assert how.splitlines()[1] == (
        f"  KAFKA_BROKERS=127.0.0.1:1 '{tmp_path}/some where/eventzr-kafka' publish "
        "eventzr.marketplace.listing.created.v1 --tenant t1"
    )


def test_dev_overrides_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_AUTH", "scram")

    how = dev.publish_commands("127.0.0.1:1", ["own.v1"], "handlers").plain

    assert "KAFKA_BROKERS=127.0.0.1:1 KAFKA_AUTH=none " in how
    assert how.endswith("publish own.v1 --tenant t1 --module handlers --data '{}'")


def test_dev_counts_topics_not_shown() -> None:
    lines = dev.publish_commands(
        "127.0.0.1:1", [f"own{number}.v1" for number in range(6)], "handlers"
    ).plain.splitlines()

    assert len(lines) == 6
    assert lines[-1] == "  and so on for 2 more topics"
