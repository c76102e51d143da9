"""The table of the benchmarks: verdicts on budgets, and what changed against an earlier page."""

from __future__ import annotations

from benchmarks.broker import Backlog
from benchmarks.cases import BARE, OURS, Budget, Case, all_cases
from benchmarks.contest import Contestant, Result
from benchmarks.table import changes, rows


def result(name: str, figure: float, **also: float) -> Result:
    return Result(Contestant(name, "any"), [figure], {key: [value] for key, value in also.items()})


def case(*budgets: Budget, lower: bool = False) -> Case:
    return Case("any", "a case", "events/s", Backlog(0), (), budgets, lower=lower)


def verdict(found: Case, ours: Result, *others: Result, earlier: Result | None = None) -> str:
    first = rows(found, [ours, *others], {} if earlier is None else {"before": earlier})[0]
    return first.split("|")[-2].strip()


def test_rate_must_reach_its_part_of_the_best() -> None:
    budget = case(Budget(0.8, (BARE,), note="same events"))
    ours, bare = result(OURS, 79.0), result(BARE, 100.0)
    assert verdict(budget, ours, bare) == f"≥ 0.8 of {BARE} (same events): 0.79, **missed**"
    assert verdict(budget, result(OURS, 81.0), bare) == f"≥ 0.8 of {BARE} (same events): 0.81, kept"


def test_verdict_names_the_ratio_by_cpu() -> None:
    ours, bare = result(OURS, 40.0, cpu=10.0), result(BARE, 100.0, cpu=9.0)
    assert verdict(case(Budget(0.8, (BARE,))), ours, bare) == f"≥ 0.8 of {BARE}: 0.40 (by CPU 0.90), **missed**"


def test_latency_must_not_exceed_its_part() -> None:
    assert verdict(case(Budget(1.3, (BARE,)), lower=True), result(OURS, 1.4), result(BARE, 1.0)).endswith("**missed**")


def test_cpu_may_be_bounded_by_an_earlier_case() -> None:
    budget = case(Budget(1.15, than="before", figure="cpu"))
    earlier = result(OURS, 1.0, cpu=10.0)
    assert verdict(budget, result(OURS, 1.0, cpu=11.4), earlier=earlier) == "≤ 1.15 of before, CPU: 1.14, kept"
    assert verdict(budget, result(OURS, 1.0, cpu=11.6), earlier=earlier).endswith("**missed**")
    assert verdict(budget, result(OURS, 1.0, cpu=11.6)) == "not measured"


def test_figures_on_uvloop_have_a_column() -> None:
    ours = result(OURS, 80.0)
    ours.on_uvloop.append(95.0)
    assert rows(case(), [ours], {})[0].split("|")[5].strip() == "95.00"


def test_changes_name_what_moved() -> None:
    before = "\n".join(rows(case(), [result(OURS, 200.0, cpu=10.0), result(BARE, 400.0)], {}))
    now = rows(case(), [result(OURS, 300.0, cpu=5.0), result(BARE, 400.0), result("new", 1.0)], {})
    assert changes(before, now) == [
        f"a case (events/s): {OURS}: median 200 → 300 (+50 %); CPU µs/event 10.00 → 5.00 (-50 %)",
        f"a case (events/s): {BARE}: ours ÷ this 0.50 → 0.75 (+50 %)",
        "a case (events/s): new: new",
    ]


def test_changes_read_a_page_with_other_columns() -> None:
    page = f"| case | contestant | median | range |\n|---|---|--:|--:|\n| a case (events/s) | {OURS} | 200 | 1 to 2 |"
    assert changes(page, rows(case(), [result(OURS, 300.0)], {})) == [
        f"a case (events/s): {OURS}: median 200 → 300 (+50 %)"
    ]


def test_every_budget_names_contestants_or_a_case() -> None:
    titles: set[str] = set()
    for found in all_cases(quick=True):
        names = {contestant.name for contestant in found.contestants}
        for budget in found.budgets:
            assert set(budget.best_of) <= names
            assert not budget.than or budget.than in titles
        titles.add(found.title)
