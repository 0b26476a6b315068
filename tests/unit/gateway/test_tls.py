# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.certificates import write_pair
from towline.errors import StartError
from towline.gateway.tls import Certificates, server_context


def encrypt(key: Path) -> None:
    loaded = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    os.utime(key, ns=(1, 1))


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    encrypt(key)
    with pytest.raises(StartError, match="is encrypted") as caught:
        server_context(str(certificate), str(key), "gateway.certificate")
    assert str(key) in str(caught.value)


def test_the_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    key.unlink()
    with pytest.raises(StartError, match=f"cannot read {key}: No such file"):
        server_context(str(certificate), str(key), "gateway.certificate")


def test_only_what_changed_is_renewed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    held = Certificates()
    pairs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pairs.append(write_pair(tmp_path / name))
    for certificate, key in (*pairs, pairs[0]):
        held.hold(server_context(str(certificate), str(key), "x"), str(certificate), str(key))
    held.renew()
    assert caplog.messages == []
    write_pair(tmp_path / "a")
    os.utime(pairs[0][0], ns=(1, 1))
    held.renew()
    assert caplog.messages == ["the renewed certificate is in use"]
    encrypt(pairs[1][1])
    held.renew()
    assert "is encrypted" in caplog.messages[-1]
    held.renew()
    assert len(caplog.messages) == 2
