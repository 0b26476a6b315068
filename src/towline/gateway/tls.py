# SPDX-License-Identifier: Apache-2.0
"""TLS for a node's ports."""

from __future__ import annotations

import logging
import ssl

from towline.errors import StartError
from towline.gateway.portsettings import PortSettings

log = logging.getLogger("towline.gateway")


def tls_context(settings: PortSettings) -> ssl.SSLContext | None:
    """TLS for a client port as set, None without; StartError when the files are of no use."""
    return server_context(settings.certificate, settings.key, f"{settings.where}.certificate")


def server_context(certificate: str | None, key: str | None, where: str) -> ssl.SSLContext | None:
    """TLS with this certificate, None without one. ``where`` is the setting that holds it."""
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise StartError("gateway.tls_incomplete", "certificate and key are needed together", where=where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise StartError("gateway.tls_files", f"cannot use the certificate or its key: {error}", where=where) from None
    return context


class Certificates:
    """The contexts of a node's ports with the files they were made from, to be loaded again when these are renewed."""

    def __init__(self) -> None:
        self._held: list[tuple[ssl.SSLContext, str, str]] = []

    def hold(self, context: ssl.SSLContext | None, certificate: str | None, key: str | None) -> None:
        """Remember a context; None is nothing to remember."""
        if context is not None and certificate and key:
            self._held.append((context, certificate, key))

    def files(self) -> list[str]:
        """What to look at."""
        return sorted({file for _, certificate, key in self._held for file in (certificate, key)})

    def renew(self) -> None:
        """Use what the files hold now, for connections from now on. What is of no use leaves the old one in place: a
        certificate and its key may be written one after the other."""
        for context, certificate, key in self._held:
            try:
                server_context(certificate, key, certificate)  # loading half of a pair would break the context
                context.load_cert_chain(certificate, key)
            except (StartError, OSError, ssl.SSLError) as error:
                log.error("the renewed certificate is not used: %s", error)
            else:
                log.info("the renewed certificate is in use", extra={"certificate": certificate})
