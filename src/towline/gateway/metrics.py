# SPDX-License-Identifier: Apache-2.0
"""``/metrics``: a snapshot is taken on the loop, the text is made in a thread (Prometheus exposition format 0.0.4).

The ``connmix_*`` names are those of the original (spec connmix §6), for dashboards that exist. No label names a client, a
channel or a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from towline.gateway.summary import Quantiles


class Value(NamedTuple):
    """One figure: a counter's name ends in ``_total``, anything else is a gauge. ``labels`` maps names to values."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = {}


class SummaryValue(NamedTuple):
    """Quantiles of one summary."""

    name: str
    help: str
    value: Quantiles
    labels: Mapping[str, str] = {}


def render(values: Iterable[Value | SummaryValue]) -> bytes:
    """The exposition text, with figures of this process added. Called in a thread."""
    registry = CollectorRegistry()
    registry.register(_Snapshot([*values, *_process()]))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, values: list[Value | SummaryValue]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for value in self._values:
            family = families.get(value.name)
            if isinstance(value, SummaryValue):
                if family is None:
                    family = families[value.name] = Metric(value.name, value.help, "summary")
                for quantile, found in value.value.quantiles.items():
                    family.add_sample(value.name, {**value.labels, "quantile": f"{quantile:g}"}, found)
                family.add_sample(f"{value.name}_sum", dict(value.labels), value.value.total)
                family.add_sample(f"{value.name}_count", dict(value.labels), value.value.observed)
                continue
            if family is None:
                make = CounterMetricFamily if value.name.endswith("_total") else GaugeMetricFamily
                family = families[value.name] = make(value.name, value.help, labels=list(value.labels))
            assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
            family.add_metric(list(value.labels.values()), value.value)
        yield from families.values()


def _process() -> Iterator[Value]:
    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        yield Value("process_cpu_seconds_total", "CPU time of this process", times.user + times.system)
        yield Value("process_resident_memory_bytes", "Memory of this process", process.memory_info().rss)
        yield Value("process_open_fds", "Open files and sockets of this process", process.num_fds())
        yield Value("process_start_time_seconds", "Start of this process, in seconds since 1970", process.create_time())
