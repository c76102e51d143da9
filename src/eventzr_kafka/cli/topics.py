"""`eventzr-kafka topics`: plan, apply and list; nothing is ever deleted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.text import Text

from eventzr_kafka._confluent.admin import ConfluentAdmin
from eventzr_kafka.cli.app import Output, outcome
from eventzr_kafka.cli.card import Screen, labelled
from eventzr_kafka.cli.declared import declared
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.cli.question import is_agreed
from eventzr_kafka.cli.sizes import limits_of, too_large_for_readers, too_small_for_batches
from eventzr_kafka.cli.topic_file import TopicFile, TopicOptions, topic_specs
from eventzr_kafka.errors import AdminError, EventzrKafkaError
from eventzr_kafka.events import catalogue
from eventzr_kafka.kafka.admin import TopicAdmin
from eventzr_kafka.kafka.topics import Change, CreateTopic, GrowTopic, Plan, TopicSpec, TopicState, is_done, plan_topics
from eventzr_kafka.msk.serverless import broken_quotas
from eventzr_kafka.settings import KafkaSettings

__all__ = ["app"]

_FAILED, _NOT_EMPTY = 1, 2
_SEEN_WITHIN = 10.0  # seconds
_OUTPUT = Output()

app = App(name="topics", help="Topics of the declared events: what is there, what is missing.", help_format="plaintext")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How topics are to be."""

    file: Path | None = None
    """TOML file with partitions and retention of single topics."""
    partitions: int | None = None
    """Partitions of a topic that the file says nothing of; else 6."""
    retention: str | None = None
    """How long it keeps events: 90m, 12h, 7d or forever; else as the broker has it."""


_WANTED = Wanted()


@app.command
def plan(*targets: Annotated[str, Parameter(required=True)], wanted: Wanted = _WANTED, output: Output = _OUTPUT) -> int:
    """Show what apply would do; exit code 2 if that is anything, 1 for every error, a wrong call too.

    Args:
        targets: module:Class of consumers and events; or a module, for every event that it declares.
    """

    def act(screen: Screen) -> int:
        return _NOT_EMPTY if _plan(targets, wanted, screen)[1].changes else 0

    return outcome(output, act, wrong=_FAILED)


@app.command(name="apply")
def apply_plan(
    *targets: Annotated[str, Parameter(required=True)],
    wanted: Wanted = _WANTED,
    yes: Annotated[bool, Parameter(negative=())] = False,
    output: Output = _OUTPUT,
) -> int:
    """Create what is missing and change what differs; nothing is ever deleted.

    Exit code 1 if a step failed, or if nobody agreed to the plan.

    Args:
        targets: As for plan.
        yes: Do not ask.
    """

    def act(screen: Screen) -> int:
        admin, planned = _plan(targets, wanted, screen)
        if not planned.changes:
            return 0
        if not (yes or is_agreed("apply?")):
            screen.fail(labelled("✗", "declined: nothing was changed", "red"))
            return _FAILED
        return _apply(admin, planned.changes, screen)

    return outcome(output, act)


@app.command
def ls(*, output: Output = _OUTPUT) -> int:
    """List the topics of the cluster, and which class declares them."""
    return outcome(output, _list)


def _plan(targets: Sequence[str], wanted: Wanted, screen: Screen) -> tuple[TopicAdmin, Plan]:
    settings, file = KafkaSettings.from_env(), TopicFile.read(wanted.file)
    found = declared(targets)
    specs = topic_specs(found, file, _options(wanted))
    admin = ConfluentAdmin(settings)
    there, names = admin.partitions(), {spec.name for spec in specs}
    states = admin.topics(names | there.keys() if settings.serverless else names)  # a quota is about all of them
    _require_known(specs, states)
    planned = plan_topics(specs, states)
    quota = f" of {file.quotas.leader_partitions:,} of MSK Serverless" if settings.serverless else ""
    _show(planned, sum(there.values()), quota, screen)
    small = too_small_for_batches(settings, names, limits_of(states, specs))
    for misfit in (*small, *too_large_for_readers(found, limits_of({}, specs))):  # only what is declared to be large
        screen.say(labelled("!", misfit, "yellow"))
    broken = list(broken_quotas(specs, states, planned, file.quotas)) if settings.serverless else []
    if broken:
        raise UsageError(f"{'; '.join(broken)}; if AWS has raised it, say so under [quotas] in --file")
    return admin, planned


