# SPDX-License-Identifier: Apache-2.0
"""connmix's configuration file as ours: every key of every generation, what is said of the rest, and the way back as YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from towline.app.settings import Settings, load_settings
from towline.config.connmix.mapping import NEVER_S, Translated, translate
from towline.config.connmix.yamltext import render
from towline.config.yamlfile import parse
from towline.errors import InvalidInput

CAMEL = """\
logging:
  filename: logs/gateway.log
  maxFiles: 3
  level: warn
prometheus:
  summary:
    maxAge: 60
    ageBuckets: 6
    bufCap: 50
licenses:
  activationCode: 0123-4567
  server: https://licences.example
access:
  users:
    - username: reader
      password: 0123
      roles:
        - read
      host: '172.*.*.*'
center:
  registry:
    port: 6786
    bind: 0.0.0.0
  apiServer:
    port: 7787
    bind: 127.0.0.1
engine:
  centerRegistry: localhost:6786
  meshPoint:
    port: 6788
    bind: 0.0.0.0
  apiServer:
    port: 7789
    bind: 0.0.0.0
    readBufferSize: 40096
    writeBufferSize: 40096
    readTimeout: 75
    writeTimeout: 60
  luavm:
    queue:
      topicSize: 12
      maxTopics: 3
    redis:
      - name: sessions
        addr: redis.example:6380
        password:
        db: 2
        poolSize: 5
        minIdleConns: 10
        maxConnAge: 0
        idleTimeout: 300
  servers:
    - port: 7790
      bind: 0.0.0.0
      protocol: websocket
      options:
        - name: path
          value: /chat
        - name: limit
          value: 0755
      entry: lua/entry.lua
      byteCodeExpires: 4
      readBufferSize: 1024
      writeBufferSize: 1024
      readTimeout: 61
      writeTimeout: 11
    - port: 7791
      bind: '::1'
      protocol: websocket
      options:
        - name: path
          value: /feed
      entry: lua/feed.lua
      byteCodeExpires: 0
      readTimeout: 5
"""

SNAKE = """\
log:
  filename: logs/gateway.log
  max_files: 3
  level: warn
licenses:
  activation_code: x
center:
  server:
    port: 7787
    bind: 127.0.0.1
engine:
  center_registry: 127.0.0.1:6786
  mesh_point: {port: 6788, bind: 0.0.0.0}
  control:
    protocol: websocket
    port: 7789
    bind: 127.0.0.1
    read_buffer_size: 1024
    write_buffer_size: 1024
    read_timeout: 600
    write_timeout: 10
  luavm:
    queue: {size: 12, max: 3, full: block}
    redis: [{name: sessions, pool_size: 5, min_idle_conns: 1, max_conn_age: 0, idle_timeout: 3}]
  servers:
    - port: 7790
      bind: 127.0.0.1
      protocol: websocket
      entry: lua/entry.lua
      bytecode_expires: 4
      read_buffer_size: 1024
      read_timeout: 61
      write_timeout: 10
