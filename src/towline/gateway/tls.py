# SPDX-License-Identifier: Apache-2.0
"""TLS for a node's ports."""

from __future__ import annotations

import logging
import os
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
    for path in (certificate, key):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise StartError("gateway.tls_files", f"cannot read {path}: {error.strerror}", where=where) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _load(context, certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            "gateway.tls_files", f"cannot use the certificate {certificate} with the key {key}: {error}", where=where
        ) from None
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def encrypted() -> str:
        # OpenSSL would ask at the terminal, and the node would stand still.
        raise StartError("gateway.tls_files", f"the key {key} is encrypted", hint="write it without a passphrase")

    context.load_cert_chain(certificate, key, password=encrypted)


class Certificates:
    """The contexts of a node's ports with the files they were made from, to be loaded again when these are renewed."""

    def __init__(self) -> None:
        self._held: list[tuple[ssl.SSLContext, str, str]] = []
        self._seen: dict[str, tuple[int, int]] = {}

    def hold(self, context: ssl.SSLContext | None, certificate: str | None, key: str | None) -> None:
        """Remember a context; None is nothing to remember."""
        if context is not None and certificate and key:
            self._held.append((context, certificate, key))
            self._changed({certificate, key})

    def files(self) -> list[str]:
        """What to look at."""
        return sorted({file for _, certificate, key in self._held for file in (certificate, key)})

    def renew(self) -> None:
        """Use what the files hold now, for connections from now on. What is of no use leaves the old one in place: a
        certificate and its key may be written one after the other."""
        changed = self._changed(set(self.files()))
        told = set()
        for context, certificate, key in self._held:
            if certificate not in changed and key not in changed:
                continue
            try:
                server_context(certificate, key, certificate)  # loading half of a pair would break the context
                _load(context, certificate, key)
            except (StartError, OSError, ssl.SSLError) as error:
                if (certificate, key) not in told:
                    log.error("the renewed certificate is not used: %s", error)
            else:
                if (certificate, key) not in told:
                    log.info("the renewed certificate is in use", extra={"certificate": certificate})
            told.add((certificate, key))

    def _changed(self, files: set[str]) -> set[str]:
        """Those of ``files`` that are not what they were at the last look."""
        now: dict[str, tuple[int, int]] = {}
        for file in files:
            try:
                stat = os.stat(file)
            except OSError:
                continue  # being written
            now[file] = (stat.st_mtime_ns, stat.st_size)
        changed = {file for file, stamp in now.items() if self._seen.get(file) != stamp}
        self._seen |= now
        return changed
