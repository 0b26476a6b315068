# SPDX-License-Identifier: Apache-2.0
"""Signing and verifying v2 messages (spec octo §5).

``Argon2id(sha1_hex(exact unsigned bytes) + "|" + access key)`` with 16 bytes of printable salt, written as a
PHC string at the end of the method value. One access key signs both ways.

The ordinary argon2 API starts one thread for each of the eight lanes and pass: 19 to 37 ms a hash. The same
digest on one thread takes 0.5 ms, so this calls the library's low-level entry with ``threads=1``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable

from argon2.low_level import Type, core, ffi

from towline.protocols.octo.envelope import AUTHORIZATION, decode_tree, locate_method, split_authorization
from towline.protocols.octo.errors import OctoError, Reason

VERSION = 19
MEMORY_KIB = 64
TIME_COST = 16
LANES = 8
HASH_BYTES = 16

_PREFIX = "$argon2id$v=19$m=64,t=16,p=8$"
_PHC = re.compile(r"\$argon2id\$v=19\$m=64,t=16,p=8\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{22})")


def make_salt(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """A fresh salt: 96 random bits as 16 printable ASCII characters."""
    return base64.urlsafe_b64encode(random_bytes(12))


def authorization(unsigned: bytes, key: str, salt: bytes) -> str:
    """The argon2 string for the exact bytes of a message without its authorization; takes about 0.5 ms."""
    digest = _argon2id(hashlib.sha1(unsigned, usedforsecurity=False).hexdigest(), key, salt)
    return f"{_PREFIX}{_b64(salt)}${_b64(digest)}"


def sign(text: bytes, key: str, salt: bytes) -> bytes:
    """``text`` with ``?authorization=…`` added at the end of its top-level method value.

    Every other byte stays as it is. Sign last: any change afterwards breaks the signature.

    :raises OctoError: ``parse``, ``envelope``; ``signature`` when it is signed already
    """
    decode_tree(text)
    start, end = locate_method(text)
    if AUTHORIZATION in text[start:end]:
        raise OctoError(Reason.SIGNATURE, "the message is signed already", where="$.method")
    return text[:end] + AUTHORIZATION + authorization(text, key, salt).encode() + text[end:]


def check(unsigned: bytes, signature: str | None, key: str) -> bytes:
    """Check a message's authorization; returns its salt and hash, which identify it for replay memory.

    The cost parameters, both lengths and the canonical base64 form are pinned: they come from the sender,
    and a second spelling of one authorization would slip past the replay memory.

    :raises OctoError: ``signature``, with what is wrong with it
    """
    if signature is None:
        raise OctoError(Reason.SIGNATURE, "sign error: the method carries no ?authorization=", where="$.method")
    match = _PHC.fullmatch(signature)
    if match is None:
        raise OctoError(
            Reason.SIGNATURE,
            f"sign error: authorization must be {_PREFIX}<salt>$<hash>, 16 bytes each in unpadded base64",
            where="$.method",
        )
    salt, expected = _unb64(match[1]), _unb64(match[2])
    digest = _argon2id(hashlib.sha1(unsigned, usedforsecurity=False).hexdigest(), key, salt)
    if not hmac.compare_digest(digest, expected):
        raise OctoError(
            Reason.SIGNATURE,
            "sign error: the signature does not match these bytes and this plugin's access key",
            where="$.method",
        )
    return salt + expected


def verify(text: bytes, key: str) -> None:
    """Check the signature of one whole frame.

    :raises OctoError: ``parse``, ``envelope``, ``signature``
    """
    if not isinstance(decode_tree(text), dict):
        raise OctoError(Reason.ENVELOPE, "a message is a JSON object", where="$")
    unsigned, signature = split_authorization(text)
    check(unsigned, signature, key)


def _argon2id(digest: str, key: str, salt: bytes) -> bytes:
    secret = f"{digest}|{key}".encode()
    out = ffi.new("uint8_t[]", HASH_BYTES)
    # Both buffers must outlive the call; the context holds only pointers to them.
    password, salt_buffer = ffi.new("uint8_t[]", secret), ffi.new("uint8_t[]", salt)
    context = ffi.new(
        "argon2_context *",
        {
            "version": VERSION,
            "out": out,
            "outlen": HASH_BYTES,
            "pwd": password,
            "pwdlen": len(secret),
            "salt": salt_buffer,
            "saltlen": len(salt),
            "secret": ffi.NULL,
            "secretlen": 0,
            "ad": ffi.NULL,
            "adlen": 0,
            "t_cost": TIME_COST,
            "m_cost": MEMORY_KIB,
            "lanes": LANES,
            "threads": 1,
            "allocate_cbk": ffi.NULL,
            "free_cbk": ffi.NULL,
            "flags": 0,
        },
    )
    code = core(context, Type.ID.value)
    if code != 0:  # only a salt under 8 bytes or no memory can lead here
        raise OctoError(Reason.SIGNATURE, f"argon2 failed with code {code}")
    return bytes(ffi.buffer(out, HASH_BYTES))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    try:
        data = base64.b64decode(f"{text}==", validate=True)
    except binascii.Error as exc:  # 22 characters of the alphabet always decode; kept for safety
        raise OctoError(Reason.SIGNATURE, f"sign error: bad base64: {exc}", where="$.method") from None
    if _b64(data) != text:
        raise OctoError(Reason.SIGNATURE, "sign error: base64 is not in its canonical form", where="$.method")
    return data
