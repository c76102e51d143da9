"""The demo says "each exactly once" only where that is so."""

from __future__ import annotations

from collections import Counter

import pytest
from examples.demo import ALL_TOPICS, TENANTS, Books, show_summary

EVERY = [(topic, tenant, f"{topic} {tenant} {number}") for topic in ALL_TOPICS for tenant in TENANTS for number in "12"]


def test_each_event_once_is_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_summary(Books(Counter(EVERY), Counter(EVERY)))
    assert "72 events, each exactly once" in capsys.readouterr().out


def test_loss_is_not_hidden_by_a_duplicate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost, twice = EVERY[:2]
    arrived = Counter(EVERY) - Counter([lost]) + Counter([twice])

    assert not show_summary(Books(Counter(EVERY), arrived))
    told = capsys.readouterr().out
    assert lost[2] in told
    assert twice[2] in told


def test_unknown_event_or_silent_topic_fails() -> None:
    foreign = (*EVERY[0][:2], "of nobody")
    quiet = Counter(event for event in EVERY if event[:2] != EVERY[0][:2])

    assert not show_summary(Books(Counter(EVERY), Counter([*EVERY, foreign])))
    assert not show_summary(Books(quiet, quiet))