def _require_known(specs: Sequence[TopicSpec], states: Mapping[str, TopicState]) -> None:
    found = [(states[spec.name], spec.configs) for spec in specs if spec.name in states]
    unknown = [
        f"topic {one.name} {one.fault}" for one, configs in found if one.fault and (configs or not one.partitions)
    ]
    if unknown:
        raise AdminError(f"{'; '.join(unknown)}, so nothing can be planned: allow it to describe topics and configs")


def _options(wanted: Wanted) -> TopicOptions:
    try:
        return TopicOptions(partitions=wanted.partitions, retention=wanted.retention)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise UsageError(f"--{fault['loc'][0]}: {fault['msg']}") from None


def _show(planned: Plan, partitions_now: int, quota: str, screen: Screen) -> None:
    for change in planned.changes:
        screen.say(_line(change))
    for note in planned.notes:
        screen.say(labelled("!", note, "yellow"))
    screen.say(labelled("=", f"{planned.as_declared} topics as declared", "dim"))
    total = partitions_now + planned.new_partitions
    screen.say(
        Text(f"leader partitions: {partitions_now:,} + {planned.new_partitions:,} = {total:,}{quota}", style="dim")
    )


def _line(change: Change) -> Text:
    if isinstance(change, CreateTopic):
        configs = "".join(f", {name}={value}" for name, value in change.spec.configs.items())
        return labelled("+", f"{change.topic}: {change.spec.partitions} partitions{configs}", "green")
    if isinstance(change, GrowTopic):
        warning = "tenants move to other partitions, so the order of their events may break while it is read"
        return labelled("~", f"{change.topic}: {change.now} → {change.wanted} partitions; {warning}", "yellow")
    return labelled("~", f"{change.topic}: {change.name} {change.now} → {change.wanted}", "yellow")


def _apply(admin: TopicAdmin, changes: Sequence[Change], screen: Screen) -> int:
    done: list[Change] = []
    for change in changes:
        try:
            admin.apply(change)
        except EventzrKafkaError as error:
            screen.fail(labelled("✗", f"{change.topic}: {error}", "red"))
        else:
            screen.say(labelled("✓", change.topic, "green"))
            done.append(change)
    _await_seen(admin, done)
    return 0 if len(done) == len(changes) else _FAILED


def _await_seen(admin: TopicAdmin, changes: Sequence[Change]) -> None:
    """Return once every client will see the changes; a broker answers before its metadata does."""
    deadline = time.monotonic() + _SEEN_WITHIN
    topics = {change.topic for change in changes}
    while time.monotonic() < deadline and not _seen(admin.topics(topics), changes):
        time.sleep(0.1)


def _seen(states: Mapping[str, TopicState], changes: Sequence[Change]) -> bool:
    return all(change.topic in states and is_done(change, states[change.topic]) for change in changes)


def _list(screen: Screen) -> None:
    admin = ConfluentAdmin(KafkaSettings.from_env())
    partitions = admin.partitions()
    states = admin.topics(partitions)
    width = max(map(len, states), default=0)
    for name in sorted(states):
        screen.say(_row(states[name], width))
    screen.say(Text(f"{len(states)} topics, {sum(partitions.values()):,} leader partitions", style="dim"))


def _row(state: TopicState, width: int) -> Text:
    if state.fault is not None:
        return Text.assemble((f"{state.name:<{width}}", "cyan"), f"  {state.fault}")
    kind = catalogue.lookup(state.name)
    retention = state.configs.get("retention.ms", "?")
    shape = f"{state.partitions:>4} partitions  retention.ms={retention:<12}"
    return Text.assemble(
        (f"{state.name:<{width}}", "cyan"), f"  {shape}  ", (kind.__qualname__ if kind else "-", "dim")
    )
