# SPDX-License-Identifier: Apache-2.0
"""A plugin's credential file (spec octo §7): ``plugin_credential.json``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from towline.errors import StartError
from towline.protocols.octo.declaration import GUID

FILE_NAME = "plugin_credential.json"


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a plugin is.

    :ivar app_guid: the plugin's UUID, one for each platform and architecture
    :ivar access_key: signs in both directions; never shown in ``repr``
    """

    app_guid: str
    access_key: str
    platform: str = ""
    architecture: str = ""

    def __repr__(self) -> str:
        return f"Credential(app_guid={self.app_guid!r})"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Credential:
        """From a file, or from the directory that holds ``plugin_credential.json``.

        :raises StartError: it cannot be read or lacks a member
        """
        file = Path(path)
        if file.is_dir():
            file = file / FILE_NAME
        try:
            content = json.loads(file.read_text("utf-8"))
        except OSError as exc:
            raise StartError(
                "sdk.credential",
                f"cannot read the credential: {exc.strerror}",
                where=str(file),
                hint="make one with: towline plugin create",
            ) from exc
        except ValueError as exc:
            raise StartError("sdk.credential", f"the credential is not JSON: {exc}", where=str(file)) from exc
        members = content if isinstance(content, dict) else {}
        guid, key = members.get("app_guid"), members.get("access_key")
        if not isinstance(guid, str) or GUID.fullmatch(guid) is None:
            raise StartError("sdk.credential", "app_guid must be a UUID", where=str(file))
        if not isinstance(key, str) or not key:
            raise StartError("sdk.credential", "access_key must be a text that is not empty", where=str(file))
        platform, architecture = members.get("platform", ""), members.get("architecture", "")
        return cls(guid.lower(), key, str(platform), str(architecture))
