# SPDX-License-Identifier: Apache-2.0
"""What an agent remembers of each plugin across connections: its calls, seen authorizations, open commands."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from types import MappingProxyType

from towline.protocols.octo.command import CommandBook
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import DEFAULT_LIMITS, Limits

US = 1_000_000
HOUR_US = 3600 * US


class CallWindow:
    """At most so many calls in any 3600 s. Calls refused for this reason do not count themselves."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls: deque[int] = deque()

    def take(self, now_us: int) -> None:
        """Count one call.

        :raises OctoError: ``rate``, naming the limit and when the next call is free
        """
        if self._limit <= 0:
            return
        calls = self._calls
        # A clock set back must not block the plugin: entries from the future go too.
        while calls and (calls[0] <= now_us - HOUR_US or calls[0] > now_us):
            calls.popleft()
        if len(calls) >= self._limit:
            wait = (calls[0] + HOUR_US - now_us + US - 1) // US
            raise OctoError(Reason.RATE, f"over {self._limit} calls in an hour; the next is free in {wait} s")
        calls.append(now_us)

    def used(self, now_us: int) -> int:
        """Calls in the last 3600 s."""
        return sum(1 for at in self._calls if now_us - HOUR_US < at <= now_us)


class ReplayMemory:
    """Authorizations seen, each kept for as long as its message's epoch is inside the window."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._seen: dict[bytes, int] = {}

    def check(self, identity: bytes, epoch_us: int, now_us: int) -> None:
        """Remember one authorization.

        :param identity: salt and hash, as :func:`~towline.protocols.octo.signature.check` returns them
        :raises OctoError: ``replay``
        """
        if identity in self._seen:
            raise OctoError(
                Reason.REPLAY, "this signed message was received before; sign each one anew", where="$.method"
            )
        window = self._limits.epoch_window_s * US
        self._seen[identity] = epoch_us + window if window else 0
        if len(self._seen) > self._limits.replay_entries and window:
            self._seen = {key: until for key, until in self._seen.items() if until >= now_us}
        while len(self._seen) > self._limits.replay_entries:
            del self._seen[next(iter(self._seen))]


class PluginMemory:
    """One plugin, by appGUID.

    :ivar calls: its hourly budget
    :ivar replays: its seen authorizations
    :ivar commands: its open commands
    """

    def __init__(self, limits: Limits) -> None:
        self.calls = CallWindow(limits.calls_per_hour)
        self.replays = ReplayMemory(limits)
        self.commands = CommandBook(limits)


class Guard:
    """Shared by all sessions of one agent. Entries exist only for plugins that proved their key once.

    :ivar limits: the limits of every session
    :ivar refused: refused frames by reason
    :ivar accepted: accepted frames by method name
    :ivar no_key_hint: what a plugin is told whose key this device has not

    :param reserved: appName → the one appGUID that may use it
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, reserved: Mapping[str, str] = MappingProxyType({})) -> None:
        self.limits = limits
        self.no_key_hint = "create the plugin's credential at the hub, or check its appGUID"
        self._reserved = reserved
        self.refused: Counter[Reason] = Counter()
        self.accepted: Counter[str] = Counter()
        self._plugins: dict[str, PluginMemory] = {}

    def of(self, app_guid: str) -> PluginMemory:
        """The memory of one plugin, made at its first use."""
        key = app_guid.lower()
        memory = self._plugins.get(key)
        if memory is None:
            memory = self._plugins[key] = PluginMemory(self.limits)
        return memory

    def check_name(self, app_name: str, app_guid: str) -> None:
        """Metrics and events are kept by appName: nobody writes into those of a reserved one.

        :raises OctoError: ``schema``
        """
        holder = self._reserved.get(app_name, app_guid)
        if holder != app_guid:
            raise OctoError(
                Reason.SCHEMA, f"the name {app_name!r} is reserved for plugin {holder}", where="$.params.appName"
            )

    def forget(self, app_guid: str) -> None:
        """Drop a plugin whose credential was revoked."""
        self._plugins.pop(app_guid.lower(), None)
