# SPDX-License-Identifier: Apache-2.0
"""How the link is secured: the system's authorities, or the one that the enrolment line names. No plaintext
off loopback.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from towline.errors import Refused, Unavailable

_FETCH_S = 10.0


def is_loopback(url: str) -> bool:
    """Whether the address stays on this machine: ``localhost``, 127.0.0.0/8, ``::1``."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_context(url: str, ca_pem: str) -> ssl.SSLContext | None:
    """The TLS settings for dialling ``url``; None for plaintext, which only loopback may have.

    Refused ``link.plaintext`` for ``ws://`` to another machine.
    """
    if urlsplit(url).scheme == "ws":
        if not is_loopback(url):
            raise Refused(
                "link.plaintext",
                f"{url} is not encrypted and leaves this machine",
                hint="use wss://; plain ws:// works on loopback only",
            )
        return None
    context = ssl.create_default_context(cadata=ca_pem or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


async def fetch_authority(url: str, fingerprint: bytes) -> str:
    """The certificate (PEM) of the chain that the server shows whose SHA-256 is ``fingerprint``.

    Nothing is sent; the certificate is then what the chain is checked against. Refused ``link.certificate`` if the
    server shows no such certificate, Unavailable ``link.unreachable`` if it cannot be reached.
    """
    return await asyncio.to_thread(_fetch, url, fingerprint)


def _fetch(url: str, fingerprint: bytes) -> str:
    split = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((split.hostname or "", split.port or 443), timeout=_FETCH_S) as plain,
            context.wrap_socket(plain, server_hostname=split.hostname) as secure,
        ):
            chain = _chain(secure)
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be looked up
        raise Unavailable("link.unreachable", f"cannot reach {split.netloc}: {error}") from None
    for certificate in chain:
        if hmac.compare_digest(hashlib.sha256(certificate).digest(), fingerprint):
            return ssl.DER_cert_to_PEM_cert(certificate)
    raise Refused(
        "link.certificate",
        f"{split.netloc} shows no certificate with the fingerprint of the enrolment line",
        hint="copy the whole line again; if it still fails, something stands between you and the hub",
    )


def _chain(secure: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the server sent, DER. Public from Python 3.13 on; the same call before."""
    raw: Any = secure
    if hasattr(raw, "get_unverified_chain"):
        return list(raw.get_unverified_chain())
    chain = raw._sslobj.get_unverified_chain() or []
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]
