# SPDX-License-Identifier: Apache-2.0
"""TLS for client ports."""

from __future__ import annotations

import ssl

from towline.errors import StartError
from towline.gateway.settings import GatewaySettings


def tls_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """TLS for client ports as set, None without; StartError when the files are of no use."""
    if not settings.certificate and not settings.key:
        return None
    if not settings.certificate or not settings.key:
        raise StartError(
            "gateway.tls_incomplete", "certificate and key are needed together", where="gateway.certificate"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            "gateway.tls_files", f"cannot use the certificate or its key: {error}", where="gateway.certificate"
        ) from None
    return context
