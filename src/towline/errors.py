# SPDX-License-Identifier: Apache-2.0
"""Errors that carry a stable machine code.

::

    TowlineError            anything that a caller may want to tell apart
    ├── InvalidInput        what came in breaks a rule: says what, where and the limit
    ├── NotFound            no such thing (or not visible to the caller)
    ├── Conflict            the state of things forbids it now
    ├── Refused             the caller may not
    ├── Unavailable         cannot be done at present; trying again later can help
    └── StartError          a process cannot start: one line for the person at the terminal

``code`` is a lower-case dotted word such as ``device.offline``. Codes are listed in docs/reference/errors.md,
and a test fails when one is not.
"""

from __future__ import annotations


class TowlineError(Exception):
    """An error with a stable ``code``, a sentence, and optionally where it was and what to do.

    :param code: stable dotted word, for programs
    :param message: one sentence for people, without the code
    :param where: JSON path, ``file:line:column``, or the name of the setting
    :param hint: what to do about it
    """

    def __init__(self, code: str, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        return text if self.hint is None else f"{text} ({self.hint})"


class InvalidInput(TowlineError):
    """Something that came in breaks a rule."""


class NotFound(TowlineError):
    """There is no such thing, or the caller cannot see it."""


class Conflict(TowlineError):
    """The present state forbids it."""


class Refused(TowlineError):
    """The caller is not allowed to."""


class Unavailable(TowlineError):
    """It cannot be done at present; a later attempt can succeed."""


class StartError(TowlineError):
    """A process cannot start. Printed as one line; the exit status is 2."""
