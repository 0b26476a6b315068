# SPDX-License-Identifier: Apache-2.0
"""TLS for client ports."""

from __future__ import annotations

import ssl

from towline.errors import StartError
from towline.gateway.portsettings import PortSettings


def tls_context(settings: PortSettings) -> ssl.SSLContext | None:
    """TLS for a client port as set, None without; StartError when the files are of no use."""
    where = f"{settings.where}.certificate"
    if not settings.certificate and not settings.key:
        return None
    if not settings.certificate or not settings.key:
        raise StartError("gateway.tls_incomplete", "certificate and key are needed together", where=where)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise StartError("gateway.tls_files", f"cannot use the certificate or its key: {error}", where=where) from None
    return context
