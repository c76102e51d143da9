"""`eventzr-kafka doctor`: checks from the settings to topics and groups, one line a step, with cause and hint.

1. The steps after a failed one are not tried, except the clock, which may be the cause.
2. A step that looks at each broker passes if one broker passes it.
3. Every step ends within seconds, whatever the broker does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from rich.text import Text

from eventzr_kafka._confluent.admin import ConfluentAdmin
from eventzr_kafka._confluent.tls_faults import TlsFaultError, shake_hands, speaks_tls
from eventzr_kafka.cli import probes
from eventzr_kafka.cli.banner import describe_connection
from eventzr_kafka.cli.command import DEFAULT_OUTPUT, FAILED, WRONG_CALL, Output, run_command
from eventzr_kafka.cli.iam import Publishing, published_topics
from eventzr_kafka.cli.sizes import limits_of, too_large_for_readers, too_small_for_batches
from eventzr_kafka.cli.targets import Targets, read_targets
from eventzr_kafka.cli.terminal import Terminal, count_of
from eventzr_kafka.errors import AdminError, AuthenticationError, ConfigurationError, EventzrKafkaError
from eventzr_kafka.events.event import format_time
from eventzr_kafka.kafka.admin import Access, TopicAdmin
from eventzr_kafka.safe_text import error_location
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Finding", "doctor", "examine"]

_TOKEN_SECONDS = 5.0
_ANSWER_SECONDS = 4.0
_MOST_SKEW = 240.0  # seconds; AWS takes five minutes
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "dim")}
_NOTHING = Publishing()


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a step.

    Attributes:
        good: None if the step was not needed, or could not be tried.
        hint: The remedy if it failed.
        code: The exit code if it failed.
    """

    step: str
    good: bool | None
    text: str
    hint: str = ""
    code: int = FAILED


def doctor(*targets: str, publishing: Publishing = _NOTHING, output: Output = DEFAULT_OUTPUT) -> int:
    """Check settings, network, login, topics and groups.

    Args:
        targets: Consumers as module:Class, to check that their topics exist and that their groups are permitted.
    """

    def act(terminal: Terminal) -> int:
        code = 0
        for finding in examine(read_targets(targets), published_topics(publishing)):
            terminal.print(_line(finding))
            code = max(code, finding.code if finding.good is False else 0)
        return code

    return run_command(output, act)


def examine(found: Targets, publishes: Sequence[str]) -> Iterator[Finding]:
    """Take the steps one after another.

    Args:
        found: The consumers.
        publishes: Topics that the service publishes to.
    """
    try:
        settings = KafkaSettings.from_env()
    except ConfigurationError as error:
        yield Finding("settings", False, str(error), code=WRONG_CALL)
        return
    enabled = "" if settings.enabled else "; KAFKA_ENABLED is false: producers and consumers do nothing"
    yield Finding("settings", True, describe_connection(settings) + enabled)
    yield from _steps(settings, found, publishes)
    yield _clock(settings)


def _steps(settings: KafkaSettings, found: Targets, publishes: Sequence[str]) -> Iterator[Finding]:
    admin = partial(ConfluentAdmin, settings, timeout=_ANSWER_SECONDS)
    steps: dict[str, Callable[[], Finding]] = {
        "DNS": partial(_dns, settings),
        "TCP": partial(_tcp, settings),
        "TLS": partial(_tls, settings),
        "token": partial(_token, settings),
        "metadata": lambda: _metadata(admin()),
        "topics": lambda: _topics(admin(), found, publishes),
        "groups": lambda: _groups(admin(), found.groups),
        "sizes": lambda: _sizes(admin(), settings, found, publishes),
    }
    failed = False
    for name, step in steps.items():
        finding = Finding(name, None, "not tried") if failed else _take_step(name, step)
        failed = failed or finding.good is False
        yield finding


def _take_step(name: str, step: Callable[[], Finding]) -> Finding:
    try:
        return step()
    except AuthenticationError as error:
        return Finding(name, False, f"{error.problem} (as {error.identity})", error.hint)
    except EventzrKafkaError as error:
        return Finding(name, False, str(error), code=WRONG_CALL if isinstance(error, ConfigurationError) else FAILED)
    except probes.FAULTS as error:
        return Finding(name, False, str(error) or error_location(error))


def _dns(settings: KafkaSettings) -> Finding:
    return _probe_each(
        "DNS", probes.resolve_host, settings, "check the host names in KAFKA_BROKERS, and the resolver of the VPC"
    )


def _tcp(settings: KafkaSettings) -> Finding:
    hint = "check that the broker runs, and that security groups and routes let this machine through"
    return _probe_each("TCP", probes.time_connection, settings, hint)


def _probe_each(name: str, probe: Callable[[str], str], settings: KafkaSettings, hint: str) -> Finding:
    good, bad = probes.probe_each(probe, _addresses(settings))
    return Finding(name, bool(good), _listed(good, bad), hint)


def _listed(good: Mapping[str, str], bad: Mapping[str, str]) -> str:
    well = [f"{address} {text}" for address, text in good.items()]
    return "; ".join([*well, *(f"{address}: {reason}" for address, reason in bad.items())])


