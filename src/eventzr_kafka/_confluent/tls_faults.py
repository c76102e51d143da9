"""Reasons why TLS between a client and a broker fails, in words.

librdkafka reports one text for a certificate that has expired, is another host's, or is signed by an unknown authority;
and a client without TLS only learns that a broker with TLS hangs up. So these functions shake hands themselves.

1. They send one request, for the versions of the API, and no login: with TLS 1.3 a broker refuses a client without a
   certificate only after the handshake.
2. They block for seconds where a broker is silent: call them in a thread, or where an error is reported anyway.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from confluent_kafka import KafkaError

from eventzr_kafka.errors import EventzrKafkaError
from eventzr_kafka.settings import KafkaSettings

__all__ = ["TlsFaultError", "find_tls_fault", "may_be_tls", "shake_hands", "speaks_tls"]

_SECONDS = 3.0
_API_VERSIONS = bytes([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 255, 255])  # length, key, version, correlation, no client
_NOT_YET_VALID, _EXPIRED, _OTHER_HOSTS = 9, 10, {62, 64}  # OpenSSL's X509_V_ERR_…
_UNREADABLE = frozenset({"ssl.keystore.location", "ssl.certificate.pem", "ssl.key.pem"})
_CLOCK = "set the clock of this machine by NTP"


class TlsFaultError(EventzrKafkaError):
    """TLS with a broker fails for a known reason.

    Attributes:
        problem: The reason.
        hint: What to do.
    """

    def __init__(self, problem: str, hint: str) -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}; {hint}")


def may_be_tls(error: KafkaError) -> bool:
    """Return True for a client error that TLS may have caused: a lost connection."""
    return error.code() in {KafkaError._SSL, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}


def find_tls_fault(settings: KafkaSettings) -> str | None:
    """Describe what is wrong with TLS, and what to do; None if no broker of the settings shows a known reason."""
    for address in (broker.strip() for broker in settings.brokers.split(",")):
        try:
            if settings.uses_tls:
                shake_hands(address, settings)
            elif speaks_tls(address):
                hint = "set KAFKA_TLS=true, or take another port"
                return f"{address}: the broker speaks TLS on this port, and this client does not; {hint}"
        except TlsFaultError as fault:
            return f"TLS with {address}: {fault}"
        except (OSError, ValueError):  # the broker cannot be reached; or Python cannot read the client's certificates
            continue
    return None


def shake_hands(address: str, settings: KafkaSettings) -> str:
    """Shake hands with a ``host:port`` as a client would.

    Returns:
        The version of TLS, and the end of the certificate's validity.

    Raises:
        TlsFaultError: The reason is known.
        OSError: The broker cannot be reached, or breaks the connection for another reason.
    """
    context = _context(settings)
    host, _ = _split(address)
    try:
        with _connect(address) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            if not _has_unreadable_certificate(settings):  # the broker might refuse the probe alone
                _ask(secure)
            certificate = secure.getpeercert() or {}
            return f"{secure.version()}, certificate valid until {certificate.get('notAfter')}"
    except ssl.SSLCertVerificationError as error:
        raise _certificate_fault(error, settings) from error
    except (ssl.SSLError, ConnectionError) as error:
        fault = _client_fault(error, settings) or _plain_fault(address)
        if fault is None:
            raise
        raise fault from error


def speaks_tls(address: str) -> bool:
    """Return True if a ``host:port`` speaks TLS, whatever its certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no data is sent
    try:
        with _connect(address) as plain, context.wrap_socket(plain):
            return True
    except (OSError, UnicodeError):
        return False


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    """Trust what the client trusts, and show its certificate, as far as Python can read it."""
    given = settings.librdkafka
    authority = Path(settings.ca_file or str(given.get("ssl.ca.location") or "probe"))  # for the system's
    context = ssl.create_default_context(
        cafile=authority if authority.is_file() else None,
        capath=authority if authority.is_dir() else None,
        cadata=str(given["ssl.ca.pem"]) if given.get("ssl.ca.pem") else None,
    )
    if given.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if str(given.get("enable.ssl.certificate.verification", True)).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = given.get("ssl.certificate.location")
    if certificate and not _has_unreadable_certificate(settings):
        key, password = given.get("ssl.key.location"), given.get("ssl.key.password", "")
        context.load_cert_chain(str(certificate), None if key is None else str(key), str(password))
    return context


def _has_unreadable_certificate(settings: KafkaSettings) -> bool:
    """Return True if the client shows a certificate that Python cannot: from a keystore, or from memory."""
    return not _UNREADABLE.isdisjoint(settings.librdkafka)


def _connect(address: str) -> socket.socket:
    return socket.create_connection(_split(address), _SECONDS)


def _ask(connection: socket.socket) -> None:
    """Send a request, and wait for the first byte of the answer, or for the broker's alert."""
    try:
        connection.sendall(_API_VERSIONS)
        connection.recv(1)
    except TimeoutError:  # a broker that is slow to answer has shaken hands
        return


def _certificate_fault(error: ssl.SSLCertVerificationError, settings: KafkaSettings) -> TlsFaultError:
    if error.verify_code == _EXPIRED:
        return TlsFaultError("the broker's certificate has expired", f"renew the certificate; if it is valid, {_CLOCK}")
    if error.verify_code == _NOT_YET_VALID:
        hint = f"{_CLOCK}; if it is right, wait until the certificate is valid"
        return TlsFaultError("the broker's certificate is not yet valid", hint)
    if error.verify_code in _OTHER_HOSTS:
        problem = f"the broker's certificate is another host's: {error.verify_message.rstrip('.')}"
        return TlsFaultError(problem, "name the broker in KAFKA_BROKERS as its certificate does")
    which = "this machine trusts" if settings.ca_file is None else "KAFKA_CA_FILE holds"
    problem = f"no authority that {which} has signed the broker's certificate ({error.verify_message})"
    return TlsFaultError(problem, "set KAFKA_CA_FILE to the certificate of the authority that signed it")


def _client_fault(error: OSError, settings: KafkaSettings) -> TlsFaultError | None:
    """Return the fault if the broker has sent an alert about the client's certificate."""
    reason = str(getattr(error, "reason", ""))
    if "ALERT" not in reason or "CERTIFICATE" not in reason or _has_unreadable_certificate(settings):
        return None
    if "ssl.certificate.location" in settings.librdkafka:
        problem = "the broker refuses this client's certificate"
        return TlsFaultError(problem, "take one whose authority the broker trusts, and which has not expired")
    hint = "set ssl.keystore.location, or ssl.certificate.location and ssl.key.location, in KafkaSettings(librdkafka=…)"
    return TlsFaultError("the broker wants a certificate of the client, and there is none", hint)


def _plain_fault(address: str) -> TlsFaultError | None:
    """Return the fault if the broker answers without TLS."""
    try:
        with _connect(address) as plain:
            plain.sendall(_API_VERSIONS)
            answers = plain.recv(1) == b"\0"  # of a length below 16 MiB; an alert of TLS begins with 21
    except OSError:
        return None
    if not answers:
        return None
    return TlsFaultError("the broker does not speak TLS on this port", "set KAFKA_TLS=false, or take another port")


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
