# SPDX-License-Identifier: Apache-2.0
"""From connmix's configuration file to a tree of our settings: pure, from document to document.

What has no meaning here becomes a :class:`Note`, and an unknown key too: both leave the file usable. Access fails closed:
what is wrong in ``access`` is an error, because a user who was not understood must not mean an open port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from towline.config.connmix.reading import Note, NoteKind, Reader, Section
from towline.config.connmix.tree import Ours
from towline.config.yamlfile import Document, Path, dotted

NEVER_S = 31_536_000
"""A timeout of 0 means none to connmix; here it is a year."""

_LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
_BUFFERS = "Towline sizes its buffers itself"
_BUS = "nodes find each other over NATS: give --bus nats://host:4222"
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
        if (at := section.take("luavm")) is not None:
            self._luavm(at)
        for number, at in enumerate(self.items(section.take("servers"))):
            self._server(at, number)
        section.finish()

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
        self._timeout(("gateway", "api_keepalive_s"), section, "readTimeout")
        section.ignore(_BUFFERS, "readBufferSize", "writeBufferSize")
        section.ignore(_SLOW, "writeTimeout")
        section.finish(users=True)

    def _luavm(self, path: Path) -> None:
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
        for at in self.items(section.take("redis")):
            self._redis(at)
        section.finish()

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
        if section.take("port") is None:
            raise self.invalid(path, "a server needs a port")
        self._address((*base, "clients_listen" if number == 0 else "listen"), section)
        if (entry := section.take("entry")) is None:
            raise self.invalid(path, "a server needs an entry")
        self.put((*base, "entry"), self._resolve(self.text(entry) or ""), entry)
        self._options(section, base, self._protocol(section, base))
        at = section.take("byteCodeExpires")
        self.put((*base, "reload_s"), self.number(at), at)
        self._timeout((*base, "read_timeout_s"), section, "readTimeout")
        self._timeout((*base, "write_timeout_s"), section, "writeTimeout")
        section.ignore(_BUFFERS, "readBufferSize", "writeBufferSize")
        section.finish()

    def _protocol(self, section: Section, base: Path) -> str:
        """Generation 1 had raw TCP only, and no key for it; ``custom`` became ``socket``."""
        at = section.take("protocol")
        word = self.text(at) or "socket"
        word = "socket" if word == "custom" else word
        if word not in ("websocket", "socket"):
            raise self.invalid(at or section.path, f"no protocol {word[:40]!r}; there are websocket and socket")
        self.put((*base, "protocol"), word, at or section.path)
        return word

    def _options(self, section: Section, base: Path, protocol: str) -> None:
        """``path`` is ours on WebSocket servers; the rest, and all of it on raw ones, is the script's."""
        for at in self.items(section.take("options")):
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

    # -- what several sections have

    def _address(self, ours: Path, section: Section) -> None:
        """``port`` and ``bind``. A bind counts as told; without one the port stays on this machine."""
        port, bind = section.take("port"), section.take("bind")
        number, host = self.number(port, 0, 65535), (self.text(bind) or "").strip("[]")
        if number is None:
            if bind is not None:
                self.note("warning", bind, "a bind without a port")
            return
        host = host or "127.0.0.1"
        self.put(ours, f"[{host}]:{number}" if ":" in host else f"{host}:{number}", port)
        # A host that cannot be bound is told at its own place (towline.app.placed).
        at = bind or port or section.path
        self._ours.mark((*ours, "bind"), dotted(at), self.place(at))

    def _timeout(self, ours: Path, section: Section, name: str) -> None:
        at = section.take(name)
        seconds = self.number(at)
        if seconds == 0 and at is not None:
            self.note("warning", at, "0 is taken as a year: who is gone without a word stays until then")
        self.put(ours, seconds if seconds is None else seconds or NEVER_S, at)

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
