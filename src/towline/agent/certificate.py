# SPDX-License-Identifier: Apache-2.0
"""The certificate of the plugin port: ECDSA P-256, made on the device for ``localhost``, 127.0.0.1 and ::1.

Plugins do not check it, and a device without a clock must not refuse it, so it is valid for long. Its key is 0600.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from towline.agent.files import write_private
from towline.errors import StartError

CERTIFICATE_FILE = "plugin-port.pem"
_YEARS = 20


def server_context(data: Path) -> ssl.SSLContext:
    """TLS ≥ 1.2 with the device's certificate, which is made at the first start. StartError ``agent.certificate``."""
    path = data / CERTIFICATE_FILE
    if not path.exists():
        write_private(path, _make())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0
    try:
        context.load_cert_chain(path)
    except (OSError, ssl.SSLError):
        write_private(path, _make())  # cut short or damaged: nobody pins it
        try:
            context.load_cert_chain(path)
        except (OSError, ssl.SSLError) as error:
            raise StartError(
                "agent.certificate", f"cannot use the plugin port's certificate: {error}", where=str(path)
            ) from None
    return context


def _make() -> bytes:
    # These imports cost a device 2 MB and are needed once.
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * (_YEARS + 10)))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
