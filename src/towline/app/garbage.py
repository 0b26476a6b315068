# SPDX-License-Identifier: Apache-2.0
"""When Python looks for garbage that refers to itself. Everything else is freed as soon as nobody refers to it."""

from __future__ import annotations

import gc

YOUNG = 10_000
"""Objects made, less those freed, between two looks at the young ones. Python's own 700 are 20 connections."""

MIDDLE, OLD = 10, 5
"""Looks at the young per look at the middle-aged, and of those per look at all: every half a million objects at the most."""


def settle() -> None:
    """After the start of a process with a gateway node: what it made stays and is never looked at again, and later looks
    are rarer. Not for an agent: it has few objects, and TLS and refused frames do leave rings behind there.

    A look at everything takes 30 ms with 10,000 connections, in which nobody is served. Connections leave no such garbage
    (tests/unit/gateway/test_acceptor.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
