# SPDX-License-Identifier: Apache-2.0
"""What differs by operating system: file locks, process groups, a child's end with its parent. This is Linux's."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import pwd
import signal
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class FileLock:
    """An advisory lock that ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take the lock; False if another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def holder(self) -> str:
        """The process id that the holder wrote, for a message."""
        try:
            return self._path.read_text("ascii").strip() or "unknown"
        except (OSError, UnicodeDecodeError):
            return "unknown"

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def end_with_parent(parent: int, *, user: str = "", kill: bool = False) -> Callable[[], None]:
    """For ``preexec_fn``: the child gets SIGTERM (``kill``: SIGKILL) when its parent dies.

    :param parent: the parent's process id, taken before the fork
    :param user: run as this user, with its groups; only root can
    """
    account = pwd.getpwnam(user) if user else None
    number = signal.SIGKILL if kill else signal.SIGTERM

    def prepare() -> None:
        if account is not None:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)  # after setuid, which clears it
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return prepare


def kill_group(leader: int) -> bool:
    """SIGKILL to the process group that ``leader`` leads; False if there is none any more."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def user_exists(name: str) -> bool:
    """Whether the system knows this user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def home_of(name: str) -> str:
    """A user's home directory; ``/`` if unknown. Empty name: the user of this process."""
    try:
        return pwd.getpwnam(name).pw_dir if name else pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def facts() -> dict[str, str]:
    """What the hub is told of this machine at each sign-in."""
    system = os.uname()
    return {
        "hostname": system.nodename[:200],
        "platform": "linux",
        "os": _distribution()[:200],
        "kernel": f"{system.sysname} {system.release}"[:200],
        "arch": system.machine[:200],
        "python": platform.python_version(),
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
