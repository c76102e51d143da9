"""The ledger against a model that keeps every offset in sets."""

from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka.engine.ledger import Ledger

OFFSETS = st.lists(st.integers(0, 60), unique=True, max_size=40).map(sorted)


def expand(ranges: list[tuple[int, int]]) -> set[int]:
    return {offset for first, after in ranges for offset in range(first, after)}


class Model:
    """The contents of a ledger, kept the naive way."""

    def __init__(self, position: int | None, known: set[int]) -> None:
        self.start = position
        self.known = known
        self.received: list[int] = []
        self.finished: set[int] = set()

    def position(self) -> int | None:
        unfinished = [o for o in self.received if o not in self.finished and o not in self.known]
        if unfinished:
            return unfinished[0]
        return self.received[-1] + 1 if self.received else self.start


@given(st.integers(0, 20), st.sets(st.integers(0, 60)), OFFSETS, st.data())
def test_position_is_lowest_unfinished(start: int, known: set[int], offsets: list[int], data: st.DataObject) -> None:
    model, ledger = Model(start, known := {o for o in known if o >= start}), Ledger(start, known)
    offsets = [o for o in offsets if o >= start]
    while offsets or model.received:
        receive = data.draw(st.booleans())
        if offsets and receive:
            batch, offsets = offsets[:3], offsets[3:]
            assert ledger.receive(batch) == known.intersection(batch)
            model.received += batch
        elif unfinished := [o for o in model.received if o not in model.finished]:
            done = data.draw(st.sampled_from(unfinished))
            ledger.finish(done)
            model.finished.add(done)
        elif not offsets:
            break
        assert ledger.position() == model.position()


@given(st.integers(0, 20), OFFSETS, st.sets(st.integers(0, 60)))
def test_restart_runs_the_unfinished(start: int, offsets: list[int], finished: set[int]) -> None:
    offsets = [o for o in offsets if o >= start]
    before = Ledger(start)
    before.receive(offsets)
    for offset in finished.intersection(offsets):
        before.finish(offset)
    position = before.position()
    assert position is not None
    after = Ledger(position, expand(before.finished()))
    again = [o for o in offsets if o >= position]
    assert after.receive(again) == finished.intersection(again)
    assert after.position() == before.position()


def test_gap_does_not_hide_an_unfinished_offset_from_a_commit() -> None:
    """Parallel Consumer issue 826: committing from the highest offset seen lost the record still running before it."""
    ledger = Ledger(0)
    ledger.receive([0, 5, 9])  # compaction took the rest
    ledger.finish(9)
    ledger.finish(0)
    assert ledger.position() == 5
    ledger.finish(5)
    assert ledger.position() == 10


def test_unknown_position_is_kept() -> None:
    assert Ledger().position() is None
    assert Ledger(7).position() == 7


def test_repeated_finish_changes_nothing() -> None:
    ledger = Ledger(0)
    ledger.receive([0, 1])
    for offset in (0, 0, 99):
        ledger.finish(offset)
    assert (ledger.position(), ledger.unfinished, ledger.next_offset) == (1, 1, 2)


def test_empty_batch_changes_nothing() -> None:
    ledger = Ledger(3)
    assert ledger.receive([]) == set()
    assert ledger.position() == 3


def test_second_restart_keeps_offsets_the_first_did_not_read() -> None:
    first = Ledger(0, {5, 6, 7})
    first.receive([0, 1])
    position = first.position()
    assert position == 0
    assert first.finished() == [(5, 8)]


def test_sampled_offsets_are_bounded() -> None:
    ledger = Ledger(0, {900})
    ledger.receive(range(400))
    for offset in range(1, 400, 2):
        ledger.finish(offset)
    assert ledger.finished(most=10) == [(offset, offset + 1) for offset in range(1, 19, 2)]
    assert ledger.finished()[-2:] == [(399, 400), (900, 901)]


def test_passed_gap_counts_as_finished() -> None:
    ledger = Ledger(0, {3, 9})
    ledger.receive([0, 1])
    ledger.finish(1)
    ledger.pass_to(5)
    assert (ledger.position(), ledger.next_offset) == (0, 5)
    assert ledger.finished() == [(1, 5), (9, 10)]
    ledger.finish(0)
    assert ledger.position() == 5
    ledger.pass_to(4)
    assert ledger.position() == 5


def test_nothing_finished_is_no_range() -> None:
    assert Ledger(4).finished() == []
    assert Ledger().finished() == []


def test_first_offset_may_be_committed() -> None:
    assert Ledger(0).position() == 0
    ledger = Ledger()
    assert (ledger.next_offset, ledger.position(), ledger.finished()) == (-1, None, [])
    ledger.pass_to(0)
    assert ledger.position() == 0


def test_offsets_that_an_earlier_epoch_finished_are_known() -> None:
    ledger = Ledger(5, [3, 4, 5, 7])
    assert ledger.finished() == [(5, 6), (7, 8)]
    assert ledger.receive([5, 6, 7]) == {5, 7}
    assert (ledger.open_offsets(), ledger.unfinished, ledger.next_offset) == ([6], 1, 8)
    assert ledger.finished() == [(7, 8)]


def test_known_work_is_kept_until_passed() -> None:
    ledger = Ledger(0, [2, 4, 6])
    assert ledger.receive([0, 1]) == set()
    assert ledger.finished() == [(2, 3), (4, 5), (6, 7)]
    ledger.pass_to(4)
    assert ledger.finished() == [(2, 4), (4, 5), (6, 7)]
    ledger.pass_to(3)
    assert ledger.next_offset == 4
    assert ledger.receive([4, 5]) == {4}
    assert ledger.finished() == [(2, 5), (6, 7)]


def test_open_offsets_hide_the_rest() -> None:
    ledger = Ledger(0)
    ledger.receive(range(10))
    for offset in (1, 3, 4, 8):
        ledger.finish(offset)
    assert ledger.finished() == [(1, 2), (3, 5), (8, 9)]
    assert ledger.finished(6) == [(1, 2), (3, 5), (8, 9)]
    assert ledger.finished(7) == [(1, 2), (3, 5), (8, 9)]
    assert ledger.finished(3) == [(1, 2), (3, 5)]
    assert ledger.finished(2) == [(1, 2)]
    ledger.finish(9)
    assert ledger.finished(5) == [(1, 2), (3, 5)]
    assert ledger.finished(6) == [(1, 2), (3, 5), (8, 10)]
