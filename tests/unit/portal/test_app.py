# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from towline.portal import create_portal
from towline.portal.app import Application

PAGE = (
    '<html><head><base href="/__towline_base__/"><meta name="towline-nonce" content="__towline_nonce__"></head></html>'
)
SCRIPT = b"console.log('towline');" * 50


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / ".build-hash").write_text("abc\n")
    (tmp_path / "assets" / "index-1a2b.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "index-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT, mtime=0))
    return tmp_path


def client(application: Application) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://portal")


@pytest.fixture
async def portal(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client(create_portal(directory=built)) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/", "/devices", "/devices/01a1fc60-45d0-7254-b2b9-7b3583ef51c0"])
async def test_routes_of_the_page_get_the_page(portal: httpx.AsyncClient, path: str) -> None:
    answer = await portal.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert '<base href="/">' in answer.text


async def test_the_page_has_a_nonce_of_its_own_and_no_foreign_host(portal: httpx.AsyncClient) -> None:
    policies = []
    for _ in range(2):
        answer = await portal.get("/")
        policy = answer.headers["content-security-policy"]
        found = re.search(r'nonce" content="([^"]+)"', answer.text)
        assert found
        assert f"'nonce-{found[1]}'" in policy
        policies.append(policy)
        assert "http:" not in policy
        assert "https:" not in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert policies[0] != policies[1]


async def test_assets_are_immutable_and_precompressed(portal: httpx.AsyncClient) -> None:
    answer = await portal.get("/assets/index-1a2b.js", headers={"accept-encoding": "gzip, br"})
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert int(answer.headers["content-length"]) < len(SCRIPT)
    assert answer.content == SCRIPT
    plain = await portal.get("/assets/index-1a2b.js", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == SCRIPT


async def test_an_unchanged_file_is_not_sent_again(portal: httpx.AsyncClient) -> None:
    first = await portal.get("/favicon.svg")
    assert first.headers["cache-control"] == "no-cache"
    again = await portal.get("/favicon.svg", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.parametrize(
    "path",
    [
        "/assets/gone.js",
        "/assets/gone",
        "/robots.txt",
        "/api/towline/v1/nothing",
        "/.build-hash",
        "/assets/index-1a2b.js.gz",
    ],
)
async def test_what_is_not_there_is_404_and_not_the_page(portal: httpx.AsyncClient, path: str) -> None:
    assert (await portal.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/../app.py", "/assets/../../app.py", "/%2e%2e/%2e%2e/etc/passwd"])
async def test_nothing_outside_the_folder_is_served(built: Path, path: str) -> None:
    application = create_portal(directory=built)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a GET has no body")

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await application(scope, receive, send)
    assert b"root:" not in sent[1]["body"]
    assert sent[0]["status"] == 404 or b"<base" in sent[1]["body"]


async def test_only_reading_is_allowed(portal: httpx.AsyncClient) -> None:
    answer = await portal.post("/devices", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    head = await portal.head("/")
    assert head.status_code == 200
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0


async def test_below_a_prefix_the_base_says_so(built: Path) -> None:
    for prefix in ("/fleet", "fleet/", "/fleet/"):
        async with client(create_portal(prefix, built)) as opened:
            assert '<base href="/fleet/">' in (await opened.get("/devices")).text
    async with client(create_portal('/a"><script>', built)) as opened:
        assert "<script>" not in (await opened.get("/")).text


async def test_a_page_that_was_not_built_is_said_plainly(tmp_path: Path) -> None:
    async with client(create_portal("/fleet", tmp_path / "none")) as opened:
        answer = await opened.get("/")
        assert answer.status_code == 503
        assert "tools/portal_build.py" in answer.text
        assert 'href="/fleet/api/towline/v1/docs"' in answer.text
        assert "__towline" not in answer.text


async def test_a_websocket_is_closed_and_lifespan_answered(built: Path) -> None:
    application = create_portal(directory=built)
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    questions = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(questions)}

    await application({"type": "websocket", "path": "/", "headers": []}, receive, send)
    await application({"type": "lifespan"}, receive, send)
    assert sent == ["websocket.close", "lifespan.startup.complete", "lifespan.shutdown.complete"]
