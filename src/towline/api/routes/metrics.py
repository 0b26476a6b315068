# SPDX-License-Identifier: Apache-2.0
"""What hub, store, bus and door counted, for Prometheus. A gateway node has a page of its own, on its push API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psutil
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from towline.api.auth import ActorDep, HubDep
from towline.api.errors import documented
from towline.hub.privileges import check

router = APIRouter(tags=["health"])

_GAUGES = frozenset({"links.sessions", "links.signed_in", "execs.running", "store.queue"})


@router.get("/metrics", response_class=PlainTextResponse, responses=documented())
async def server_metrics(request: Request, hub: HubDep, actor: ActorDep) -> PlainTextResponse:
    """Counters of hub, store, bus and door in Prometheus' text format."""
    check(actor, "metrics.read")
    state = request.app.state
    counted = {"hub": hub.counters(), "door": state.counters, "bus": state.endpoint.counters()}
    return PlainTextResponse("\n".join(_lines(counted)) + "\n", media_type="text/plain; version=0.0.4")


def _lines(counted: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    counters, gauges = [], []
    for part, values in counted.items():
        for name, value in sorted(values.items()):
            if name in _GAUGES:
                gauges.append(f'towline_server_now{{part="{part}",name="{name}"}} {value}')
            else:
                counters.append(f'towline_server_events_total{{part="{part}",event="{name}"}} {value}')
    yield "# HELP towline_server_events_total What happened since the start, by part and event"
    yield "# TYPE towline_server_events_total counter"
    yield from counters
    yield "# HELP towline_server_now What there is now"
    yield "# TYPE towline_server_now gauge"
    yield from gauges
    yield "# HELP process_resident_memory_bytes Memory of this process"
    yield "# TYPE process_resident_memory_bytes gauge"
    yield f"process_resident_memory_bytes {psutil.Process().memory_info().rss}"
