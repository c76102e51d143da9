"""The help of every command, rendered for a terminal of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cyclopts import App

from eventzr_kafka.cli.app import app, call

BANNED = re.compile(
    r"\[default: (False|None|\(\))|--(no|empty)-"
    r"|\b(is no|nobody|somebody|anybody|whoever|tells?|told|says?|said|mend\w*|lanes?|(?<!dead[ -])(?<!--)letters?)\b"
)
TWO_MEANINGS = {"--source", "--tenant"}  # `publish` describes one event with them, other commands select events


def commands(parent: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command, those of groups of commands too."""
    yield path
    for name in parent:
        if not name.startswith("-"):
            yield from commands(parent[name], (*path, name))


COMMANDS = list(commands())
GROUPS = [path for path in COMMANDS if any(other[:-1] == path for other in COMMANDS if other)]


@pytest.fixture(params=COMMANDS, ids=" ".join)
def path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture
def shown(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("OUTBOX_URL", "sqlite:///x.db")
    assert call([*path, "--help"]) == 0
    return capsys.readouterr().out


def test_all_commands_are_found() -> None:
    assert len(COMMANDS) == 19
    assert set(GROUPS) == {(), ("outbox",), ("topics",), ("dlq",)}


def test_list_gives_each_command_one_line(path: tuple[str, ...], shown: str) -> None:
    listed = re.findall(r"^│ ([a-z][a-z-]*) +(\S.*?) *│$", shown.partition("Commands")[2], re.MULTILINE)
    names = [other[-1] for other in COMMANDS if other and other[:-1] == path]

    assert sorted(name for name, _ in listed) == sorted(names)
    assert all(text.endswith(".") for _, text in listed)


def test_help_is_plain_english_without_noise(shown: str) -> None:
    assert BANNED.findall(" ".join(shown.replace("│", " ").split())) == []


def test_help_fits_into_80_columns(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


def test_help_has_the_exit_codes(shown: str) -> None:
    assert "\nExit codes: 0 " in shown


def test_option_has_one_text_in_all_commands() -> None:
    texts: dict[str, set[str]] = {}
    for path in COMMANDS:
        if path not in GROUPS:
            found = app
            for word in path:
                found = found[word]
            for argument in found.assemble_argument_collection(parse_docstring=True):
                if argument.show and argument.names[0].startswith("--"):
                    texts.setdefault(argument.names[0], set()).add(argument.parameter.help or "")

    assert {name for name, found in texts.items() if len(found) > 1} == TWO_MEANINGS
    assert not {name for name, found in texts.items() if "" in found}
