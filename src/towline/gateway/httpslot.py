# SPDX-License-Identifier: Apache-2.0
"""Places of answers in the order of their requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from towline.gateway.httpwire import Answer
    from towline.gateway.pushapi import PushProtocol


class Slot:
    """The place of one answer in the order of the requests."""

    __slots__ = ("answer", "protocol")

    def __init__(self, protocol: PushProtocol) -> None:
        self.protocol = protocol
        self.answer: Answer | None = None

    def __call__(self, answer: Answer) -> None:
        if self.answer is None:
            self.answer = answer
            if answer.status >= 400:
                self.protocol.refused(answer.status)
            self.protocol.answered()


class HeadSlot(Slot):
    """The same for HEAD, whose answers have no body: one would be read as the next answer."""

    def __call__(self, answer: Answer) -> None:
        super().__call__(answer.without_body())
