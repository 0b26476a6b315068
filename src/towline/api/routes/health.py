# SPDX-License-Identifier: Apache-2.0
"""Whether this process serves."""

from __future__ import annotations

from fastapi import APIRouter

from towline import __version__
from towline.api import models

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> models.Health:
    """Answers as soon as this door serves; needs no sign-in."""
    return models.Health(status="ok", version=__version__)
