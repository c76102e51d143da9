"""`eventzr-kafka topics`: plan, apply and list; no topic is ever deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.text import Text

from eventzr_kafka._confluent.admin import ConfluentAdmin
from eventzr_kafka.cli.command import DEFAULT_OUTPUT, FAILED, Output, Yes, report_declined, run_command
from eventzr_kafka.cli.question import is_agreed
from eventzr_kafka.cli.sizes import limits_of, too_large_for_readers, too_small_for_batches
from eventzr_kafka.cli.targets import read_targets
from eventzr_kafka.cli.terminal import Terminal, count_of, labelled, table
from eventzr_kafka.cli.topic_file import TopicFile, TopicOptions, topic_specs
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.clock import SYSTEM_CLOCK
from eventzr_kafka.errors import AdminError, EventzrKafkaError
from eventzr_kafka.events import catalogue
from eventzr_kafka.kafka.admin import TopicAdmin
from eventzr_kafka.kafka.topics import Change, CreateTopic, GrowTopic, Plan, TopicSpec, TopicState, is_done, plan_topics
from eventzr_kafka.msk.serverless import broken_quotas
from eventzr_kafka.safe_text import describe_faults
from eventzr_kafka.settings import KafkaSettings

__all__ = ["app"]

_HAS_CHANGES = 2  # exit code of `plan`
_SEEN_WITHIN = 10.0  # seconds

app = App(name="topics", group_parameters="Options")

DeclaredTargets: TypeAlias = Annotated[
    str,
    Parameter(required=True, help="Consumers and events: module:Class, or a module for every event that it declares."),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TopicShape:
    """Partitions and retention of the topics."""

    file: Path | None = None
    """TOML file with partitions, retention and configs of single topics."""
    partitions: int | None = None
    """Partitions of a topic that the file does not name; 6 if neither is given."""
    retention: str | None = None
    """Time that a topic keeps events: 90m, 12h, 7d or forever; the broker's setting if left out."""


_DEFAULT_SHAPE = TopicShape()


@app.command(help_epilogue="Exit codes: 0 no changes; 2 changes; 1 any error, including a wrong call.")
def plan(*targets: DeclaredTargets, shape: TopicShape = _DEFAULT_SHAPE, output: Output = DEFAULT_OUTPUT) -> int:
    """Show what `topics apply` would change."""

    def act(terminal: Terminal) -> int:
        _, planned = _plan(targets, shape, terminal)
        return _HAS_CHANGES if planned.changes else 0

    return run_command(output, act, wrong_call=FAILED)


