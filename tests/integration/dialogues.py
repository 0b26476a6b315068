# SPDX-License-Identifier: Apache-2.0
"""Requests of the connmix API with what answers them (tests/integration/test_connmix_api.py plays them).

``CLIENT`` stands for the id of a connected client, ``NOWHERE`` for one that is not.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.integration.wrong.wire import BINARY, TEXT

SENT: list[tuple[str, int, bytes]] = [
    ('{"c":"CLIENT","d":"hi","t":"text"}', TEXT, b"hi"),
    ('{"c":"CLIENT","d":"hi"}', TEXT, b"hi"),
    ('{"c":CLIENT,"d":"hi"}', TEXT, b"hi"),
    ('{"c":"CLIENT","d":"AAEC/w==","t":"binary"}', BINARY, b"\x00\x01\x02\xff"),
    ('{"c":"CLIENT","d":"","t":"text"}', TEXT, b""),
    ('{"c":"CLIENT","d":"","t":"binary"}', BINARY, b""),
    ('{"c":"CLIENT","d":"é€😀"}', TEXT, "é€😀".encode()),
    ('{"c":"CLIENT","d":"\\u00e9\\ud83d\\ude00\\n\\u0000"}', TEXT, "é😀\n\0".encode()),
    ('{"c":"CLIENT","d":"{\\"a\\":1}"}', TEXT, b'{"a":1}'),
    (' { "t" : "text" , "d" : "order" , "c" : "CLIENT", "x": [1, {"y": null}] } \r\n', TEXT, b"order"),
]


WRONG = [
    "",
    "null",
    "5",
    '"text"',
    "[]",
    "{",
    '{"c":"x"}',
    '{"d":"x"}',
    "{}",
    '{"c":null,"d":"x"}',
    '{"c":true,"d":"x"}',
    '{"c":1.5,"d":"x"}',
    '{"c":["x"],"d":"x"}',
    '{"c":"x","d":null}',
    '{"c":"x","d":5}',
    '{"c":"x","d":{"a":1}}',
    '{"c":"x","d":"x","t":"json"}',
    '{"c":"x","d":"x","t":""}',
    '{"c":"x","d":"x","t":null}',
    '{"c":"x","d":"x","t":"TEXT"}',
    '{"c":"x","d":"?","t":"binary"}',
    '{"c":"x","d":"AAE","t":"binary"}',
    '{"c":"x","d":"AA==AA==","t":"binary"}',
    '{"c":"","d":"x"}',
    '[{"c":"x","d":"x"}]',
    '{"c":"x","d":"x"}{}',
    "{'c':'x','d':'x'}",
    "c=x&d=x",
    '{"c":"x","d":"' + "x" * 245761 + '"}',
]


class Route(NamedTuple):
    method: str
    path: str
    status: int
    allow: str = ""


ROUTES = [
    Route("GET", "/version", 200),
    Route("GET", "/v1/nodes", 200),
    Route("GET", "/metrics", 200),
    Route("GET", "/version?x=1", 200),
    Route("GET", "/", 404),
    Route("GET", "/v1", 404),
    Route("GET", "/v1/mesh", 404),
    Route("POST", "/v1/queue/pop", 404),
    Route("POST", "/v1/mesh/publish/", 404),
    Route("POST", "/v1/mesh/Send", 404),
    Route("POST", "/v1/conn/call", 404),
    Route("GET", "/ws/v2", 404),
    Route("GET", "/ws/v1", 426),
    Route("GET", "/v1/mesh/send", 405, "POST"),
    Route("PUT", "/v1/mesh/publish", 405, "POST"),
    Route("DELETE", "/v1/mesh/publish", 405, "POST"),
    Route("POST", "/version", 405, "GET"),
    Route("POST", "/v1/nodes", 405, "GET"),
    Route("POST", "/metrics", 405, "GET"),
    Route("PATCH", "/ws/v1", 405, "GET"),
    Route("HEAD", "/version", 200),
    Route("HEAD", "/metrics", 200),
    Route("HEAD", "/v1/mesh/send", 405, "POST"),
    Route("HEAD", "/nothing", 404),
]


ANSWERS: list[tuple[str, str]] = [
    ("ping", "pong"),
    ('{"m":"mesh.publish","p":{"c":"nobody","d":"x","t":"text"},"i":12345}', '{"E":null,"r":{"s":0,"f":0},"i":12345}'),
    ('{"m":"mesh.publish","p":{"c":"nobody","d":"x"},"i":0}', '{"E":null,"r":{"s":0,"f":0},"i":0}'),
    ('{"m":"mesh.publish","p":{"c":7,"d":"eA==","t":"binary"},"i":1}', '{"E":null,"r":{"s":0,"f":0},"i":1}'),
    ('{"i":1,"p":{"t":"text","d":"x","c":"nobody"},"m":"mesh.publish"}', '{"E":null,"r":{"s":0,"f":0},"i":1}'),
    (' {"m" : "mesh.publish",\n"p":{"c":"nobody","d":"x"}, "i" : 1 } ', '{"E":null,"r":{"s":0,"f":0},"i":1}'),
    ('{"m":"mesh.publish","p":[{"c":"nobody","d":"x"}],"i":1}', '{"E":null,"r":{"s":0,"f":0},"i":1}'),
    (
        '{"m":"mesh.publish","p":{"c":"nobody","d":"x","more":[1]},"i":1,"more":{}}',
        '{"E":null,"r":{"s":0,"f":0},"i":1}',
    ),
    ('{"m":"mesh.send","p":{"c":"CLIENT","d":"x","t":"text"},"i":2}', '{"E":null,"r":{"s":true},"i":2}'),
    ('{"m":"mesh.send","p":{"c":CLIENT,"d":"x"},"i":2}', '{"E":null,"r":{"s":true},"i":2}'),
    ('{"m":"mesh.send","p":[{"c":CLIENT,"d":"x"}],"i":2}', '{"E":null,"r":{"s":true},"i":2}'),
    ('{"m":"mesh.send","p":{"c":"CLIENT","d":"x","t":"text"},"id":12345}', '{"E":null,"r":{"s":true},"i":12345}'),
    (
        '{"m":"conn.call","p":{"c":"CLIENT","f":"set_context","a":[{"user_id":10000}]},"i":3}',
        '{"E":null,"r":{"s":true},"i":3}',
    ),
    (
        '{"m":"conn.call","p":{"c":CLIENT,"f":"set_context_value","a":["user_id",10000]},"i":3}',
        '{"E":null,"r":{"s":true},"i":3}',
    ),
    (
        '{"m":"conn.call","p":{"c":"CLIENT","f":"subscribe","a":["channel1","channel2"]},"i":3}',
        '{"E":null,"r":{"s":true},"i":3}',
    ),
    (
        '{"m":"conn.call","p":{"c":"CLIENT","f":"unsubscribe","a":["channel1","never"]},"i":3}',
        '{"E":null,"r":{"s":true},"i":3}',
    ),
    (
        '{"m":"conn.call","p":[{"c":"CLIENT","f":"subscribe","a":["channel1"]}],"i":3}',
        '{"E":null,"r":{"s":true},"i":3}',
    ),
]


ERRORS: list[tuple[str, int, str]] = [
    ("", 101, "null"),
    ("nonsense", 101, "null"),
    ("[]", 101, "null"),
    ("5", 101, "null"),
    ("null", 101, "null"),
    ('"ping"', 101, "null"),
    ("PING", 101, "null"),
    ("ping ", 101, "null"),
    ('{"m":"mesh.send","p":{}', 101, "null"),
    ('{"m":"mesh.send","p":{},"i":{}}', 101, "null"),
    ('{"m":"mesh.send","p":{},"i":[1]}', 101, "null"),
    ('[{"m":"mesh.publish","p":{"c":"x","d":"x"},"i":1}]', 101, "null"),
    ("{}", 101, "null"),
    ('{"i":4}', 101, "4"),
    ('{"m":5,"i":4}', 101, "4"),
    ('{"m":null,"i":4}', 101, "4"),
    ('{"m":"","i":4}', 101, "4"),
    ('{"m":"mesh.Send","p":{},"i":4}', 101, "4"),
    ('{"m":"server.ping","p":{},"i":4}', 101, "4"),
    ('{"m":"queue.consume","p":{"t":["x"]},"i":4}', 101, "4"),
    ('{"method":"mesh.send","params":{"c":"1","d":"x"},"id":4}', 101, "4"),
    *[
        (f'{{"m":"{method}","p":{p},"i":5}}', 101, "5")
        for method in ("mesh.send", "mesh.publish", "conn.call", "queue.pop")
        for p in ("null", "5", '"x"', "{}", "[]", "[{},{}]", "[1]", "true")
    ],
    *[(f'{{"m":"{method}","i":5}}', 101, "5") for method in ("mesh.send", "mesh.publish", "conn.call", "queue.pop")],
    *[
        (f'{{"m":"{method}","p":{p},"i":5}}', 101, "5")
        for method in ("mesh.send", "mesh.publish")
        for p in (
            '{"c":"x"}',
            '{"d":"x"}',
            '{"c":"","d":"x"}',
            '{"c":true,"d":"x"}',
            '{"c":"x","d":1}',
            '{"c":"x","d":"x","t":"x"}',
            '{"c":"x","d":"*","t":"binary"}',
            '[{"c":"x","d":"x"},{"c":"x","d":"x"}]',
        )
    ],
    ('{"m":"mesh.send","p":{"c":"NOWHERE","d":"x"},"i":6}', 401, "6"),
    ('{"m":"mesh.send","p":{"c":1,"d":"x"},"i":6}', 401, "6"),
    ('{"m":"mesh.send","p":{"c":"news","d":"x"},"i":6}', 401, "6"),
    *[
        (f'{{"m":"conn.call","p":{{"c":"CLIENT","f":"{call[0]}","a":{call[1]}}},"i":7}}', 301, "7")
        for call in (
            ("close", "[]"),
            ("send", '["x"]'),
            ("context", "[]"),
            ("", '["x"]'),
            ("wait_context_value", '["x"]'),
            ("set_context", "[]"),
            ("set_context", "[1]"),
            ("set_context", "[{},{}]"),
            ("set_context_value", "[1,2]"),
            ("set_context_value", '["x"]'),
            ("set_context_value", '["x",1,2]'),
            ("subscribe", '["a b"]'),
            ("subscribe", '[""]'),
            ("subscribe", "[5]"),
            ("subscribe", '["ok","a b"]'),
            ("subscribe", '["ok",null]'),
            ("unsubscribe", "[{}]"),
        )
    ],
    ('{"m":"conn.call","p":{"c":"NOWHERE","f":"subscribe","a":["x"]},"i":7}', 301, "7"),
    ('{"m":"conn.call","p":{"c":1,"f":"set_context_value","a":["x",1]},"i":7}', 301, "7"),
    *[
        (f'{{"m":"conn.call","p":{{{p}}},"i":7}}', 101, "7")
        for p in (
            '"c":"CLIENT","f":"subscribe"',
            '"c":"CLIENT","a":["x"]',
            '"f":"subscribe","a":["x"]',
            '"c":"CLIENT","f":"subscribe","a":"x"',
            '"c":"CLIENT","f":"subscribe","a":{}',
            '"c":"CLIENT","f":"subscribe","a":null',
            '"c":"CLIENT","f":5,"a":["x"]',
            '"c":null,"f":"subscribe","a":["x"]',
            '"c":"","f":"subscribe","a":["x"]',
            '"c":"CLIENT","f":"subscribe","a":[]',
            '"c":"CLIENT","f":"unsubscribe","a":[]',
        )
    ],
    *[
        (f'{{"m":"queue.pop","p":{p},"i":8}}', 101, "8")
        for p in (
            '{"t":[]}',
            '{"t":"x"}',
            '{"t":[1]}',
            '{"t":[null]}',
            '{"t":[""]}',
            '{"t":{}}',
            '{"t":null}',
            '["x",5]',
            '[{"t":["x"]},{"t":["y"]}]',
        )
    ],
    ('{"m":"queue.unpop","p":{},"i":9}', 203, "9"),
    ('{"m":"queue.unpop","i":9}', 203, "9"),
]
WORDS = {
    101: "invalid argument",
    201: "consumption failed",
    202: "repeated consumption",
    203: "failed to cancel consumption",
    301: "execution failed",
    401: "failed to send",
    403: "forbidden",
}
