# SPDX-License-Identifier: Apache-2.0
"""Blocks of records from a damaged disk."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from towline.store import codec


def fuzz_one(data: bytes) -> None:
    """Only CodecError may come out, also of blocks whose outside is sound."""
    for block in (data, b"\x01" + data, b"\x02" + zlib.compress(data)):
        try:
            codec.decode(block)
        except codec.CodecError:  # the one way to say so
            pass
        try:
            for column in codec.columns(block, {0, 1, 2, 3}):
                for i in range(len(column.times)):
                    column.at(i)
        except codec.CodecError:
            pass


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_a_damaged_block_is_told(data: bytes) -> None:
    fuzz_one(data)