@app.command(
    name="apply",
    help_epilogue="Exit codes: 0 the topics are as declared; 1 a change failed, or you answered no; 2 wrong call or "
    "configuration.",
)
def apply_plan(
    *targets: DeclaredTargets,
    shape: TopicShape = _DEFAULT_SHAPE,
    yes: Yes = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Create missing topics and change those that differ.

    No topic is deleted, and no partition is taken away.
    """

    def act(terminal: Terminal) -> int:
        admin, planned = _plan(targets, shape, terminal)
        if not planned.changes:
            return 0
        if not (yes or is_agreed("Apply?")):
            return report_declined(terminal)
        return _apply(admin, planned.changes, terminal)

    return run_command(output, act)


@app.command(help_epilogue="Exit codes: 0 listed; 1 the broker does not answer; 2 wrong call or configuration.")
def ls(*, output: Output = DEFAULT_OUTPUT) -> int:
    """List the topics of the cluster and the classes that declare them."""
    return run_command(output, _list)


def _plan(targets: Sequence[str], shape: TopicShape, terminal: Terminal) -> tuple[TopicAdmin, Plan]:
    settings, file = KafkaSettings.from_env(), TopicFile.read(shape.file)
    found = read_targets(targets)
    specs = topic_specs(found, file, _options(shape))
    admin = ConfluentAdmin(settings)
    there, names = admin.partitions(), {spec.name for spec in specs}
    states = admin.topics(names | there.keys() if settings.serverless else names)  # a quota counts all of them
    _require_known(specs, states)
    planned = plan_topics(specs, states)
    quota = f" of {file.quotas.leader_partitions:,} of MSK Serverless" if settings.serverless else ""
    _show(planned, sum(there.values()), quota, terminal)
    small = too_small_for_batches(settings, names, limits_of(states, specs))
    for misfit in (
        *small,
        *too_large_for_readers(found, limits_of({}, specs)),
    ):  # only topics that are declared to be large
        terminal.print(labelled("!", misfit, "yellow"))
    broken = list(broken_quotas(specs, states, planned, file.quotas)) if settings.serverless else []
    if broken:
        raise UsageError(f"{'; '.join(broken)}; if AWS has raised the quota, set it under [quotas] in --file")
    return admin, planned


def _require_known(specs: Sequence[TopicSpec], states: Mapping[str, TopicState]) -> None:
    found = [(states[spec.name], spec.configs) for spec in specs if spec.name in states]
    unknown = [
        f"topic {one.name} {one.fault}" for one, configs in found if one.fault and (configs or not one.partitions)
    ]
    if unknown:
        raise AdminError(
            f"{'; '.join(unknown)}, so nothing can be planned: allow this login to describe topics and configs"
        )


def _options(shape: TopicShape) -> TopicOptions:
    try:
        return TopicOptions(partitions=shape.partitions, retention=shape.retention)
    except ValidationError as error:
        raise UsageError(f"--{describe_faults(error)}") from None


def _show(planned: Plan, partitions_now: int, quota: str, terminal: Terminal) -> None:
    for change in planned.changes:
        terminal.print(_line(change))
    for note in planned.notes:
        terminal.print(labelled("!", note, "yellow"))
    terminal.print(labelled("=", f"{count_of(planned.as_declared, 'topic')} as declared", "dim"))
    total = partitions_now + planned.new_partitions
    terminal.print(
        Text(f"leader partitions: {partitions_now:,} + {planned.new_partitions:,} = {total:,}{quota}", style="dim")
    )


def _line(change: Change) -> Text:
    if isinstance(change, CreateTopic):
        configs = "".join(f", {name}={value}" for name, value in change.spec.configs.items())
        return labelled("+", f"{change.topic}: {count_of(change.spec.partitions, 'partition')}{configs}", "green")
    if isinstance(change, GrowTopic):
        warning = "tenants move to other partitions, so a consumer may see their events out of order meanwhile"
        return labelled("~", f"{change.topic}: {change.now} → {change.wanted} partitions; {warning}", "yellow")
    return labelled("~", f"{change.topic}: {change.name} {change.now} → {change.wanted}", "yellow")


def _apply(admin: TopicAdmin, changes: Sequence[Change], terminal: Terminal) -> int:
    done: list[Change] = []
    for change in changes:
        try:
            admin.apply(change)
        except EventzrKafkaError as error:
            terminal.error(labelled("✗", f"{change.topic}: {error}", "red"))
        else:
            terminal.print(labelled("✓", change.topic, "green"))
            done.append(change)
    _await_seen(admin, done)
    return 0 if len(done) == len(changes) else FAILED


def _await_seen(admin: TopicAdmin, changes: Sequence[Change]) -> None:
    """Wait until every client sees the changes: a broker confirms a change before its metadata shows it."""
    deadline = SYSTEM_CLOCK.monotonic() + _SEEN_WITHIN
    topics = {change.topic for change in changes}
    while SYSTEM_CLOCK.monotonic() < deadline and not _seen(admin.topics(topics), changes):
        SYSTEM_CLOCK.block(0.1)


def _seen(states: Mapping[str, TopicState], changes: Sequence[Change]) -> bool:
    return all(change.topic in states and is_done(change, states[change.topic]) for change in changes)


def _list(terminal: Terminal) -> None:
    admin = ConfluentAdmin(KafkaSettings.from_env())
    partitions = admin.partitions()
    states = admin.topics(partitions)
    for line in table([_row(states[name]) for name in sorted(states)], styles=("cyan", "", "", "dim")):
        terminal.print(line)
    terminal.print(
        Text(f"{count_of(len(states), 'topic')}, {count_of(sum(partitions.values()), 'leader partition')}", style="dim")
    )


def _row(state: TopicState) -> tuple[str, ...]:
    if state.fault is not None:
        return state.name, "", "", state.fault
    kind = catalogue.lookup(state.name)
    partitions = count_of(state.partitions, "partition")
    retention = f"retention.ms={state.configs.get('retention.ms', '?')}"
    return state.name, partitions, retention, kind.__qualname__ if kind else "-"
