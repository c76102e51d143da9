"""What the owner thread makes of the answers to commits."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Offset
from tests.unit.manual_time import ManualTime

from eventzr_kafka._confluent.commit_results import CommitResults
from eventzr_kafka.engine.commit_metadata import MAX_METADATA_BYTES

DENIED = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
TOO_LONG = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
REBALANCING = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)


class Answered(Offset):
    """A partition in an answer; its error cannot be set on the client's own class."""

    fault: KafkaError | None = None

    @property
    def error(self) -> KafkaError | None:  # type: ignore[override]
        return self.fault


def offset(metadata: str = "", fault: KafkaError | None = None) -> Answered:
    answered = Answered("orders", 0, 7, metadata=metadata)
    answered.fault = fault
    return answered


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def commits(time: ManualTime) -> CommitResults:
    return CommitResults("g", time.clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


def test_refusal_is_one_line_and_a_problem(
    commits: CommitResults, time: ManualTime, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        commits.on_commit(DENIED, [offset()])
    assert commits.problem is not None
    assert "allow Read on the group" in commits.problem
    assert lines(caplog) == [commits.problem]
    time.now += 2
    commits.on_commit(None, [offset()])
    commits.on_commit(None, [offset()])
    assert commits.problem is None
    assert lines(caplog)[1:] == ["g: offsets are committed again after 2.0 s"]


@pytest.mark.parametrize("code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError._WAIT_COORD])
def test_passing_refusal_is_reported_if_it_lasts(commits: CommitResults, time: ManualTime, code: int) -> None:
    commits.on_commit(KafkaError(code), [offset()])
    assert commits.problem is None
    time.now += 11
    commits.on_commit(KafkaError(code), [offset()])
    assert commits.problem is not None


def test_one_refused_partition_counts(commits: CommitResults) -> None:
    commits.on_commit(None, [offset(), offset(fault=DENIED)])
    assert commits.problem is not None


def test_lasting_rebalance_refusal_counts(commits: CommitResults, time: ManualTime) -> None:
    commits.on_commit(REBALANCING, [offset()])
    time.now = 9.0
    commits.on_commit(REBALANCING, [offset()])
    assert commits.problem is None
    commits.on_commit(None, [offset()])
    time.now = 11.0
    commits.on_commit(REBALANCING, [offset()])
    assert commits.problem is None
    time.now = 22.0
    commits.on_commit(REBALANCING, [offset()])
    assert commits.problem is not None


def test_two_rebalances_are_not_one(commits: CommitResults, time: ManualTime, caplog: pytest.LogCaptureFixture) -> None:
    for now in (0.0, 3600.0):  # nothing was to be committed between them
        time.now = now
        commits.on_commit(REBALANCING, [offset()])
    assert commits.problem is None
    assert lines(caplog) == []


def test_refused_last_commit_is_reported(commits: CommitResults, caplog: pytest.LogCaptureFixture) -> None:
    commits.closing = True
    commits.on_commit(REBALANCING, [offset()])
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize("code", [KafkaError._NO_OFFSET, KafkaError._DESTROY])
def test_empty_commit_has_no_result(commits: CommitResults, code: int) -> None:
    commits.on_commit(DENIED, [offset()])
    problem = commits.problem
    commits.on_commit(KafkaError(code), [])
    commits.on_commit(None, [Offset("orders", 0, -1001)])
    assert commits.problem == problem
    assert commits.answers == 3


def test_long_metadata_shrinks_stepwise(commits: CommitResults, caplog: pytest.LogCaptureFixture) -> None:
    limits = [commits.limit]
    while commits.limit:
        assert not commits.take_refused_metadata()
        commits.on_commit(TOO_LONG, [offset("x" * min(3000, commits.limit), TOO_LONG), offset("x" * 5)])
        assert commits.take_refused_metadata()
        limits.append(commits.limit)
    assert limits == [MAX_METADATA_BYTES, 1024, 256, 64, 16, 0]
    assert len(lines(caplog)) == 1
    assert commits.problem is None


def test_late_answer_changes_nothing(commits: CommitResults) -> None:
    for length in (200, 3000):
        commits.on_commit(TOO_LONG, [offset("x" * length)])
    assert commits.limit == 64


def test_accepted_metadata_is_remembered(commits: CommitResults) -> None:
    commits.on_commit(None, [offset("x" * 50), offset("x" * 20)])
    commits.on_commit(None, [offset()])
    assert commits.proven == 50


def test_broker_without_metadata_is_a_problem(commits: CommitResults) -> None:
    commits.on_commit(TOO_LONG, [offset("x")])
    assert (commits.limit, commits.problem) == (0, None)
    commits.on_commit(TOO_LONG, [offset()])
    assert commits.problem is not None
