# SPDX-License-Identifier: Apache-2.0
"""REST: one module for each family of the hub's use cases."""

from __future__ import annotations

from fastapi import APIRouter

from towline.api.routes import (
    audit,
    commands,
    devices,
    enrolments,
    gateway,
    health,
    metrics,
    plugins,
    records,
    session,
    tokens,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    session.router,
    devices.router,
    records.router,
    commands.router,
    enrolments.router,
    plugins.router,
    users.router,
    tokens.router,
    audit.router,
    gateway.router,
    health.router,
    metrics.router,
)
"""All of them, in the order of the documentation."""
