# SPDX-License-Identifier: Apache-2.0
"""Enrolments, credentials, audit, health."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from towline.api.models.base import Body, Json, Timestamp, json_value, stamp
from towline.hub import views


class EnrolmentCreate(Body):
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    ttl_s: Annotated[int, Field(ge=60, le=86_400)] | None = None


class Enrolment(BaseModel):
    id: str
    name: str | None
    created_at: Timestamp | None
    expires_at: Timestamp | None
    state: Literal["open", "used", "expired", "revoked"]
    device_id: str | None

    @classmethod
    def of(cls, view: views.EnrolmentView) -> Enrolment:
        return cls(
            id=view.id,
            name=view.name,
            created_at=stamp(view.created_us),
            expires_at=stamp(view.expires_us),
            state=view.state,
            device_id=view.device_id,
        )


class Enrolments(BaseModel):
    enrolments: list[Enrolment]


class NewEnrolment(Enrolment):
    line: str = Field(description="Paste it on the device; works once.")
    command: str = Field(examples=["towline agent enrol '…'"])


class PluginCreate(Body):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    app_guid: Annotated[str, Field(max_length=64)] | None = None
    platform: Annotated[str, Field(min_length=1, max_length=64)] = "linux"
    architecture: Annotated[str, Field(min_length=1, max_length=64)] = "x86_64"


class Plugin(BaseModel):
    app_guid: str
    name: str
    platform: str
    architecture: str
    created_at: Timestamp | None
    devices: int = Field(description="Devices that have this credential.")

    @classmethod
    def of(cls, view: views.CredentialView) -> Plugin:
        return cls(**_credential(view))


class Plugins(BaseModel):
    plugins: list[Plugin]


class PluginCredential(Plugin):
    access_key: str

    @classmethod
    def of(cls, view: views.CredentialView) -> PluginCredential:
        return cls(**_credential(view), access_key=view.access_key)


class AuditEntry(BaseModel):
    id: int
    time: Timestamp | None
    user: str
    action: str
    entity: str
    entity_id: str
    detail: Json
    address: str

    @classmethod
    def of(cls, view: views.AuditEntry) -> AuditEntry:
        return cls(
            id=view.id,
            time=stamp(view.time_us),
            user=view.user,
            action=view.action,
            entity=view.entity,
            entity_id=view.entity_id,
            detail=json_value(view.detail),
            address=view.address,
        )


class AuditEntries(BaseModel):
    entries: list[AuditEntry]
    next: str | None


class Health(BaseModel):
    status: Literal["ok"]
    version: str


def _credential(view: views.CredentialView) -> dict[str, Any]:
    return {
        "app_guid": view.app_guid,
        "name": view.name,
        "platform": view.platform,
        "architecture": view.architecture,
        "created_at": stamp(view.created_us),
        "devices": view.devices,
    }
