# SPDX-License-Identifier: Apache-2.0
"""What the programs of the message centre share: tokens, channels, and the file with everybody's messages.

    python examples/message_centre/centre.py ann       # prints a token for ann

In your product the token is the one your web site gives out already, and the messages stand in your database.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import sys
import time
from typing import NamedTuple

SECRET = os.environ.get("CENTRE_SECRET", "for the example only").encode()
FILE = os.environ.get("CENTRE_FILE", "message_centre.db")


def token_for(user: str) -> str:
    """``user.signature``: whoever has the secret can check it, nobody else can make one."""
    return f"{user}.{hmac.new(SECRET, user.encode(), hashlib.sha256).hexdigest()}"


def user_of(token: str) -> str | None:
    """Whose token it is; None when it is not valid."""
    user = token.rpartition(".")[0]
    return user if user and hmac.compare_digest(token_for(user).encode(), token.encode()) else None


def channel_of(user: str) -> str:
    """The channel that all of a user's connections subscribe to, on every node."""
    return f"user:{user}"


class Kept(NamedTuple):
    """A message as it is kept. Ids grow, so the last one that was read says enough."""

    id: int
    sender: str
    text: str
    at: int

    def to_client(self) -> dict[str, object]:
        return {"is": "message", "id": self.id, "from": self.sender, "text": self.text, "at": self.at}


class Inbox:
    """Everybody's unread messages, in a file that several programs may have open."""

    def __init__(self, path: str = FILE) -> None:
        self._db = sqlite3.connect(path, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS messages"
            " (id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT, sender TEXT, text TEXT, at INTEGER)"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS of_user ON messages (user, id)")
        self._db.commit()

    def add(self, user: str, sender: str, text: str) -> Kept:
        at = int(time.time())
        with self._db:
            done = self._db.execute(
                "INSERT INTO messages (user, sender, text, at) VALUES (?, ?, ?, ?)", (user, sender, text, at)
            )
        assert done.lastrowid is not None
        return Kept(done.lastrowid, sender, text, at)

    def unread(self, user: str) -> list[Kept]:
        rows = self._db.execute("SELECT id, sender, text, at FROM messages WHERE user = ? ORDER BY id", (user,))
        return [Kept(*row) for row in rows]

    def read(self, user: str, up_to: int) -> None:
        with self._db:
            self._db.execute("DELETE FROM messages WHERE user = ? AND id <= ?", (user, up_to))

    def close(self) -> None:
        self._db.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(token_for(sys.argv[1]))
