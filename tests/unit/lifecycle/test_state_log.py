"""`StateLog`: one line when something begins to fail, one when it works again."""

from __future__ import annotations

import logging

import pytest
from tests.unit.manual_time import ManualTime

from eventzr_kafka.lifecycle.state_log import StateLog


class Bench(ManualTime):
    """A state log whose clock the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.state = StateLog(logging.getLogger("eventzr_kafka.test"), clock=self.clock)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_lasting_failure_is_one_line_and_its_end_another(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        bench.state.report_failure("gone", "%s is gone", "b:9092")
        bench.now += 2
    bench.state.report_success("%s is back", "b:9092")
    bench.state.report_success("%s is back", "b:9092")

    assert caplog.messages == ["b:9092 is gone", "b:9092 is back after 6.0 s"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_another_reason_is_logged_and_the_time_goes_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.state.report_failure("a", "first")
    bench.now += 1
    bench.state.report_failure("b", "second")
    assert bench.state.reason == "b"
    bench.now += 1
    bench.state.report_success("back")

    assert caplog.messages == ["first", "second", "back after 2.0 s"]
    assert bench.state.reason is None


def test_success_without_a_failure_is_not_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.state.report_success("back")

    assert caplog.messages == []
