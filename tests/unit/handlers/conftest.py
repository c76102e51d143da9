"""Fixtures that declare a wrong consumer and check its error."""

from __future__ import annotations

from itertools import product

import pytest
from tests.unit.handlers.refusals import Refusal, Refused, Setting, run

from eventzr_kafka.errors import RoutingError


@pytest.fixture(
    params=[Setting(local, postponed) for local, postponed in product([False, True], repeat=2)],
    ids=lambda s: f"{'function' if s.local else 'module'}-{'postponed' if s.postponed else 'evaluated'}",
)
def setting(request: pytest.FixtureRequest) -> Setting:
    assert isinstance(request.param, Setting)
    return request.param


@pytest.fixture
def blamed(setting: Setting) -> Refused:
    """Refuse a class and blame the line that says ``# blamed``, or ``# blamed: Class.method``."""

    def refuse(text: str) -> Refusal:
        source = setting.source(text)
        number, line = next((n, line) for n, line in enumerate(source.splitlines(), 1) if "# blamed" in line)
        handler = line.partition("# blamed: ")[2] or "Handler.handle"
        with pytest.raises(RoutingError) as caught:
            run(source, "handlers.py")
        error = caught.value
        assert (error.location, error.handler) == (f"handlers.py:{number}", handler)
        assert str(error).startswith(f"handlers.py:{number}: {handler}: ")
        return Refusal(error, [line.removeprefix("    ") for line in str(error).splitlines()[1:]])

    return refuse


@pytest.fixture
def refused(blamed: Refused, setting: Setting) -> Refused:
    """The same, and accept the lines that the error ends in."""

    def refuse(text: str) -> Refusal:
        refusal = blamed(text)
        refusal.fixed = setting.fix(text, refusal.right)
        return refusal

    return refuse
