# SPDX-License-Identifier: Apache-2.0
"""A batch on its way to the writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from towline.protocols.link.items import Item, Lane


class Batch(NamedTuple):
    """The arguments of ``store_batch``."""

    workgroup: str
    device_id: str
    spool_id: str
    lane: Lane
    seq: int
    items: Sequence[Item]
    dropped: Mapping[str, int]
    now_us: int
