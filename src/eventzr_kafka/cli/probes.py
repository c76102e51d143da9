"""Probes of the network between here and a broker, without a Kafka client; each ends within its time-out."""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from eventzr_kafka._confluent.tls_faults import TlsFaultError
from eventzr_kafka.clock import SYSTEM_CLOCK
from eventzr_kafka.safe_text import error_location

__all__ = [
    "FAULTS",
    "aws_clock_skew",
    "call_within",
    "probe_each",
    "resolve_host",
    "time_connection",
]

FAULTS = (OSError, UnicodeError, http.client.HTTPException, TlsFaultError)  # errors of the network
ResultT = TypeVar("ResultT")
_SECONDS = 3.0


def call_within(action: Callable[[], ResultT], seconds: float = _SECONDS) -> ResultT:
    """Run an action that has no time-out of its own, and give it up after some seconds.

    Raises:
        TimeoutError: The action takes longer. Its thread is left behind; it does not keep the process alive.
    """
    done: queue.SimpleQueue[tuple[ResultT | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((action(), None))
        except Exception as error:  # noqa: BLE001 -- raised again below
            done.put((None, error))

    threading.Thread(target=run, name="eventzr-kafka probe", daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where ResultT has it


def probe_each(probe: Callable[[str], str], addresses: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Probe all addresses at once.

    Returns:
        Two dictionaries by address: the results, and the reasons where the probe failed.
    """
    good: dict[str, str] = {}
    bad: dict[str, str] = {}

    def run(address: str) -> None:
        try:
            good[address] = call_within(lambda: probe(address))
        except FAULTS as error:
            bad[address] = _reason(error)

    threads = [threading.Thread(target=run, args=(address,), daemon=True) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(sorted(good.items())), dict(sorted(bad.items()))


def resolve_host(address: str) -> str:
    """The IP addresses behind a ``host:port``."""
    host, port = _split(address)
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return "→ " + ", ".join(sorted(found))


def time_connection(address: str) -> str:
    """The time that a connection to a ``host:port`` takes, in words."""
    begin = SYSTEM_CLOCK.monotonic()
    with socket.create_connection(_split(address), _SECONDS):
        return f"in {(SYSTEM_CLOCK.monotonic() - begin) * 1000:.0f} ms"


def aws_clock_skew(region: str) -> float:
    """Seconds that the clock of this machine is ahead of AWS's."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    connection = http.client.HTTPSConnection(f"sts.{region}.{suffix}", timeout=_SECONDS)
    try:
        connection.request("HEAD", "/")
        date = connection.getresponse().headers["Date"]
    finally:
        connection.close()
    return SYSTEM_CLOCK.wall() - parsedate_to_datetime(date).timestamp()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):  # raised by the codec of host names
        return "is not a host name: a part between two dots is empty or longer than 63 characters"
    if isinstance(error, TlsFaultError):
        return error.problem
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return getattr(error, "strerror", None) or str(error) or error_location(error)
