# SPDX-License-Identifier: Apache-2.0
"""What push APIs tell about their nodes, in the shape of REST's ``/gateway``: for a gateway without a hub."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from towline.errors import Refused, Unavailable

_TIMEOUT_S = 5.0

_COUNTERS = {
    "messages_in": "connmix_engine_servers_read_messages_total",
    "frames_out": "connmix_engine_servers_send_messages_total",
    "frames_refused": "connmix_engine_servers_send_errors_total",
    "slow": "towline_gateway_slow_total",
    "accepted": "towline_gateway_accepted_total",
    "closed": "towline_gateway_closed_total",
    "publishes": "towline_gateway_mesh_publishes_total",
    "sends": "towline_gateway_mesh_sends_total",
    "queue_pushed": "towline_gateway_queue_pushed_total",
    "queue_delivered": "towline_gateway_queue_delivered_total",
    "entry_errors": "towline_gateway_entry_errors_total",
}
_GAUGES = {
    "clients": "connmix_engine_servers_clients",
    "links": "towline_gateway_links",
    "channels": "towline_gateway_channels",
    "topics": "towline_gateway_queue_topics",
    "queued": "towline_gateway_queue_waiting",
    "queued_bytes": "towline_gateway_queue_bytes",
    "consumers": "towline_gateway_queue_consumers",
    "behind": "towline_gateway_behind",
    "memory_bytes": "process_resident_memory_bytes",
}


class Value(NamedTuple):
    """One line of ``/metrics``."""

    name: str
    labels: dict[str, str]
    value: float


class PushNodes:
    """Reads every node that one push API lists. One that cannot be reached is shown without figures."""

    def __init__(self, url: str) -> None:
        import httpx

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused("cli.usage", f"{url!r} is not http://host:port", where="--api")
        self._parts = parts
        user, _, self._at = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        auth = httpx.BasicAuth(httpx.URL(url).username, httpx.URL(url).password) if name or password else None
        self._http = httpx.Client(auth=auth, timeout=_TIMEOUT_S, trust_env=False)
        self._pool = ThreadPoolExecutor(8, "towline-top")

    def __enter__(self) -> PushNodes:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def snapshot(self) -> dict[str, Any]:
        """All nodes now. Unavailable ``cli.unreachable``, Refused ``cli.push`` for the push API that was named."""
        import json

        listed = json.loads(self._get(self._at, "/v1/nodes"))["nodes"]
        nodes = list(self._pool.map(self._node, listed))
        return {"nodes": nodes, "channels": None, "topics": None}

    def _node(self, listed: dict[str, Any]) -> dict[str, Any]:
        server = str(listed.get("api_server") or "")
        number = int(listed["id"]) if str(listed.get("id", "")).lstrip("-").isdigit() else -1
        found: dict[str, Any] = {"id": f"{number}@{server}", "number": number, "api_server": server, "version": None}
        try:
            values = list(parse(self._get(self._reachable(server), "/metrics")))
        except (Unavailable, Refused):
            return found | dict.fromkeys((*_GAUGES, "loop_lag_ms")) | {"counters": {}, "listeners": []}
        total: dict[str, float] = {}
        for one in values:
            total[one.name] = total.get(one.name, 0.0) + one.value
        found |= {key: int(total[name]) if name in total else None for key, name in _GAUGES.items()}
        lag = total.get("towline_gateway_loop_lag_seconds")
        found["loop_lag_ms"] = None if lag is None else round(lag * 1000, 1)
        found["counters"] = {key: int(total[name]) for key, name in _COUNTERS.items() if name in total}
        found["listeners"] = _listeners(values)
        return found

    def _reachable(self, server: str) -> str:
        """A node that listens on every address is asked where the named one is."""
        host, _, port = server.rpartition(":")
        return f"{_host(self._parts.hostname)}:{port}" if host in ("0.0.0.0", "[::]") else server  # noqa: S104

    def _get(self, at: str, path: str) -> str:
        import httpx

        prefix = self._parts.path.rstrip("/") if at == self._at else ""
        url = urlunsplit((self._parts.scheme, at, prefix + path, "", ""))
        try:
            answer = self._http.get(url)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise Unavailable(
                "cli.unreachable", f"cannot reach {at}: {error}", hint="is a gateway running there?"
            ) from None
        if answer.status_code in (401, 403):
            raise Refused(
                "cli.push",
                f"{at} answered with status {answer.status_code}",
                hint="give a user with the role read: --api http://user:password@host:6789",
            )
        if answer.status_code != 200:
            raise Unavailable(
                "cli.push", f"{at} answered with status {answer.status_code}: {answer.text[:200].strip()}"
            )
        return answer.text


def parse(text: str) -> Iterator[Value]:
    """Lines of Prometheus' text format, as far as our own nodes use it; others are passed over."""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name, brace, rest = line.partition("{")
        labels: dict[str, str] = {}
        if brace:
            inner, _, number = rest.rpartition("}")
            for pair in inner.split('",'):
                key, _, value = pair.partition("=")
                labels[key.strip()] = value.strip().strip('"')
        else:
            name, _, number = line.partition(" ")
        try:
            yield Value(name.strip(), labels, float(number))
        except ValueError:
            continue


def _listeners(values: list[Value]) -> list[dict[str, Any]]:
    """What ``/metrics`` says of listeners: no addresses, but what happened there."""
    found: dict[str, dict[str, Any]] = {}
    for one in values:
        number = one.labels.get("listener")
        if number is None:
            continue
        listener = found.setdefault(
            number,
            {
                "number": int(number) if number.isdigit() else -1,
                "listen": f"listener {number}",
                "path": "/",
                "entry": "-",
                "clients": None,
                "accepted": 0,
                "messages": None,
                "entry_errors": 0,
                "refused": {},
                "closed": {},
            },
        )
        if one.name == "towline_gateway_accepted_total":
            listener["accepted"] = int(one.value)
        elif one.name == "towline_gateway_entry_errors_total":
            listener["entry_errors"] = int(one.value)
        elif one.name == "towline_gateway_refused_total":
            listener["refused"][one.labels.get("reason", "")] = int(one.value)
        elif one.name == "towline_gateway_closed_total":
            listener["closed"][one.labels.get("cause", "")] = int(one.value)
    for listener in found.values():
        listener["clients"] = listener["accepted"] - sum(listener["closed"].values())
    return [found[number] for number in sorted(found, key=lambda text: (len(text), text))]


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else name or ""
