# SPDX-License-Identifier: Apache-2.0
"""Bytes of HTTP answers."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_JSON = b"application/json; charset=utf-8"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: " + _JSON + b"\r\nContent-Length: %d\r\n\r\n%b"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CLOSE = (b"Connection", b"close")


class Answer:
    """One HTTP answer. Most are 200 with a small JSON body and no further headers."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        status: int = 200,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        content_type: bytes = _JSON,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = headers
        self.content_type = content_type

    def encoded(self) -> bytes:
        """The answer, the connection staying open."""
        if self.status == 200 and not self.headers and self.content_type is _JSON:
            return _OK % (len(self.body), self.body)
        return self._write(self.headers)

    def closing(self) -> bytes:
        """The answer, saying that the connection closes."""
        return self._write((*self.headers, _CLOSE))

    def without_body(self) -> Answer:
        """The answer to HEAD: the same head, which still says how long the body would be."""
        return _HeadAnswer(self.body, self.status, self.headers, self.content_type)

    def _write(self, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
        head = [b"HTTP/1.1 %d %b" % (self.status, _REASONS.get(self.status, b"Unknown"))]
        if self.status not in (204, 304):
            head.append(b"Content-Type: " + self.content_type)
            head.append(b"Content-Length: %d" % len(self.body))
        head.extend(name + b": " + value for name, value in headers)
        return b"\r\n".join(head) + b"\r\n\r\n" + self.body


class _HeadAnswer(Answer):
    __slots__ = ()

    def encoded(self) -> bytes:
        return self._write(self.headers)

    def _write(self, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
        whole = super()._write(headers)
        return whole[: len(whole) - len(self.body)]


def plain_error(status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """``{"error":{"code","message"}}``, for what is refused before the API's own envelope begins."""
    if status == 401:
        headers = (*headers, (b"WWW-Authenticate", b'Basic realm="connmix"'))
    return Answer(msgspec.json.encode({"error": {"code": code, "message": message}}), status, headers)