"""


def translated(text: str) -> Translated:
    return translate(parse(text, "c.yaml"))


def settings(text: str) -> Settings:
    return load_settings(translated(text).document, environ={}).settings


def warnings(text: str) -> list[str]:
    return [str(note) for note in translated(text).notes if note.kind == "warning"]


def test_every_key_of_the_second_generation() -> None:
    found = settings(CAMEL)
    gateway = found.gateway
    assert (found.log.file, found.log.files, found.log.level) == ("logs/gateway.log", 3, "warning")
    assert (gateway.summary.age_s, gateway.summary.buckets, gateway.summary.samples) == (60, 6, 50)
    (user,) = gateway.users
    assert (user.username, user.password, user.roles, user.host) == ("reader", "0123", ("read",), "172.*.*.*")
    assert (gateway.center_listen, gateway.api_listen) == ("127.0.0.1:7787", "0.0.0.0:7789")
    assert gateway.api_keepalive_s == 75
    assert (gateway.queue.topic_size, gateway.queue.max_topics) == (12, 3)
    (redis,) = gateway.redis
    assert (redis.name, redis.addr, redis.password, redis.db, redis.pool_size) == (
        "sessions", "redis.example:6380", "", 2, 5,
    )  # fmt: skip
    assert (gateway.clients_listen, gateway.path, gateway.entry) == ("0.0.0.0:7790", "/chat", "lua/entry.lua")
    assert (gateway.reload_s, gateway.read_timeout_s, gateway.write_timeout_s) == (4, 61, 11)
    assert [(option.name, option.value) for option in gateway.options] == [("limit", "0755")]
    (feed,) = gateway.listeners
    assert (feed.listen, feed.path, feed.entry) == ("[::1]:7791", "/feed", "lua/feed.lua")
    assert (feed.reload_s, feed.read_timeout_s, feed.options) == (0, 5, ())
    assert warnings(CAMEL) == []


def test_every_key_of_the_first_generation() -> None:
    found = settings(SNAKE)
    gateway = found.gateway
    assert (found.log.file, found.log.files, found.log.level) == ("logs/gateway.log", 3, "warning")
    assert (gateway.center_listen, gateway.api_listen) == ("127.0.0.1:7787", "127.0.0.1:7789")
    assert gateway.api_keepalive_s == 600
    assert (gateway.queue.topic_size, gateway.queue.max_topics, gateway.redis[0].pool_size) == (12, 3, 5)
    assert (gateway.clients_listen, gateway.entry, gateway.path) == ("127.0.0.1:7790", "lua/entry.lua", "/")
    assert (gateway.reload_s, gateway.read_timeout_s) == (4, 61)
    assert warnings(SNAKE) == [
        "c.yaml:23:31: engine.luavm.queue.full: a push to a full topic is an error, it never waits"
    ]


@pytest.mark.parametrize("spelling", ["byteCodeExpires", "bytecodeExpires", "bytecode_expires", "byte_code_expires"])
def test_spellings_between_the_generations(spelling: str) -> None:
    text = f"engine: {{servers: [{{port: 1, protocol: websocket, entry: e.lua, {spelling}: 7}}]}}"
    assert settings(text).gateway.reload_s == 7
    assert warnings(text) == []


def test_servers_without_frames() -> None:
    first = "{port: 1, protocol: socket, entry: e.lua, options: [{name: path, value: chat}]}"
    second, third = "{port: 2, protocol: custom, entry: e.lua}", "{port: 3, protocol: socket, entry: e.lua}"
    gateway = settings(f"engine: {{servers: [{first}, {second}, {third}]}}").gateway
    assert (gateway.protocol, gateway.path, gateway.options[0].value) == ("socket", "/", "chat")
    assert [listener.protocol for listener in gateway.listeners] == ["socket", "socket"]


def defaults(text: str) -> list[str]:
    return [str(note) for note in translated(text).notes if note.kind == "default"]


def test_what_is_missing_is_as_in_the_file_that_connmix_ships() -> None:
    text = "engine:\n  servers:\n    - byteCodeExpires: 1\n"
    gateway = settings(text).gateway
    assert (gateway.clients_listen, gateway.protocol, gateway.path) == ("127.0.0.1:6790", "websocket", "/chat")
    assert gateway.entry == "lua/entry.websocket.lua"
    assert [(server.name, server.addr) for server in gateway.redis] == [("default", "localhost:6379")]
    assert defaults(text) == [
        "c.yaml:1:1: engine.luavm.redis: missing; scripts find 'default' at localhost:6379",
        "c.yaml:3:7: engine.servers[0].port: missing; 6790",
        "c.yaml:3:7: engine.servers[0].protocol: missing; websocket",
        "c.yaml:3:7: engine.servers[0].entry: missing; lua/entry.websocket.lua",
        "c.yaml:3:7: engine.servers[0].options: missing; clients connect to /chat",
    ]
    assert warnings(text) == []
    found = translate(parse(text, "c.yaml"), lambda script: f"/somewhere/{script}").document
    assert found.value["gateway"]["entry"] == "/somewhere/lua/entry.websocket.lua"
    assert found.named(("gateway", "entry")) == "engine.servers[0].entry (by default)"
    assert settings("engine: {servers: [{entry: e.lua}]}").gateway.protocol == "websocket"


def test_what_is_missing_in_a_file_of_generation_1() -> None:
    text = "engine: {control: {port: 1}, servers: [{port: 2, read_timeout: 5, entry: lua/entry.lua}]}"
    gateway = settings(text).gateway
    assert (gateway.protocol, gateway.path, gateway.redis, gateway.api_keepalive_s) == ("socket", "/", (), 600)
    assert defaults(text) == [
        "c.yaml:1:10: engine.control.readTimeout: missing; 600 s in generation 1",
        "c.yaml:1:40: engine.servers[0].protocol: missing; socket: generation 1 had raw TCP only",
    ]


def test_a_file_of_both_generations_goes_on_as_it_did_and_is_warned_of() -> None:
    text = "engine: {apiServer: {port: 1}, servers: [{port: 2, read_timeout: 5, entry: lua/entry.lua}]}"
    gateway = settings(text).gateway
    assert (gateway.protocol, gateway.redis, gateway.api_keepalive_s) == ("socket", (), 60)
    (warned,) = warnings(text)
    assert warned.startswith("c.yaml:1:42: engine.servers[0].protocol: missing; socket, raw TCP, is taken; ")
    assert len(defaults(text)) == 1


def test_what_is_said_is_no_default() -> None:
    text = (
        "engine: {luavm: {redis: []}, servers: [{port: 1, protocol: websocket, entry: e.lua, "
        "options: [{name: x, value: y}]}]}"
    )
    gateway = settings(text).gateway
    assert (gateway.redis, gateway.path) == ((), "/")
    assert defaults(text) == [
        "c.yaml:1:40: engine.servers[0].options.path: missing; clients connect to /: nothing says another"
    ]


def test_an_api_without_a_port_has_the_usual_one_where_its_bind_says() -> None:
    text = "center: {apiServer: {bind: 0.0.0.0}}\nengine: {apiServer: {bind: '::1'}}"
    gateway = settings(text).gateway
    assert (gateway.api_listen, gateway.center_listen) == ("[::1]:6789", "0.0.0.0:6787")
    assert [note.key for note in translated(text).notes if note.kind == "exposed"] == ["center.apiServer.bind"]
    assert settings("engine: {apiServer: {}}").gateway.center_listen is None


def test_a_further_server_does_not_have_the_timeouts_of_the_first() -> None:
    first = "{port: 1, protocol: websocket, entry: e.lua, readTimeout: 5, options: [{name: path, value: /a}]}"
    second = "{port: 2, protocol: socket, entry: e.lua}"
    text = f"engine: {{luavm: {{redis: []}}, servers: [{first}, {second}]}}"
    (listener,) = settings(text).gateway.listeners
    assert (listener.read_timeout_s, listener.write_timeout_s) == (60, None)
    assert [note.partition(": ")[2] for note in defaults(text)] == ["engine.servers[1].readTimeout: missing; 60 s"]


def test_a_user_of_the_api_server_is_one_who_may_everything() -> None:
    (user,) = settings("engine: {apiServer: {port: 1, username: admin, password: 0x1F}}").gateway.users
    assert (user.username, user.password, user.roles, user.host) == ("admin", "0x1F", ("read", "write"), "*")
    assert settings("engine: {apiServer: {port: 1, username: , password: }}").gateway.users == ()


def test_what_has_no_meaning_here_is_told_with_its_place() -> None:
    notes = {note.key: (note.kind, note.where) for note in translated(CAMEL).notes}
    assert notes["engine.servers[0].readBufferSize"] == ("ignored", "c.yaml:63:7")
    assert notes["licenses"] == ("ignored", "c.yaml:10:1")
    assert notes["engine.centerRegistry"] == ("ignored", "c.yaml:28:3")
    assert sum(kind == "ignored" for kind, _ in notes.values()) == 12


def test_an_open_port_is_told_unless_there_are_users_or_it_is_local() -> None:
    def exposed(text: str) -> list[tuple[str, str]]:
        return [(note.key, note.where) for note in translated(text).notes if note.kind == "exposed"]

    text = "engine: {apiServer: {port: 6789, bind: 0.0.0.0}}\ncenter: {apiServer: {port: 6787, bind: '::'}}"
    assert exposed(text) == [("engine.apiServer.bind", "c.yaml:1:34"), ("center.apiServer.bind", "c.yaml:2:34")]
    assert exposed(text + "\naccess: {users: [{username: u, password: p, roles: [read]}]}") == []
    assert exposed("engine: {apiServer: {port: 6789, bind: 127.0.0.1}}") == []
    assert settings("engine: {apiServer: {port: 6789}}").gateway.api_listen == "127.0.0.1:6789"


def test_unknown_keys_warn_and_the_rest_goes_on() -> None:
    text = "engine:\n  apiServer: {port: 7789, readTimeuot: 5}\nextra: 1\n1: {}\n"
    assert warnings(text) == [
        "c.yaml:2:27: engine.apiServer.readTimeuot: there is no such key; did you mean readTimeout?",
        "c.yaml:3:1: extra: there is no such key",
        "c.yaml:1:1: [1]: there is no such key",
    ]
    assert settings(text).gateway.api_listen == "127.0.0.1:7789"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("acess: {users: [{username: u, password: p}]}", "c.yaml:1:1"),
        ("acces:\n", "c.yaml:1:1"),
        ("Acecss: {}", "c.yaml:1:1"),
        ("users: [{username: u, password: p}]\naccess:\n", "c.yaml:1:1"),
        ("auth: {user: [{username: u, password: p}]}", "c.yaml:1:1"),
        ("auth: {accounts: [{username: u, password: p, roles: [read]}]}", "c.yaml:1:1"),
        ("engine: {acess: {users: []}}", "c.yaml:1:10"),
        ("engine: {access: {users: []}}", "c.yaml:1:10"),
        ("center: {apiServer: {port: 1, access: {}}}", "c.yaml:1:31"),
        ("licenses: {access: {users: []}}", "c.yaml:1:1"),
        ("engine: {meshPoint: {port: 1, users: []}}", "c.yaml:1:10"),
        ("engine: {apiServer: {port: 1, usrname: u, pasword: p}}", "c.yaml:1:31"),
        ("engine: {control: {port: 1, user: u, pass: p}}", "c.yaml:1:29"),
        ("center: {apiServer: {port: 1, username: u, password: p}}", "c.yaml:1:31"),
        ("access: {users: [{username: u, password: p}]}\nAccess:\n", "c.yaml:2:1"),
        ("access: {users: [{username: u, password: p}], Users: []}", "c.yaml:1:47"),
    ],
)
def test_users_who_were_not_understood_are_an_error_wherever_they_stand(text: str, where: str) -> None:
    with pytest.raises(InvalidInput, match="access must be clear") as caught:
        translated(text)
    assert caught.value.where == where


def test_keys_that_are_far_from_access_only_warn() -> None:
    text = "extras: [1]\nengine: {luavm: {mysql: {user: root, password: p}}, servres: []}\nexpress: {}\n"
    assert len(warnings(text)) == 4


def test_misspelt_users_are_an_error_in_our_own_file_too() -> None:
    for text in ("gateway: {user: []}", "gatway: {users: []}", "users: []", "gateway: {queue: {users: []}}"):
        with pytest.raises(InvalidInput, match="there is no setting") as caught:
            load_settings(parse(text, "towline.yaml"), environ={})
        assert (caught.value.where or "").startswith("towline.yaml:1:")


def test_a_key_in_two_spellings_warns() -> None:
    text = "engine: {apiServer: {port: 1, readTimeout: 5, read_timeout: 6}}"
    assert settings(text).gateway.api_keepalive_s == 6
    assert "two spellings" in warnings(text)[0]


def test_no_timeout_is_a_year() -> None:
    text = "engine: {servers: [{port: 1, protocol: websocket, entry: e.lua, readTimeout: 0}]}"
    assert settings(text).gateway.read_timeout_s == NEVER_S
    assert "a year" in warnings(text)[0]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("engine: {apiServer: {port: none}}", "c.yaml:1:22", "engine.apiServer.port: must be a whole number"),
        ("engine: {apiServer: {port: 65536}}", "c.yaml:1:22", "must be 0 to 65535"),
        ("engine: {apiServer: {port: 1, readTimeout: -1}}", "c.yaml:1:31", "must be 0 or more"),
        ("engine: []", "c.yaml:1:1", "engine: must be a map"),
        ("engine: {servers: {}}", "c.yaml:1:10", "must be a list"),
        ("engine: {servers: [{port: 1, protocol: socket}]}", "c.yaml:1:20", "a server needs an entry"),
        ("engine: {mesh_point: {}, servers: [{protocol: websocket}]}", "c.yaml:1:36", "a server needs an entry"),
        ("engine: {servers: [{port: 1, protocol: mqtt, entry: e}]}", "c.yaml:1:30", "no protocol 'mqtt'"),
        ("access: {users: [{username: u}]}", "c.yaml:1:18", "needs a username and a password"),
        ("access: {users: [{username: u, password: p, roles: [all]}]}", "c.yaml:1:53", "no role 'all'"),
        ("access: {users: [{username: u, password: p, hosts: '*'}]}", "c.yaml:1:45", "did you mean host?"),
        ("access: {user: []}", "c.yaml:1:10", "access must be clear; did you mean users?"),
        ("engine: {apiServer: {port: 1, username: u}}", "c.yaml:1:10", "needed together"),
        ("[]", "c.yaml:1:1", "the file: must be a map"),
        ("access:\n  users:\n  - host: * # all\n", "c.yaml:3:12", "put a value that begins with * in quotes"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, where: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        translated(text)
    assert message in str(caught.value)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (
            "engine:\n  luavm:\n    queue: {topicSize: 0}",
            "c.yaml:3:13",
            "engine.luavm.queue.topicSize: Expected `int` >= 1",
        ),
        ("prometheus: {summary: {maxAge: 0}}", "c.yaml:1:24", "prometheus.summary.maxAge: Expected `float` > 0.0"),
        (
            "access:\n  users:\n    - username: u\n      password: p\n      host: '10.0.*'",
            "c.yaml:5:7",
            "access.users[0].host: '10.0.*' matches no address",
        ),
        ("engine: {apiServer: {username: 'a:b', password: p}}", "c.yaml:1:22", "engine.apiServer.username: a colon"),
        ("engine: {luavm: {redis: [{addr: x}]}}", "c.yaml:1:27", "engine.luavm.redis[0].addr: 'x' is not host:port"),
        (
            "engine: {luavm: {redis: [{name: a}, {name: b}, {name: a}]}}",
            "c.yaml:1:49",
            "engine.luavm.redis[2].name: 'a' is the name of engine.luavm.redis[0] too",
        ),
        ("engine: {luavm: {redis: [{}, {}]}}", "c.yaml:1:30", "engine.luavm.redis[1]: 'default' is the name of"),
        (
            "engine: {servers: [{port: 1, protocol: socket, entry: e}, {port: 1, protocol: socket, entry: e}]}",
            "c.yaml:1:60",
            "engine.servers[1].port: 127.0.0.1:1 is the address of engine.servers[0].port too",
        ),
        (
            "engine: {servers: [{port: 6789, protocol: socket, entry: e}]}",
            "c.yaml:1:21",
            "engine.servers[0].port: 127.0.0.1:6789 is the address of engine.apiServer.port too",
        ),
    ],
)
def test_a_value_that_we_refuse_is_told_where_it_stands_in_their_file(text: str, where: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings(text)
    assert (caught.value.where, caught.value.message[: len(message)]) == (where, message)


def test_a_value_from_outside_is_told_in_our_words() -> None:
    text = "access: {users: [{username: u, password: p}]}"
    environ = {"TOWLINE_GATEWAY__USERS": "[{username: u, password: p, host: x}]"}
    with pytest.raises(InvalidInput, match=r": gateway\.users\[0\]\.host: 'x' matches no address") as caught:
        load_settings(translated(text).document, environ=environ)
    assert caught.value.where == "TOWLINE_GATEWAY__USERS"


def test_a_user_without_roles_may_do_nothing() -> None:
    text = "access: {users: [{username: u, password: p}]}"
    assert settings(text).gateway.users[0].roles == ()
    assert "may do nothing" in warnings(text)[0]


def test_scripts_are_looked_for() -> None:
    found = translate(parse(CAMEL, "c.yaml"), lambda script: f"/somewhere/{script}").document.value
    assert found["gateway"]["entry"] == "/somewhere/lua/entry.lua"
    assert found["gateway"]["listeners"][0]["entry"] == "/somewhere/lua/feed.lua"


def test_an_empty_file_is_the_defaults() -> None:
    assert settings("") == settings("# nothing\n") == Settings()


@pytest.mark.parametrize(
    "text",
    [CAMEL, SNAKE, "engine: {servers: [{entry: lua/entry.lua}, {port: 2, readTimeout: 4}]}"],
    ids=["camel", "snake", "defaults"],
)
def test_import_gives_the_same_settings(text: str) -> None:
    written = render(translated(text))
    assert load_settings(parse(written, "towline.yaml"), environ={}).settings == settings(text)
    assert "entry: lua/entry.lua  # engine.servers[0].entry, line" in written
    assert "# Not carried over" in written


def test_import_says_what_was_left_out_and_what_was_missing() -> None:
    assert "Towline sizes its buffers itself" in render(translated(CAMEL)).partition("# Not carried over")[2]
    assert "path: /chat  # engine.servers[0].options (by default), line 1" in render(
        translated("engine: {servers: [{entry: e.lua}]}")
    )


KEYS = st.sampled_from(
    ["logging", "log", "level", "filename", "maxFiles", "prometheus", "summary", "maxAge", "licenses",
     "access", "users", "username", "password", "roles", "host", "center", "registry", "server", "apiServer",
     "port", "bind", "engine", "centerRegistry", "control", "luavm", "queue", "size", "max", "full",
     "topicSize", "redis", "name", "addr", "db", "pool_size", "servers", "protocol", "options", "value",
     "entry", "byteCodeExpires", "readTimeout", "read_timeout", "extra"]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 70000), st.floats(), st.text(max_size=8),
    st.sampled_from(["websocket", "read", "write", "0.0.0.0", "::1", "/x", "e.lua", "info", "*"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=5)),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, TREES, max_size=5))
def test_no_tree_does_more_than_be_refused_with_its_place(tree: dict[str, Any]) -> None:
    _try(yaml.safe_dump(tree, allow_unicode=True))


@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    _try(text)


def _try(text: str) -> None:
    """What is taken comes back from its import as the same settings; what is not, names a place in the file."""
    try:
        found = translated(text)
        taken = load_settings(found.document, environ={}).settings
    except InvalidInput as error:
        where = error.where or ""
    else:
        where = "c.yaml"
        assert load_settings(parse(render(found), "towline.yaml"), environ={}).settings == taken
    assert where.startswith("c.yaml")


@given(
    st.fixed_dictionaries(
        {"port": st.integers(0, 65535), "protocol": st.just("websocket"), "entry": st.text(min_size=1, max_size=20)},
        optional={
            "bind": st.sampled_from(["0.0.0.0", "127.0.0.1", "::", "gateway.example"]),
            "readTimeout": st.integers(0, 10**6),
            "byte_code_expires": st.integers(0, 10**6),
            "options": st.lists(
                st.fixed_dictionaries({"name": st.text(min_size=1, max_size=9), "value": st.text(max_size=9)}),
                max_size=3,
            ),
        },
    ),
    st.text(min_size=1, max_size=20),
)
def test_whole_servers_with_any_text_survive_the_import(server: dict[str, Any], password: str) -> None:
    user = {"username": "u", "password": password, "roles": ["read"]}
    _try(yaml.safe_dump({"access": {"users": [user]}, "engine": {"servers": [server, server]}}))
