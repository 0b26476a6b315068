# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from towline.gateway.frames import close_frame, data_frame, pong_frame


def parse(data: bytes) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=False, max_size=None, extensions=None)
    try:
        next(parser)
    except StopIteration as done:
        frame: Frame = done.value
        return frame
    raise AssertionError("the frame is not whole")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_data_frames(size: int) -> None:
    payload = b"x" * size
    for binary, opcode in ((False, Opcode.TEXT), (True, Opcode.BINARY)):
        frame = parse(data_frame(payload, binary))
        assert (frame.opcode, frame.data, frame.fin) == (opcode, payload, True)


def test_control_frames() -> None:
    assert parse(pong_frame(b"hi")).data == b"hi"
    closing = Close.parse(parse(close_frame(3001, "too slow")).data)
    assert (closing.code, closing.reason) == (3001, "too slow")
    long = parse(close_frame(3000, "é" * 100))
    assert len(long.data) <= 125
    assert Close.parse(long.data).reason == "é" * 61