def _tls(settings: KafkaSettings) -> Finding:
    reachable = list(probes.probe_each(probes.time_connection, _addresses(settings))[0])
    if not settings.uses_tls:
        if not any(map(speaks_tls, reachable[:1])):
            return Finding("TLS", None, "off")
        return Finding(
            "TLS", False, "off, but the broker speaks TLS", "set KAFKA_TLS=true, or take another port", WRONG_CALL
        )
    hints: list[str] = []

    def probe(address: str) -> str:
        try:
            return shake_hands(address, settings)
        except TlsFaultError as fault:
            hints.append(fault.hint)
            raise

    good, bad = probes.probe_each(probe, reachable)
    otherwise = "if the broker does not speak TLS on this port, set KAFKA_TLS=false or take another port"
    return Finding("TLS", bool(good), _listed(good, bad), hints[0] if hints else otherwise)


def _token(settings: KafkaSettings) -> Finding:
    if settings.effective_auth != "iam":
        return Finding("token", None, "not needed")
    from eventzr_kafka.msk.token import iam_token_provider  # noqa: PLC0415 -- one login of several

    token = probes.call_within(iam_token_provider(settings).token, _TOKEN_SECONDS)
    return Finding("token", True, f"{token.identity}, until {_moment(token.expires_at)}")


def _metadata(admin: TopicAdmin) -> Finding:
    try:
        brokers = admin.brokers()
    except AdminError as error:
        return Finding("metadata", False, str(error), "the broker may want a login, or another one: check KAFKA_AUTH")
    good, bad = probes.probe_each(probes.time_connection, brokers)
    named = count_of(len(brokers), "broker")
    if not good:
        hint = (
            "these are the addresses that the brokers advertise: let this machine through to them, or set the "
            "brokers' advertised.listeners to addresses that it reaches"
        )
        return Finding("metadata", False, f"{named}: {_listed({}, bad)}", hint)
    return Finding("metadata", True, f"{named}; {_listed({}, bad)}" if bad else named)


def _topics(admin: TopicAdmin, found: Targets, publishes: Sequence[str]) -> Finding:
    reads = [(topic, "READ") for topic in (*found.consumed, *found.read_dead_letters)]
    wanted = [*reads, *((topic, "WRITE") for topic in (*found.dead_letters, *publishes))]
    if not wanted:
        return Finding("topics", None, "nothing to check: name consumers as module:Class, or what is published")
    access = admin.topic_access({topic for topic, _ in wanted})
    faults = _faults(wanted, access)
    hint = "eventzr-kafka topics plan shows what is missing, eventzr-kafka iam-policy what must be allowed"
    permitted = "and are permitted" if _permissions_are_known(access) else "(this broker does not report permissions)"
    return Finding("topics", not faults, faults or f"{count_of(len(access), 'topic')} exist {permitted}", hint)


def _groups(admin: TopicAdmin, groups: Sequence[str]) -> Finding:
    if not groups:
        return Finding("groups", None, "nothing to check: name consumers as module:Class")
    access = admin.group_access(groups)
    faults = _faults([(group, "READ") for group in groups], access)
    good = (
        "may join and commit"
        if _permissions_are_known(access)
        else "may be described; this broker does not report permissions"
    )
    return Finding(
        "groups", not faults, faults or f"{', '.join(groups)}: {good}", "eventzr-kafka iam-policy shows what to allow"
    )


def _sizes(admin: TopicAdmin, settings: KafkaSettings, found: Targets, publishes: Sequence[str]) -> Finding:
    """Only a batch that its topic refuses is a fault: a consumer may refuse records that its topic accepts."""
    written = {*publishes, *found.dead_letters}
    states = admin.topics(written | {*found.consumed})
    limits = limits_of(states)
    if faults := list(too_small_for_batches(settings, written, limits)):
        return Finding("sizes", False, "; ".join(faults))
    hidden = sorted(states.keys() - limits.keys())
    if hidden or not states:
        return Finding(
            "sizes", None, f"limits of {', '.join(hidden)} are not known" if hidden else "no topics to compare"
        )
    fits = f"batches of {settings.batch_bytes:,} bytes fit"
    return Finding("sizes", True, "; ".join([fits, *too_large_for_readers(found, limits)]))


def _permissions_are_known(access: Mapping[str, Access]) -> bool:
    return all(one.operations is not None for one in access.values())


def _faults(wanted: Sequence[tuple[str, str]], access: Mapping[str, Access]) -> str:
    found = [(name, _fault(access[name], operation)) for name, operation in wanted]
    return "; ".join(dict.fromkeys(f"{name}: {fault}" for name, fault in found if fault is not None))


def _fault(access: Access, operation: str) -> str | None:
    if access.fault is not None or access.operations is None:
        return access.fault
    return None if operation in access.operations else f"{operation} is not permitted"


def _clock(settings: KafkaSettings) -> Finding:
    if settings.effective_auth != "iam" or settings.effective_region is None:
        return Finding("clock", None, "not needed: no login with tokens")
    region = settings.effective_region
    try:
        skew = probes.call_within(lambda: probes.aws_clock_skew(region))
    except (*probes.FAULTS, TypeError, ValueError) as error:
        return Finding("clock", None, f"AWS's time cannot be read from here: {str(error) or error_location(error)}")
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS"
    return Finding(
        "clock",
        abs(skew) <= _MOST_SKEW,
        text,
        "set the clock by NTP: AWS refuses a token with a wrong time",
    )


def _addresses(settings: KafkaSettings) -> list[str]:
    return [broker.strip() for broker in settings.brokers.split(",")]


def _moment(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _line(finding: Finding) -> Text:
    mark, colour = _MARKS[finding.good]
    hint = f"; {finding.hint}" if finding.good is False and finding.hint else ""
    return Text.assemble((f"{mark} ", colour), (f"{finding.step:<9} ", "bold"), finding.text + hint)
