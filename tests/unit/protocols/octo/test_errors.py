# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from towline.protocols.octo.errors import MAX_MESSAGE_CHARS, Code, ErrorReply, OctoError, Reason


def test_the_reply_has_a_string_code_and_a_null_id() -> None:
    reply = ErrorReply.of(OctoError(Reason.SCHEMA, "is required", where="$.params.epoch"))
    assert reply.encode() == (
        '{"jsonrpc":"2.0","error":{"code":"-326000","message":"$.params.epoch: is required"},"id":null}'
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_codes_by_reason(reason: Reason) -> None:
    expected = {
        Reason.OFFLINE: Code.OFFLINE,
        Reason.PARSE: Code.PARSE_ERROR,
        Reason.BINARY: Code.PARSE_ERROR,
    }.get(reason, Code.INVALID_REQUEST)
    error = OctoError(reason, "x")
    assert ErrorReply.of(error).code is expected
    assert error.code == f"octo.{reason}"


def test_long_messages_are_cut() -> None:
    message = json.loads(ErrorReply.offline("é" * 10_000).encode())["error"]["message"]
    assert len(message) == MAX_MESSAGE_CHARS
    assert message.endswith("…")
