"""Topic → payload class, for topics that are named by a string.

A class is known once its module is imported. A package that declares events can name its module in the entry point
group ``eventzr_kafka.events``; it is imported the first time that a topic is looked up in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec

from eventzr_kafka.events.event_data import EventData, declared_events
from eventzr_kafka.safe_text import printable

__all__ = ["MARKETPLACE_EVENTS", "describe_undeclared", "install_hint", "known_events", "lookup", "suggest"]

_NEARLY = 0.8
_GROUP = "eventzr_kafka.events"
_PLATFORM = "eventzr."  # begins the topics of the platform, whose classes are a distribution of their own
MARKETPLACE_EVENTS = "eventzr_marketplace_events"


@cache
def _load_installed_packages() -> None:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- 20 ms, and seldom needed

    for entry_point in entry_points(group=_GROUP):
        entry_point.load()


def lookup(topic: str) -> type[EventData] | None:
    """The payload class declared for a topic, or None."""
    if topic not in declared_events():
        _load_installed_packages()
    return declared_events().get(topic)


def known_events() -> Mapping[str, type[EventData]]:
    """Every declared payload class by topic, those of the installed packages too."""
    _load_installed_packages()
    return declared_events()


def suggest(topic: str) -> str | None:
    """The declared topic that this one misspells, or None; a declared topic misspells none.

    One word is nearly the declared one, or a word is missing. Another version or another verb means another topic.
    """
    declared = declared_events()
    if topic in declared:
        return None
    return next((known for known in declared if _is_misspelling(topic, known)), None)


def describe_undeclared(topic: str, otherwise: str) -> str:
    """The fault of a topic that no class declares, with the declared topic that it resembles.

    Args:
        otherwise: Hint for a topic that resembles none.
    """
    near = suggest(topic)
    if near is not None:
        hint = f"did you mean {near!r}?"
    elif topic.startswith(_PLATFORM) and find_spec(MARKETPLACE_EVENTS) is None:
        hint = install_hint()
    else:
        hint = otherwise
    return f"topic {printable(topic)!r} is declared nowhere; {hint}"


def install_hint() -> str:
    """The way to the events of the marketplace, which the extra `cli` does not bring."""
    return (
        "the events of the marketplace are not installed: pip install eventzr-marketplace-events "
        "(from a checkout: ./marketplace-events)"
    )


def _is_misspelling(topic: str, known: str) -> bool:
    from difflib import SequenceMatcher  # noqa: PLC0415 -- 1 ms, for an error alone

    words, right = topic.strip().split("."), known.split(".")
    if words == right:
        return True
    if len(words) != len(right):
        missing = [right[:at] + right[at + 1 :] for at in range(len(right))]
        return words in missing
    different = [(word, wanted) for word, wanted in zip(words, right, strict=True) if word != wanted]
    return len(different) == 1 and all(
        not wanted[1:].isdigit() and SequenceMatcher(None, word, wanted).ratio() >= _NEARLY
        for word, wanted in different
    )
