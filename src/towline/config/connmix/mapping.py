# SPDX-License-Identifier: Apache-2.0
"""From connmix's configuration file to a tree of our settings: pure, from document to document.

What has no meaning here becomes a :class:`Note`, and an unknown key too: both leave the file usable. Access fails closed:
what is wrong in ``access`` is an error, because a user who was not understood must not mean an open port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from towline.config.connmix.generation import (
    API_TIMEOUT_S,
    ENTRY,
    PATH,
    PORTS,
    REDIS,
    SERVER_TIMEOUT_S,
    generation,
)
from towline.config.connmix.reading import Note, NoteKind, Reader, Section
from towline.config.connmix.tree import Ours
from towline.config.yamlfile import Document, Path, dotted

NEVER_S = 31_536_000
"""A timeout of 0 means none to connmix; here it is a year."""

_LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
_BUFFERS = "Towline sizes its buffers itself"
_BUS = "nodes find each other over NATS: give --bus nats://host:4222"
_BOTH = "the file has keys of generation 1 and of later ones"
_SLOW = "a back end that reads too slowly is disconnected at gateway.outbox_bytes"


Fields = Mapping[str, tuple[Any, Path | None]]
"""Values of an item of a list, each with where it stood. A value of None is left out."""


class Translated(NamedTuple):
    """Our settings as a document whose places and names are those of connmix's file."""

    document: Document
    notes: tuple[Note, ...]


def translate(document: Document, resolve: Callable[[str], str] = str) -> Translated:
    """From connmix's tree to ours.

    :param resolve: from a script as the file names it to the path that is opened
    :raises InvalidInput: ``config.invalid`` where a value is not what connmix takes, with line and column
    """
    return _Translation(document, resolve).run()


