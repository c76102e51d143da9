"""Spellings of a service's name in the CloudEvents attribute ``source``.

The platform's guide names one service a topic, and writes it as ``wallet-svc``. CloudEvents 1.0.2 wants a
URI-reference, and its own examples are paths and URNs; a neighbour may write its name as one of those.
"""

from __future__ import annotations

__all__ = ["spellings_of"]

_FORMS = ("{0}", "/{0}", "//{0}", "eventzr/{0}", "/eventzr/{0}", "urn:eventzr:{0}")


def spellings_of(service: str) -> frozenset[str]:
    """The values of ``source`` that mean a service, such as ``wallet-svc`` and ``/wallet-svc``."""
    return frozenset(form.format(service) for form in _FORMS)
