# SPDX-License-Identifier: Apache-2.0
"""How the command line reaches a Towline: where it is, with which token, and its errors as ours.

First that is there: ``TOWLINE_URL`` and ``TOWLINE_TOKEN``; what ``towline login`` stored; the token that a server started
on this machine leaves in its data directory (``cli-token``, readable by its owner only).
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from towline.errors import InvalidInput, Refused, TowlineError, Unavailable

BASE = "/api/towline/v1"
DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA = "./towline-data"

_TOKEN = re.compile("[!-~]+")


class Target(NamedTuple):
    """A Towline and the token to use there. ``source`` says where both came from."""

    url: str
    token: str
    source: str


def data_directory(given: Path | None = None) -> Path:
    """The data directory of a server on this machine."""
    return (given or Path(os.environ.get("TOWLINE_DATA") or DEFAULT_DATA)).expanduser()


def stored_file() -> Path:
    """Where ``towline login`` keeps what it learned."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "towline" / "cli.json"


def local_target(data: Path) -> Target | None:
    """What a server started on this machine left in its data directory."""
    try:
        token = (data / "cli-token").read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("cli.token_file", f"cannot read it: {error}", where=str(data / "cli-token")) from None
    try:
        url = (data / "cli-url").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        url = DEFAULT_URL
    return Target(url, token, str(data / "cli-token"))


def target(data: Path | None = None) -> Target:
    """Where to go. Refused ``cli.no_token`` says what to do when nothing is known."""
    url, token = os.environ.get("TOWLINE_URL"), os.environ.get("TOWLINE_TOKEN")
    if token:
        return Target((url or DEFAULT_URL).rstrip("/"), token, "TOWLINE_TOKEN")
    if data is None and (stored := _stored()) is not None and url in (None, stored.url):
        return stored
    local = local_target(data_directory(data))
    if local is not None:
        return local._replace(url=url.rstrip("/")) if url else local
    raise Refused(
        "cli.no_token",
        "not signed in",
        hint="run `towline login --url URL`, set TOWLINE_URL and TOWLINE_TOKEN, or work where `towline up` keeps towline-data",
    )


def store(found: Target) -> Path:
    """Keep a target for later commands, readable by its owner only."""
    path = stored_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": found.url, "token": found.token}, file)
    temporary.replace(path)
    return path


def forget() -> bool:
    """Remove what was stored; False when nothing was."""
    try:
        stored_file().unlink()
    except FileNotFoundError:
        return False
    return True


def _stored() -> Target | None:
    path = stored_file()
    try:
        content = json.loads(path.read_text("utf-8"))
        return Target(content["url"], content["token"], str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            "cli.stored", f"cannot use it: {error}", where=str(path), hint="run `towline login` again"
        ) from None


class Client:
    """REST calls that answer JSON or raise TowlineError."""

    def __init__(self, found: Target, timeout_s: float = 30.0) -> None:
        import httpx

        if found.token and not _TOKEN.fullmatch(found.token):
            raise Refused(
                "cli.token",
                f"the token from {found.source} is none: it has other characters than visible ASCII ones",
                hint="make one with `towline token create NAME`",
            )
        headers = {"authorization": f"Bearer {found.token}"} if found.token else {}
        self._target = found
        try:
            self._http = httpx.Client(base_url=found.url + BASE, headers=headers, timeout=timeout_s, trust_env=False)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise InvalidInput("cli.url", f"{found.url!r} is no address: {error}") from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """One request. Unavailable ``cli.unreachable``, or the server's own error with its code."""
        import httpx

        try:
            answer = self._http.request(method, path, json=body, params=params, headers=headers)
        except httpx.TimeoutException:
            raise Unavailable("cli.timeout", f"{self._target.url} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise Unavailable(
                "cli.unreachable", f"cannot reach {self._target.url}: {error}", hint="is the server running there?"
            ) from None
        if answer.status_code >= 400:
            raise _error(answer.status_code, answer.text, self._target)
        if answer.status_code == 204 or not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise Unavailable(
                "cli.not_towline", f"{self._target.url} does not answer as a Towline", hint="check the URL"
            ) from None

    def get(self, path: str, **params: Any) -> Any:
        """GET with the parameters that are not None."""
        return self.call("GET", path, params={key: value for key, value in params.items() if value is not None})


def client(data: Path | None = None, timeout_s: float = 30.0) -> Client:
    """A client for :func:`target`."""
    return Client(target(data), timeout_s)


def stdin_line(what: str) -> str:
    """A secret from standard input. InvalidInput ``cli.stdin`` when that is no text."""
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        encoding = getattr(sys.stdin, "encoding", "text")
        raise InvalidInput("cli.stdin", f"the {what} on standard input is not {encoding}") from None


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _error(status: int, text: str, found: Target) -> TowlineError:
    try:
        detail = json.loads(text)["error"]
        code, message = str(detail["code"]), str(detail["message"])
    except (ValueError, KeyError, TypeError):
        return Unavailable("cli.not_towline", f"{found.url} answered with status {status}", hint="check the URL")
    hint = detail.get("hint")
    if status == 401 and code.startswith("token."):
        hint = f"the token came from {found.source}; run `towline login` again"
    return TowlineError(code, message, where=detail.get("where"), hint=hint)
