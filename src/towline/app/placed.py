# SPDX-License-Identifier: Apache-2.0
"""Errors of a start with the place of the setting that they name: file, line and column, in the file's own words."""

from __future__ import annotations

import re

from towline.app.live import Origin
from towline.app.settings import Settings
from towline.config.schema import settings
from towline.errors import InvalidInput, StartError

_DETAILS = {"gateway.listen": "bind"}
"""What part of a value an error is about, where a file has it apart."""


def placed(error: StartError, origin: Origin | None) -> StartError:
    """The error as it is, when nothing gave the setting that it names, or it names none."""
    if origin is None or error.where is None or not _is_setting(error.where):
        return error
    try:
        loaded, _ = origin.read()
    except InvalidInput:
        return error  # the file was changed meanwhile, and is wrong
    details = [_DETAILS[error.code]] if error.code in _DETAILS else []
    where, key = loaded.locate(error.where, *details)
    if where is None:
        return error
    return StartError(error.code, f"{key}: {loaded.in_words(error.message)}", where=where, hint=error.hint)


def _is_setting(where: str) -> bool:
    key = re.sub(r"\[\d+\]", "", where)
    known = (setting.key.replace("[]", "") for setting in settings(Settings))
    return any(name == key or name.startswith(f"{key}.") for name in known)
