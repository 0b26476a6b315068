# SPDX-License-Identifier: Apache-2.0
"""What differs by operating system, behind one set of names."""

from __future__ import annotations

from towline.agent.platform.linux import (
    FileLock,
    end_with_parent,
    facts,
    home_of,
    kill_group,
    user_exists,
)

__all__ = ["FileLock", "end_with_parent", "facts", "home_of", "kill_group", "user_exists"]
