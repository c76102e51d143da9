"""The command line: its commands, their options, and what the exit code means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter, validators
from rich.text import Text

from eventzr_kafka.cli.card import Screen, labelled
from eventzr_kafka.cli.dev import develop
from eventzr_kafka.cli.loading import import_module, load, trace_of
from eventzr_kafka.cli.logs import LogFormat, LogLevel, log_to_stderr, name_process
from eventzr_kafka.cli.outbox import DatabaseUrl, requeue_parked, show_status
from eventzr_kafka.cli.outbox import relay as relay_rows
from eventzr_kafka.cli.publish import Publication
from eventzr_kafka.cli.publish import publish as publish_event
from eventzr_kafka.cli.run import Worker, prepare, serve, work
from eventzr_kafka.cli.workers import Plan, supervise
from eventzr_kafka.errors import ConfigurationError, EncodeError, EventStoppedError, EventzrKafkaError
from eventzr_kafka.settings import KafkaSettings

__all__ = ["app", "call", "outcome"]

_STOPPED, _WRONG, _INTERRUPTED = 1, 2, 130
_TELLS_BY_2 = ("topics", "plan")  # that the plan is not empty, so that a wrong call of it is no 2

app = App(
    name="eventzr-kafka",
    help="Typed CloudEvents on Kafka. KAFKA_BROKERS names the broker; without it, localhost:9092.",
    help_epilogue="Exit codes: 0 done or stopped as asked, 1 an event or the broker ended it, 2 wrong call or set-up.",
    help_format="plaintext",
    version=f"eventzr-kafka {version('eventzr-kafka')}",
    exit_on_error=False,
    print_error=True,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command("eventzr_kafka.cli.doctor:doctor", name="doctor")
app.command("eventzr_kafka.cli.iam:iam_policy", name="iam-policy")
app.command("eventzr_kafka.cli.topics:app", name="topics", help="Topics of the declared events: plan, apply, ls.")
app.command(
    "eventzr_kafka.cli.dlq:app", name="dlq", help="Dead letters: count, look, replay, discard."
)  # loaded on use


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """What is shown, and how."""

    log_level: LogLevel = "info"
    """The lowest level that is logged."""
    log_format: LogFormat = "text"
    """With json every line is one JSON object."""
    traceback: Annotated[bool, Parameter(negative=())] = False
    """Show the traceback of an error; it may quote payloads."""


_OUTPUT = Output()


def call(arguments: Sequence[str]) -> int:
    """Run the command of these arguments and return its exit code."""
    try:
        return app(list(arguments)) or 0
    except CycloptsError as error:  # already shown
        return _STOPPED if tuple(error.command_chain or ()) == _TELLS_BY_2 else _WRONG


@app.command
def run(
    *targets: Annotated[str, Parameter(required=True)],
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    worker: Annotated[Worker | None, Parameter(show=False)] = None,
    output: Output = _OUTPUT,
) -> int:
    """Run consumers until SIGTERM or Ctrl-C, then finish and commit what runs; a second Ctrl-C quits at once.

    Args:
        targets: module:Class of each; or module:name of an object, or of a function that makes it.
        workers: Processes that share the partitions; one that dies is started again.
        worker: What a supervisor says to one of its workers.
    """
    if worker is not None:
        name_process(worker.name)

    def act(screen: Screen) -> None:
        handlers, settings = _load(targets), KafkaSettings.from_env()
        if worker is not None:
            work(handlers, settings, worker)
        elif workers == 1 or not settings.enabled:
            serve(handlers, settings, screen)
        else:
            prepare(handlers, settings, screen, workers=workers)
            supervise(_plan(workers, targets, output))

    return outcome(output, act)


def _plan(workers: int, targets: Sequence[str], output: Output) -> Plan:
    return Plan(
        workers=workers,
        targets=targets,
        log_level=output.log_level,
        log_format=output.log_format,
        traceback=output.traceback,
    )


@app.command
def dev(*targets: Annotated[str, Parameter(required=True)], output: Output = _OUTPUT) -> int:
    """Run consumers on an embedded broker: nothing to install, and gone when it ends.

    Args:
        targets: As for run.
    """
    return outcome(output, lambda screen: develop(targets, _load(targets), screen))


@app.command
def publish(
    topic: str,
    /,
    *,
    publication: Publication,
    module: str | None = None,
    output: Output = _OUTPUT,
) -> int:
    """Publish one event and say where it went.

    Args:
        topic: The event's topic; its class checks the payload.
        module: Module that declares the class, where it is not one of an installed package.
    """

    def act(screen: Screen) -> None:
        if module is not None:
            import_module(module)
        publish_event(topic, publication, KafkaSettings.from_env(), screen)

    return outcome(output, act)


outbox = App(name="outbox", help="Relay the events that database transactions have committed, and see how they are.")
app.command(outbox)


@outbox.command(name="relay")
def relay_outbox(*, url: DatabaseUrl, keep_days: float = 1.0, stop_lane: bool = False, output: Output = _OUTPUT) -> int:
    """Publish what was committed, until SIGTERM or Ctrl-C.

    Args:
        url: Address of the database, such as postgresql://user@host/database; also OUTBOX_URL.
        keep_days: How long published rows stay in the table.
        stop_lane: Let a tenant wait for a row that the broker refuses, in place of parking the row.
    """
    settings = KafkaSettings.from_env
    return outcome(output, lambda screen: relay_rows(url, settings(), screen, keep_days=keep_days, stop_lane=stop_lane))


@outbox.command(name="status")
def outbox_status(
    *, url: DatabaseUrl, json: Annotated[bool, Parameter(negative=())] = False, output: Output = _OUTPUT
) -> int:
    """Show what is pending, since when and whose it is, and what was parked.

    Args:
        url: As for relay.
        json: Print one JSON object.
    """
    return outcome(output, lambda screen: show_status(url, screen, as_json=json))


@outbox.command(name="requeue")
def requeue_outbox(
    *ids: int,
    url: DatabaseUrl,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
    yes: Annotated[bool, Parameter(negative=())] = False,
    output: Output = _OUTPUT,
) -> int:
    """Have parked rows tried again, once what they failed at is mended.

    Args:
        ids: Ids of rows, as status shows them.
        url: As for relay.
        every: All that are parked.
        yes: Confirm it.
    """
    return outcome(output, lambda screen: requeue_parked(url, ids, screen, every=every, yes=yes))


def _load(targets: Sequence[str]) -> list[object]:
    return [load(target) for target in targets]


def outcome(output: Output, act: Callable[[Screen], int | None], *, wrong: int = _WRONG) -> int:
    """Do it, show the error that ends it, and return the exit code; `act` may return one that is not 0.

    Args:
        wrong: The exit code for a wrong call or set-up.
    """
    screen = Screen(output.log_format)
    with log_to_stderr(output.log_level, output.log_format):
        try:
            return act(screen) or 0
        except KeyboardInterrupt:
            return _INTERRUPTED
        except EventzrKafkaError as error:
            trace = trace_of(error.__cause__) if output.traceback and error.__cause__ else ""
            screen.fail(_explained(error, hint=not output.traceback), trace=trace)
            return wrong if isinstance(error, ConfigurationError | EncodeError) else _STOPPED


def _explained(error: EventzrKafkaError, *, hint: bool) -> Text:
    """One line; for an event that stopped the runner, a block: what, where, and what to do."""
    if not isinstance(error, EventStoppedError):
        return labelled("error:", str(error), "red")
    details = [error.found, error.hint]
    if hint and error.__cause__ is not None:
        details.append("--traceback shows more; it may quote the payload")
    title = labelled("error:", "an event stopped the consumer", "red")
    return Text("\n  ").join([title, *map(Text, details)])
