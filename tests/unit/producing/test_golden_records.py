"""The bytes on the wire are those of the golden file."""

from __future__ import annotations

import json

import pytest
from tests.unit.producing.golden import GOLDEN, MODES, Golden, golden_records

from eventzr_kafka.codec.encoder import ContentMode


@pytest.fixture(scope="module")
def written() -> Golden:
    return golden_records()


@pytest.fixture(scope="module")
def golden() -> Golden:
    return dict(json.loads(GOLDEN.read_text(encoding="ascii")))


@pytest.mark.parametrize("mode", MODES)
def test_every_byte_on_the_wire_is_golden(mode: ContentMode, written: Golden, golden: Golden) -> None:
    changed = [name for name, record in golden[mode].items() if written[mode].get(name) != record]
    assert changed == []
    assert written[mode].keys() == golden[mode].keys()
