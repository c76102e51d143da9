"""The commands of `eventzr-kafka`, their options, and their exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, TypeAlias

from cyclopts import App, CycloptsError, Parameter, validators

from eventzr_kafka.cli.command import (
    DEFAULT_OUTPUT,
    FAILED,
    WRONG_CALL,
    AsJson,
    Output,
    Yes,
    run_command,
    shown_default,
)
from eventzr_kafka.cli.dev import run_dev
from eventzr_kafka.cli.loading import import_module, load_consumer
from eventzr_kafka.cli.logs import name_process
from eventzr_kafka.cli.outbox import DatabaseUrl, relay_rows, requeue_parked, show_status
from eventzr_kafka.cli.publish import Publication, publish_event
from eventzr_kafka.cli.run import WorkerLink, check_consumers, run_consumers, run_worker
from eventzr_kafka.cli.terminal import Terminal
from eventzr_kafka.cli.workers import supervise
from eventzr_kafka.settings import KafkaSettings

__all__ = ["app", "call"]

_EXIT_CODE_IS_RESULT = ("topics", "plan")  # 2 means "there are changes" there, so a wrong call of it is 1

app = App(
    name="eventzr-kafka",
    help="Typed CloudEvents on Kafka. KAFKA_BROKERS names the brokers; without it, localhost:9092.",
    help_epilogue="Exit codes: 0 done; 1 failed; 2 wrong call or configuration; 130 interrupted by Ctrl-C. "
    "The help of each command explains them.",
    help_format="plaintext",
    version=f"eventzr-kafka {version('eventzr-kafka')}",
    default_parameter=Parameter(negative=(), show_default=shown_default),
    group_parameters="Options",
    exit_on_error=False,
    print_error=True,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
# Loaded when they are called: each needs a part of the package that the others do not.
app.command(
    "eventzr_kafka.cli.doctor:doctor",
    name="doctor",
    help="Check settings, network, login, topics and groups.",
    help_epilogue="Exit codes: 0 every step passed; 1 a step failed; 2 wrong call or configuration.",
)
app.command(
    "eventzr_kafka.cli.iam:iam_policy",
    name="iam-policy",
    help="Print the IAM policy that a service needs on Amazon MSK.",
    help_epilogue="Exit codes: 0 printed; 2 wrong call or configuration.",
)
app.command("eventzr_kafka.cli.topics:app", name="topics", help="Plan, create and list the topics of declared events.")
app.command("eventzr_kafka.cli.dlq:app", name="dlq", help="Count, show, replay or discard dead letters.")

Targets: TypeAlias = Annotated[
    str,
    Parameter(
        required=True, help="Consumers: module:Class, or module:name of an instance or of a function that makes it."
    ),
]
_RUN_CODES = (
    "Exit codes: 0 stopped by SIGTERM or Ctrl-C; 1 an event or the Kafka client stopped it; "
    "2 wrong call or configuration; 130 a second Ctrl-C."
)


def call(arguments: Sequence[str]) -> int:
    """Run the command of these arguments and return its exit code."""
    try:
        return app(list(arguments)) or 0
    except CycloptsError as error:  # printed already
        return FAILED if tuple(error.command_chain or ()) == _EXIT_CODE_IS_RESULT else WRONG_CALL


@app.command(help_epilogue=_RUN_CODES)
def run(
    *targets: Targets,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    worker: Annotated[WorkerLink | None, Parameter(show=False)] = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Run consumers until SIGTERM or Ctrl-C.

    The first signal lets running handlers finish and commits; a second one quits at once.

    Args:
        workers: Processes that share the partitions; a process that dies is started again.
        worker: Name and link of this process, if a supervisor has started it.
    """
    if worker is not None:
        name_process(worker.name)

    def act(terminal: Terminal) -> None:
        handlers, settings = _load(targets), KafkaSettings.from_env()
        if worker is not None:
            run_worker(handlers, settings, worker)
        elif workers == 1 or not settings.enabled:
            run_consumers(handlers, settings, terminal)
        else:
            check_consumers(handlers, settings, terminal, workers=workers)
            supervise(targets, workers, output.log_level, output.log_format, traceback=output.traceback)

    return run_command(output, act)


@app.command(help_epilogue=_RUN_CODES)
def dev(*targets: Targets, output: Output = DEFAULT_OUTPUT) -> int:
    """Run consumers on an embedded broker; no Kafka is needed.

    The broker and its events are gone when the command ends.
    """
    return run_command(output, lambda terminal: run_dev(targets, _load(targets), terminal))


@app.command(
    help_epilogue="Exit codes: 0 the broker has the event; 1 it has not acknowledged it; 2 wrong call, payload or "
    "configuration."
)
def publish(
    topic: str,
    /,
    *,
    publication: Publication,
    module: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Publish one event and print its topic, partition and offset.

    Args:
        topic: Topic of the event. The class that declares it checks the payload.
        module: Module that declares the event, unless an installed package does.
    """

    def act(terminal: Terminal) -> None:
        if module is not None:
            import_module(module)
        publish_event(topic, publication, KafkaSettings.from_env(), terminal)

    return run_command(output, act)


outbox = App(
    name="outbox", help="Relay events from a database to Kafka; show and requeue them.", group_parameters="Options"
)
app.command(outbox)


@outbox.command(
    name="relay",
    help_epilogue="Exit codes: 0 stopped by SIGTERM or Ctrl-C; 1 the database or the Kafka client ended it; 2 wrong "
    "call or configuration, such as missing tables; 130 a second Ctrl-C.",
)
def relay_outbox(
    *, url: DatabaseUrl, keep: str = "1d", stop_tenant: bool = False, output: Output = DEFAULT_OUTPUT
) -> int:
    """Publish committed events until SIGTERM or Ctrl-C.

    Args:
        keep: Time that published rows stay in the table, such as 12h or 7d.
        stop_tenant: Let a tenant wait for a row that the broker refuses; else the row is parked and the tenant goes on.
    """

    def act(terminal: Terminal) -> None:
        relay_rows(url, KafkaSettings.from_env(), terminal, keep=keep, stop_tenant=stop_tenant)

    return run_command(output, act)


@outbox.command(
    name="status",
    help_epilogue="Exit codes: 0 shown; 1 the database does not answer, or has no outbox; 2 wrong call or "
    "configuration.",
)
def outbox_status(*, url: DatabaseUrl, json: AsJson = False, output: Output = DEFAULT_OUTPUT) -> int:
    """Show pending and parked rows, by tenant, and the relays."""
    return run_command(output, lambda terminal: show_status(url, KafkaSettings.from_env(), terminal, as_json=json))


@outbox.command(
    name="requeue",
    help_epilogue="Exit codes: 0 requeued; 1 the database does not answer, or you answered no; 2 wrong call or "
    "configuration.",
)
def requeue_outbox(
    *ids: int,
    url: DatabaseUrl,
    every: Annotated[bool, Parameter(name="--all")] = False,
    yes: Yes = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Retry parked rows after you have fixed the cause.

    Requeued rows are published after newer events of the same tenant.

    Args:
        ids: Ids of rows, as `outbox status` shows them.
        every: Requeue all parked rows.
    """
    return run_command(output, lambda terminal: requeue_parked(url, ids, terminal, every=every, yes=yes))


def _load(targets: Sequence[str]) -> list[object]:
    return [load_consumer(target) for target in targets]
