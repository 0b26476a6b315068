# SPDX-License-Identifier: Apache-2.0
"""Sessions, users and API tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from towline.api.models.base import Body, Timestamp, stamp
from towline.hub import views


class Login(Body):
    user: Annotated[str, Field(min_length=1, max_length=128)]
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class SessionUser(BaseModel):
    id: str
    name: str
    display_name: str


class Workgroup(BaseModel):
    id: str
    name: str


class Session(BaseModel):
    user: SessionUser
    workgroup: Workgroup
    privileges: list[str]
    expires_at: Timestamp | None
    token: str = Field(description="The session token, also for Bearer and socket.io.")
    version: str = Field(description="Version of this Towline.")

    @classmethod
    def of(cls, view: views.SessionView, token: str, version: str) -> Session:
        return cls(
            user=SessionUser(id=view.user_id, name=view.user_name, display_name=view.display_name),
            workgroup=Workgroup(id=view.workgroup, name=view.workgroup_name),
            privileges=view.privileges,
            expires_at=stamp(view.expires_us),
            token=view.token or token,
            version=version,
        )


class PasswordChange(Body):
    old: Annotated[str, Field(max_length=1024)]
    new: Annotated[str, Field(max_length=1024)]


class PasswordSet(Body):
    password: Annotated[str, Field(max_length=1024)]


class UserCreate(Body):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(max_length=1024)]
    display_name: Annotated[str, Field(max_length=128)] = ""
    privileges: list[str] = Field(default_factory=lambda: ["read"], max_length=16)


class UserUpdate(Body):
    display_name: Annotated[str, Field(max_length=128)] | None = None
    privileges: list[str] | None = Field(default=None, max_length=16)
    disabled: bool | None = None


class User(BaseModel):
    id: str
    name: str
    display_name: str
    privileges: list[str]
    created_at: Timestamp | None
    disabled: bool
    last_login: Timestamp | None

    @classmethod
    def of(cls, view: views.UserView) -> User:
        return cls(
            id=view.id,
            name=view.name,
            display_name=view.display_name,
            privileges=view.privileges,
            created_at=stamp(view.created_us),
            disabled=view.disabled,
            last_login=stamp(view.last_login_us),
        )


class Users(BaseModel):
    users: list[User]
    privileges: dict[str, str] = Field(description="Every privilege there is, and what it allows.")


class TokenCreate(Body):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    privileges: list[str] = Field(default_factory=lambda: ["read"], max_length=16)
    ttl_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class Token(BaseModel):
    jti: str
    name: str
    user: SessionUserName
    privileges: list[str]
    created_at: Timestamp | None
    expires_at: Timestamp | None
    revoked: bool

    @classmethod
    def of(cls, view: views.TokenView) -> Token:
        return cls(
            jti=view.jti,
            name=view.name,
            user=SessionUserName(id=view.user_id, name=view.user_name),
            privileges=view.privileges,
            created_at=stamp(view.created_us),
            expires_at=stamp(view.expires_us),
            revoked=view.revoked,
        )


class SessionUserName(BaseModel):
    id: str
    name: str


class Tokens(BaseModel):
    tokens: list[Token]


class NewToken(Token):
    token: str = Field(description="The token itself; shown only now.")
