"""Which process runs which file, and when, where pytest-xdist runs the suite with ``--dist loadfile``.

1. A file stays in one process, so that what it sets up for all its tests is set up once.
2. Files that want the same broker for themselves stay in one process, too: a broker takes 5 s of CPU to start.
3. The files that take longest come first, so that the processes end together.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

__all__ = ["LONGEST", "SHARED", "LongestFirst", "sort_items"]

SHARED: Final = {
    "tests/broker/test_kafka_server.py": "own_kafka",
    "tests/broker/test_producer.py": "own_kafka",
    "tests/broker/test_broker_outage.py": "own_kafka",
    "tests/broker/test_refused_batches.py": "own_kafka",
    "tests/outbox/test_relay_on_kafka.py": "own_kafka",
    "tests/example/test_drive.py": "own_kafka",
    "tests/broker/test_guide_example.py": "own_kafka",
    "tests/broker/test_msk_login.py": "msk",
    "tests/broker/test_cli_doctor.py": "msk",
    "tests/broker/test_cli_topics.py": "msk",
    "tests/broker/test_dead_letter_outage.py": "guarded_kafka",
    "tests/broker/test_ended_clients.py": "guarded_kafka",
}
"""What a file shares with others; by default it shares nothing."""

LONGEST: Final = (
    "tests/broker/test_kafka_server.py",
    "tests/simulation/test_simulation.py",
    "tests/broker/test_msk_login.py",
    "tests/broker/test_dead_letter_outage.py",
    "tests/outbox/test_relay.py",
    "tests/broker/test_cli_workers.py",
    "tests/contract/test_transports.py",
    "tests/broker/test_dlq_cli.py",
    "tests/broker/test_cli_embedded.py",
    "tests/packaging/test_wheels.py",
    "tests/outbox/test_inbox.py",
    "tests/example/test_page.py",
    "tests/outbox/test_inbox_on_kafka.py",
    "tests/example/test_story.py",
    "tests/process/test_testing_page.py",
    "tests/process/test_pytest_plugin.py",
    "tests/unit/confluent/test_client_faults.py",
    "tests/broker/test_password_login.py",
    "tests/broker/test_large_letters.py",
    "tests/broker/test_guide_example.py",
    "tests/broker/test_consumer_basics.py",
    "tests/interop/test_javascript.py",
    "tests/process/test_fresh_python.py",
    "tests/broker/test_kafka_choice.py",
    "tests/typing/test_typing.py",
    "tests/architecture/test_import_cost.py",
    "tests/broker/test_shutdown.py",
    "tests/outbox/test_requeue.py",
    "tests/broker/test_fairness.py",
    "tests/broker/test_lambda_freeze.py",
    "tests/unit/codec/test_skim.py",
    "tests/broker/test_log_reader.py",
    "tests/example/test_isolation.py",
    "tests/example/test_schema.py",
    "tests/example/test_readme.py",
    "tests/interop/test_node_choice.py",
)
"""The longest files of a busy machine, the longest first; `pytest --durations=0` lists them."""

_RANKS: Final = {SHARED.get(path, path): rank for rank, path in reversed(list(enumerate(LONGEST)))}


def sort_items(items: list[pytest.Item]) -> None:
    """Put the longest first; the others stay in their order."""
    items.sort(key=lambda item: _RANKS.get(_scope(item.nodeid), len(LONGEST)))


def _scope(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return SHARED.get(path, path)


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Hands out scopes in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # by the number of tests, which says little
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid)
