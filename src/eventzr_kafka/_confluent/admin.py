"""A `TopicAdmin` on librdkafka."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, admin

from eventzr_kafka._confluent.config import admin_config
from eventzr_kafka._confluent.connection import describe_client_error, describe_kafka_error, refused_login
from eventzr_kafka._confluent.oauth import make_client, token_callback
from eventzr_kafka._confluent.tls_faults import find_tls_fault, may_be_tls
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import AdminError
from eventzr_kafka.kafka.admin import Access
from eventzr_kafka.kafka.topics import CONFIGS, Change, ConfigureTopic, CreateTopic, GrowTopic, TopicSpec, TopicState
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentAdmin"]

_kafka: Any = admin  # most of it has no types
ResultT = TypeVar("ResultT")
_LATE = 5.0  # seconds beyond its time-out that the client may take to report it
_PAUSE = 0.2  # seconds between two requests for a group
_INTERNAL = "__"  # begins the names of Kafka's own topics
_MISSING = "does not exist"
_HIDDEN = "may not be described by this login"
_TOPIC_FAULTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: _MISSING,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _HIDDEN,
}
_CONFIG_FAULTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: _MISSING,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "has configs that may not be described by this login",
}
_NO_COORDINATOR = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
_GROUP_FAULTS = {KafkaError.GROUP_AUTHORIZATION_FAILED: _HIDDEN}


class ConfluentAdmin:
    """Makes its client for the first request; an error names the cause that the client has logged."""

    def __init__(self, settings: KafkaSettings, *, timeout: float = 10.0, clock: Clock = SYSTEM_CLOCK) -> None:
        """Check the configuration; nothing connects yet.

        Args:
            timeout: Seconds that a request may take.
        """
        self._config = admin_config(settings)
        self._settings = settings
        self._timeout = timeout
        self._clock = clock
        self._last_error = _LastError()
        self._client: Any = None

    def brokers(self) -> list[str]:
        """Return the addresses of the brokers, as the cluster names them."""
        found = self._ask(lambda client: client.list_topics(timeout=self._timeout)).brokers
        return sorted(f"{broker.host}:{broker.port}" for broker in found.values())

    def partitions(self) -> Mapping[str, int]:
        """Return the number of partitions of each topic, without Kafka's internal topics."""
        found = self._ask(lambda client: client.list_topics(timeout=self._timeout)).topics
        return {name: len(topic.partitions) for name, topic in found.items() if not name.startswith(_INTERNAL)}

    def topics(self, names: Collection[str]) -> Mapping[str, TopicState]:
        """Return those of these topics that exist, with partitions and configs."""
        found = {name: self._answer(asked, _TOPIC_FAULTS) for name, asked in self._describe(names).items()}
        hidden = {name: TopicState(name, 0, {}, fault) for name, (_, fault) in found.items() if fault == _HIDDEN}
        described = {name: topic for name, (topic, _) in found.items() if topic is not None}
        configs = self._configs(described)
        return hidden | {name: TopicState(name, len(described[name].partitions), *configs[name]) for name in described}

    def topic_access(self, names: Collection[str]) -> Mapping[str, Access]:
        """Return the rights of this login on these topics."""
        return {name: self._access(asked, _TOPIC_FAULTS) for name, asked in self._describe(names).items()}

    def group_access(self, names: Collection[str]) -> Mapping[str, Access]:
        """Return the rights of this login on these groups, which need not exist."""
        deadline = self._clock.monotonic() + self._timeout
        asked = self._describe_groups(names)
        while any(map(self._has_no_coordinator, asked.values())) and self._clock.monotonic() < deadline:
            self._clock.block(_PAUSE)
            asked = self._describe_groups(names)
        return {name: self._access(future, _GROUP_FAULTS) for name, future in asked.items()}

    def create(self, specs: Collection[TopicSpec]) -> None:
        """Create topics in one request; of several failures the error names each.

        Raises:
            AdminError: The broker refused some of them; the others are created.
        """
        new = [_new_topic(spec) for spec in specs]
        asked = self._ask(lambda client: client.create_topics(new, request_timeout=self._timeout))
        errors = [future.exception(self._timeout + _LATE) for future in asked.values()]
        if failures := [describe_client_error(error) for error in errors if error is not None]:
            raise AdminError(f"{self._settings.brokers}: {'; '.join(failures)}")

    def leaders(self, names: Collection[str]) -> Mapping[str, Sequence[int]]:
        """Return the leader of each partition of these topics, without topics that do not exist; -1 is none yet."""
        found = {name: self._answer(asked, _TOPIC_FAULTS)[0] for name, asked in self._describe(names).items()}
        return {
            name: [-1 if one.leader is None else one.leader.id for one in topic.partitions]
            for name, topic in found.items()
            if topic is not None
        }

    def apply(self, change: Change) -> None:
        """Carry out one step of a plan, and wait until the broker has done it."""
        for future in self._ask(lambda client: _send_change(client, change, self._timeout)):
            self._result(future)

    def _describe(self, names: Collection[str]) -> Mapping[str, Future[Any]]:
        if not names:
            return {}
        topics = TopicCollection(list(names))
        return self._ask(
            lambda client: client.describe_topics(
                topics, include_authorized_operations=True, request_timeout=self._timeout
            )
        )

    def _describe_groups(self, names: Collection[str]) -> Mapping[str, Future[Any]]:
        if not names:
            return {}
        return self._ask(
            lambda client: client.describe_consumer_groups(
                list(names), include_authorized_operations=True, request_timeout=self._timeout
            )
        )

    def _has_no_coordinator(self, asked: Future[Any]) -> bool:
        """Return True if the group's coordinator is not found yet: it is found by asking again."""
        error = asked.exception(self._timeout + _LATE)
        return isinstance(error, KafkaException) and error.args[0].code() in _NO_COORDINATOR

    def _access(self, asked: Future[Any], faults: Mapping[int, str]) -> Access:
        described, fault = self._answer(asked, faults)
        operations = None if described is None else described.authorized_operations
        return Access(fault, frozenset(one.name for one in operations) if operations else None)

    def _configs(self, names: Iterable[str]) -> dict[str, tuple[dict[str, str], str | None]]:
        """Return, by topic, its configs, and the reason if they are not known."""
        resources = [_kafka.ConfigResource(_kafka.ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        asked = self._ask(lambda client: client.describe_configs(resources, request_timeout=self._timeout))
        answers = {resource.name: self._answer(future, _CONFIG_FAULTS) for resource, future in asked.items()}
        return {name: (_managed(entries or {}), fault) for name, (entries, fault) in answers.items()}

    def _ask(self, request: Callable[[Any], ResultT]) -> ResultT:
        self._last_error.error = None
        if self._client is None:
            self._client = make_client(_kafka.AdminClient, {**self._config, "error_cb": self._last_error})
        try:
            return request(self._client)
        except KafkaException as error:
            raise self._with_cause(error) from error

    def _answer(self, asked: Future[Any], faults: Mapping[int, str]) -> tuple[Any, str | None]:
        """Return the broker's answer, or None and which of these faults occurred."""
        error = asked.exception(self._timeout + _LATE)
        if isinstance(error, KafkaException) and error.args[0].code() in faults:
            return None, faults[error.args[0].code()]
        return self._result(asked), None

    def _result(self, future: Future[ResultT]) -> ResultT:
        try:
            return future.result(self._timeout + _LATE)
        except KafkaException as error:
            raise self._with_cause(error) from error

    def _with_cause(self, error: KafkaException) -> Exception:
        fault: KafkaError = error.args[0]
        if self._client is not None and self._last_error.error is None:
            self._client.poll(0.1)  # receives the reason, if it has not arrived yet
        last = self._last_error.error
        if last is not None and last.code() == KafkaError._AUTHENTICATION:
            return refused_login(last, token_callback(self._config))
        if last is not None and may_be_tls(last) and (found := find_tls_fault(self._settings)) is not None:
            return AdminError(found)
        cause = f" ({describe_kafka_error(last)})" if last is not None else ""
        return AdminError(f"{self._settings.brokers}: {describe_kafka_error(fault)}{cause}")


class _LastError:
    """The last error of the client. It holds no reference to the admin, so that the client is freed with it."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if self.error is None or error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.error = error


def _send_change(client: Any, change: Change, timeout: float) -> list[Future[Any]]:
    match change:
        case CreateTopic(spec):
            return list(client.create_topics([_new_topic(spec)], request_timeout=timeout).values())
        case GrowTopic(topic, _, wanted):
            return list(
                client.create_partitions([_kafka.NewPartitions(topic, wanted)], request_timeout=timeout).values()
            )
        case ConfigureTopic(topic, name, _, wanted):
            entry = _kafka.ConfigEntry(name, wanted, incremental_operation=_kafka.AlterConfigOpType.SET)
            resource = _kafka.ConfigResource(_kafka.ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
            return list(client.incremental_alter_configs([resource], request_timeout=timeout).values())


def _new_topic(spec: TopicSpec) -> Any:
    return _kafka.NewTopic(spec.name, num_partitions=spec.partitions, config=dict(spec.configs))


def _managed(entries: Mapping[str, Any]) -> dict[str, str]:
    return {name: entry.value for name, entry in entries.items() if name in CONFIGS}