class _Translation(Reader):
    def __init__(self, document: Document, resolve: Callable[[str], str]) -> None:
        super().__init__(document)
        self._resolve = resolve
        self._ours = Ours()
        self._generation = generation(document.value)
        self._users: list[tuple[Fields, Path]] = []

    def run(self) -> Translated:
        top = Section(self, (), "")
        if (path := top.take("logging")) is not None:
            self._logging(path)
        if (path := top.take("prometheus")) is not None:
            self._prometheus(path)
        top.ignore("no licence is needed", "licenses")
        if (path := top.take("access")) is not None:
            self._access(path)
        center, engine = top.take("center"), top.take("engine")
        if engine is not None:
            self._engine(engine)
        if center is not None:
            self._center(center)
        top.finish()
        for user, at in self._users:
            self.append(("gateway", "users"), user, at)
        self._exposed()
        ours = self._ours
        for name, key, section in (
            ("api_listen", "engine.apiServer.port", engine),
            ("clients_listen", "engine.servers[0].port", engine),
            ("center_listen", "center.apiServer.port", center),
        ):
            if ("gateway", name) not in ours.names:
                ours.mark(("gateway", name), key, self.place(section or ()))  # the default may be in use
        document = Document(ours.tree, ours.places, self._document.name, names=ours.names)
        return Translated(document, tuple(self.notes))

    def put(self, path: Path, value: Any, at: Path | None) -> None:
        """Set one of our settings, which stood at ``at`` in theirs. Nothing when either is None."""
        if value is not None and at is not None:
            self._ours.put(path, value, dotted(at), self.place(at))

    def assume(self, ours: Path, value: Any, section: Path, name: str, text: str, kind: NoteKind = "default") -> None:
        """Set what is missing in a section of theirs, and say so."""
        key = f"{dotted(section)}.{name}"
        self._ours.put(ours, value, f"{key} (by default)", self.place(section))
        self.notes.append(Note(kind, key, self.where(section), f"missing; {text}"))

    def append(self, path: Path, fields: Fields, at: Path) -> None:
        """Add an item to one of our lists."""
        item = self._ours.append(path, dotted(at), self.place(at))
        for name, (value, stood) in fields.items():
            self.put((*item, name), value, stood or at)

    # -- sections

    def _logging(self, path: Path) -> None:
        section = Section(self, path, "logging")
        self.put(("log", "file"), self.text(at := section.take("filename")) or None, at)
        self.put(("log", "files"), self.number(at := section.take("maxFiles")), at)
        if (at := section.take("level")) is not None:
            word = self.text(at) or ""
            if word.lower() in _LEVELS:
                self.put(("log", "level"), _LEVELS[word.lower()], at)
            else:
                self.note("warning", at, f"no level {word[:40]!r}; there are debug, info, warn, error")
        section.finish()

    def _prometheus(self, path: Path) -> None:
        section = Section(self, path, "prometheus")
        if (below := section.take("summary")) is not None:
            summary = Section(self, below, "prometheus.summary")
            for name, ours in (("maxAge", "age_s"), ("ageBuckets", "buckets"), ("bufCap", "samples")):
                at = summary.take(name)
                self.put(("gateway", "summary", ours), self.number(at), at)
            summary.finish()
        section.finish()

    def _access(self, path: Path) -> None:
        section = Section(self, path, "access")
        for at in self.items(section.take("users")):
            user = Section(self, at, "access.users")
            name, password, roles, host = map(user.take, ("username", "password", "roles", "host"))
            if not self.text(name) or not self.text(password):
                raise self.invalid(at, "a user needs a username and a password")
            if roles is None:
                self.note("warning", at, "without roles this user may do nothing")
            fields = {
                "username": (self.text(name), name),
                "password": (self.text(password), password),
                "roles": (self._roles(roles), roles),
                "host": (self.text(host), host),
            }
            self._users.append((fields, at))
            user.refuse_unknown()
        section.refuse_unknown()

    def _roles(self, path: Path | None) -> list[str]:
        if path is None:
            return []
        found = []
        for at in self.items(path) if isinstance(self.at(path), list) else [path]:
            role = self.text(at) or ""
            if role not in ("read", "write"):
                raise self.invalid(at, f"no role {role[:40]!r}; there are read and write")
            found.append(role)
        return found

    def _center(self, path: Path) -> None:
        section = Section(self, path, "center")
        section.ignore(_BUS, "registry")
        if (below := section.take("apiServer")) is not None:
            api = Section(self, below, "center.apiserver")
            self._address(("gateway", "center_listen"), api)
            api.finish(users=True)
        section.finish()

    def _engine(self, path: Path) -> None:
        section = Section(self, path, "engine")
        if (at := section.take("centerRegistry")) is not None:
            host = (self.text(at) or "").rpartition(":")[0]
            self.note("ignored" if host in ("localhost", "127.0.0.1", "::1", "[::1]") else "warning", at, _BUS)
        section.ignore(_BUS, "meshPoint")
        if (at := section.take("apiServer")) is not None:
            self._api(at)
        luavm, servers = section.take("luavm"), self.items(section.take("servers"))
        redis = self._luavm(luavm) if luavm is not None else False
        if servers and not redis and self._generation == 2:
            self._default_redis(luavm or path)
        for number, at in enumerate(servers):
            self._server(at, number)
        section.finish()

    def _default_redis(self, at: Path) -> None:
        name, addr = REDIS
        key = "engine.luavm.redis"
        item = self._ours.append(("gateway", "redis"), key, self.place(at))
        for word, value in (("name", name), ("addr", addr)):
            self._ours.put((*item, word), value, f"{key} (by default)", self.place(at))
        self.notes.append(Note("default", key, self.where(at), f"missing; scripts find {name!r} at {addr}"))

    def _api(self, path: Path) -> None:
        section = Section(self, path, "engine.apiserver")
        self._address(("gateway", "api_listen"), section)
        name, password = section.take("username"), section.take("password")
        if name is not None or password is not None:
            if not self.text(name) or not self.text(password):
                raise self.invalid(path, "username and password are needed together")
            both = {"username": (self.text(name), name), "password": (self.text(password), password)}
            self._users.append(({**both, "roles": (["read", "write"], path)}, path))
        if (at := section.take("protocol")) is not None and self.text(at) != "websocket":
            self.note("warning", at, "the API speaks HTTP and WebSocket")
        if not self._timeout(("gateway", "api_keepalive_s"), section, "readTimeout"):
            if self._generation == 1:
                seconds = API_TIMEOUT_S[1]
                self.assume(
                    ("gateway", "api_keepalive_s"), seconds, path, "readTimeout", f"{seconds} s in generation 1"
                )
            elif self._generation == "both":
                seconds = API_TIMEOUT_S[2]
                text = f"{seconds} s; {_BOTH}, where it was {API_TIMEOUT_S[1]}"
                self.assume(("gateway", "api_keepalive_s"), seconds, path, "readTimeout", text)
        section.ignore(_BUFFERS, "readBufferSize", "writeBufferSize")
        section.ignore(_SLOW, "writeTimeout")
        section.finish(users=True)

    def _luavm(self, path: Path) -> bool:
        """Whether it tells of Redis, be it of none."""
        section = Section(self, path, "engine.luavm")
        if (below := section.take("queue")) is not None:
            queue = Section(self, below, "engine.luavm.queue")
            for name, ours in (("topicSize", "topic_size"), ("maxTopics", "max_topics")):
                at = queue.take(name)
                self.put(("gateway", "queue", ours), self.number(at), at)
            if (at := queue.take("full")) is not None:
                kind: NoteKind = "ignored" if self.text(at) == "error" else "warning"
                self.note(kind, at, "a push to a full topic is an error, it never waits")
            queue.finish()
        servers = section.take("redis")
        for at in self.items(servers):
            self._redis(at)
        section.finish()
        return servers is not None

    def _redis(self, path: Path) -> None:
        section = Section(self, path, "engine.luavm.redis")
        name, addr, password, db, size = map(section.take, ("name", "addr", "password", "db", "poolSize"))
        fields: Fields = {
            "name": (self.text(name) or "default", name),
            "addr": (self.text(addr), addr),
            "password": (self.text(password), password),
            "db": (self.number(db), db),
            "pool_size": (self.number(size) or None, size),
        }
        section.ignore("connections are opened when needed and kept", "minIdleConns", "maxConnAge", "idleTimeout")
        section.finish()
        self.append(("gateway", "redis"), fields, path)

    def _server(self, path: Path, number: int) -> None:
        """The first server is our first port, the others are listeners."""
        section = Section(self, path, "engine.servers")
        base: Path = ("gateway",)
        if number > 0:
            base = self._ours.append(("gateway", "listeners"), dotted(path), self.place(path))
        self._address((*base, "clients_listen" if number == 0 else "listen"), section, "clients")
        protocol = self._protocol(section, base)
        if (entry := section.take("entry")) is not None:
            self.put((*base, "entry"), self._resolve(self.text(entry) or ""), entry)
        elif self._generation == 2 and protocol == "websocket":
            self.assume((*base, "entry"), self._resolve(ENTRY), path, "entry", ENTRY)
        else:
            raise self.invalid(path, f"a server needs an entry; only one of protocol websocket has a default, {ENTRY}")
        self._options(section, base, protocol)
        at = section.take("byteCodeExpires")
        self.put((*base, "reload_s"), self.number(at), at)
        for name, word in (("readTimeout", "read_timeout_s"), ("writeTimeout", "write_timeout_s")):
            if not self._timeout((*base, word), section, name) and number > 0:
                self._own_timeout((*base, word), path, name)
        section.ignore(_BUFFERS, "readBufferSize", "writeBufferSize")
        section.finish()

    def _own_timeout(self, ours: Path, path: Path, name: str) -> None:
        """A further port of ours has the first one's timeouts; theirs has its own."""
        first, seconds = self._ours.tree["gateway"].get(ours[-1]), SERVER_TIMEOUT_S[name]
        if first not in (None, seconds):
            self.assume(ours, seconds, path, name, f"{seconds} s")

    def _protocol(self, section: Section, base: Path) -> str:
        """Generation 1 had raw TCP only, and no key for it; ``custom`` became ``socket``."""
        if (at := section.take("protocol")) is None:
            word, text = {
                1: ("socket", "socket: generation 1 had raw TCP only"),
                2: ("websocket", "websocket"),
                "both": ("socket", f"socket, raw TCP, is taken; {_BOTH}, which have websocket: say which one it is"),
            }[self._generation]
            kind: NoteKind = "warning" if self._generation == "both" else "default"
            self.assume((*base, "protocol"), word, section.path, "protocol", text, kind)
            return word
        word = self.text(at) or ""
        word = "socket" if word == "custom" else word
        if word not in ("websocket", "socket"):
            raise self.invalid(at, f"no protocol {word[:40]!r}; there are websocket and socket")
        self.put((*base, "protocol"), word, at)
        return word

    def _options(self, section: Section, base: Path, protocol: str) -> None:
        """``path`` is ours on WebSocket servers; the rest, and all of it on raw ones, is the script's."""
        options = section.take("options")
        for at in self.items(options):
            option = Section(self, at, "engine.servers.options")
            named, value = option.take("name"), option.take("value")
            name = self.text(named)
            if not name:
                raise self.invalid(at, "an option needs a name")
            text = self.text(value) or ""
            if name == "path" and protocol == "websocket":
                if not text.startswith("/"):
                    self.note("warning", value or at, "a path begins with /; it is added")
                self.put((*base, "path"), text if text.startswith("/") else f"/{text}", value or at)
            else:
                self.append((*base, "options"), {"name": (name, named), "value": (text, value)}, at)
            option.finish()
        if protocol == "websocket" and (*base, "path") not in self._ours.names:
            path, why = (PATH, "") if options is None and self._generation == 2 else ("/", ": nothing says another")
            name = "options" if options is None else "options.path"
            self.assume((*base, "path"), path, section.path, name, f"clients connect to {path}{why}")

    # -- what several sections have

    def _address(self, ours: Path, section: Section, default: str = "") -> None:
        """``port`` and ``bind``. A bind counts as told; without one the port stays on this machine.

        :param default: what of :data:`PORTS` it is when both are missing; empty: then it is left open
        """
        port, bind = section.take("port"), section.take("bind")
        number, host = self.number(port, 0, 65535), (self.text(bind) or "").strip("[]")
        if number is None and bind is None and not default:
            return
        assumed = number is None
        if number is None:
            number = PORTS[default or str(ours[-1])]
        host = host or "127.0.0.1"
        address = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        if assumed:
            self.assume(ours, address, section.path, "port", str(number))
        self.put(ours, address, port)
        # A host that cannot be bound is told at its own place (towline.app.placed).
        at = bind or port or section.path
        self._ours.mark((*ours, "bind"), dotted(at), self.place(at))

    def _timeout(self, ours: Path, section: Section, name: str) -> bool:
        """Whether it is set."""
        at = section.take(name)
        seconds = self.number(at)
        if seconds == 0 and at is not None:
            self.note("warning", at, "0 is taken as a year: who is gone without a word stays until then")
        self.put(ours, seconds if seconds is None else seconds or NEVER_S, at)
        return at is not None

    def _exposed(self) -> None:
        """An API that everybody may use, and reach. Ports for clients are meant for everybody."""
        ours = self._ours
        for name in () if self._users else ("api_listen", "center_listen"):
            path: Path = ("gateway", name)
            address = ours.tree.get("gateway", {}).get(name, "127.0.0.1:0")
            if address.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
                at = (*path, "bind")
                text = f"opens this API to everybody who can reach {address}: set access.users, or bind 127.0.0.1"
                place = ours.places[at]
                where = f"{self._document.name}:{place.line}:{place.column}"
                self.notes.append(Note("exposed", ours.names[at], where, text))
