# SPDX-License-Identifier: Apache-2.0
"""The store's interface: one Protocol for each family, joined in :class:`Store`.

Every method is a use case: async, ONE transaction, committed when it returns. Changes are compare-and-set: a method that
finds the world different from what it needs says so by its answer or raises, and has changed nothing.
Nothing is announced from here: the hub does so after the commit.

Errors besides those a method names: Unavailable ``store.full`` (disk full) and ``store.write_failed`` (nothing was
changed), ``store.closed``. Workgroup comes first in every call that belongs to one; sweeps and what nodes tell of all
their links do not.
"""

from __future__ import annotations

from typing import Protocol

from towline.store.base.devices import DeviceStore, PresenceStore, WorkgroupStore
from towline.store.base.ledger import LedgerStore
from towline.store.base.people import (
    AuditStore,
    EnrolmentStore,
    LeaseStore,
    SettingStore,
    TokenStore,
    UserStore,
)
from towline.store.base.records import PluginStore, RecordStore
from towline.store.rows import Counters


class Store(Protocol):
    """All families of one database. Made by ``towline.store.sqlite.open_store(path, clock)``."""

    @property
    def workgroups(self) -> WorkgroupStore: ...
    @property
    def devices(self) -> DeviceStore: ...
    @property
    def presence(self) -> PresenceStore: ...
    @property
    def records(self) -> RecordStore: ...
    @property
    def plugins(self) -> PluginStore: ...
    @property
    def ledger(self) -> LedgerStore: ...
    @property
    def users(self) -> UserStore: ...
    @property
    def tokens(self) -> TokenStore: ...
    @property
    def enrolments(self) -> EnrolmentStore: ...
    @property
    def settings(self) -> SettingStore: ...
    @property
    def audit(self) -> AuditStore: ...
    @property
    def leases(self) -> LeaseStore: ...

    def counters(self) -> Counters:
        """Since the store was opened: ``jobs``, ``commits``, ``failed_commits``, ``checkpoints``, ``reads``; ``batches``,
        ``duplicates``, ``records``, ``readings``, ``gaps``, ``missing_batches``, ``refused_items``. ``queue``: jobs that
        wait now."""
        ...

    async def close(self) -> None:
        """Commit what is queued, then close. Calls after it raise Unavailable ``store.closed``."""
        ...


__all__ = [
    "AuditStore",
    "DeviceStore",
    "EnrolmentStore",
    "LeaseStore",
    "LedgerStore",
    "PluginStore",
    "PresenceStore",
    "RecordStore",
    "SettingStore",
    "Store",
    "TokenStore",
    "UserStore",
    "WorkgroupStore",
]
