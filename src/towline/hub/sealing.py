# SPDX-License-Identifier: Apache-2.0
"""Secrets at rest: AES-256-GCM under keys derived from the data directory's ``secret.key``."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from towline.errors import StartError
from towline.ids import RandomBytes

SECRET_BYTES = 32
_VERSION = b"\x01"
_NONCE = 12


class Sealer:
    """Encrypts and decrypts small secrets; each is bound to a ``purpose`` and opens only under the same one."""

    def __init__(self, secret: bytes, random: RandomBytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise StartError("secret.length", f"the secret key has {len(secret)} bytes; it must have {SECRET_BYTES}")
        self._secret = secret
        self._random = random
        self._cipher = AESGCM(self.derive("towline-seal-v1"))

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF-SHA256), such as the signing key of tokens."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(self._secret)

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """Version byte, nonce, ciphertext with tag."""
        nonce = self._random(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """The inverse of :meth:`seal`. StartError ``secret.wrong`` when the key or purpose is another."""
        if sealed[:1] != _VERSION:
            raise StartError("secret.wrong", f"the stored secret {purpose} has an unknown form")
        try:
            return self._cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], purpose.encode())
        except InvalidTag:
            raise StartError(
                "secret.wrong",
                f"the stored secret {purpose} was not written under this secret.key",
                hint="put back the secret.key that belongs to this database",
            ) from None
