"""
Locks that outlast their section: given back when the transaction has ended.

Freed at the end of a section inside ``atomic``, a lock would let the next holder in
before the commit, to read the old rows. So what is acquired in a transaction has a
``Hold``: it is given back when the section is over *and* Django has called our commit
hook, or has dropped it in a rollback.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.transaction import TransactionManagementError

from ..exceptions import LockError, LockLost, LockNotOwned

logger = logging.getLogger("redis_atomic.locks")


def in_transaction(using: str | None = None) -> bool:
    """
    Whether this thread is in a transaction of the database whose end can be waited for.

    Inside a ``TestCase`` it is not: there nothing is ever committed. Opens no
    connection. Raises TransactionManagementError when autocommit is off, as
    Django then calls no commit hooks, and ConnectionDoesNotExist for an unknown
    database.
    """
    alias = using or DEFAULT_DB_ALIAS
    connection = connections[alias]
    if connection.in_atomic_block:
        autocommit = connection.commit_on_exit
    elif connection.connection is None:
        autocommit = connection.settings_dict["AUTOCOMMIT"]
    else:
        autocommit = connection.autocommit
    if not autocommit:
        raise TransactionManagementError(
            f"A lock cannot wait for the commit of the database {alias!r}: its autocommit is "
            "off. Turn it on and use atomic(), or give redis_lock transaction='ignore' and "
            "commit before you release."
        )
    blocks = connection.atomic_blocks
    return bool(blocks) and not getattr(blocks[0], "_from_testcase", False)


class Hold:
    """
    Who still needs a lease: sections that run, and transactions that have not ended.

    The last to need it gives it back: a section is told to, by ``leave()``; a transaction
    calls what was given to ``await_commit()``.
    """

    def __init__(self) -> None:
        self._sections = 0
        self._transactions = 0
        self._lock = threading.RLock()  # our finalizer may interrupt the thread that is inside

    @property
    def awaits_transaction(self) -> bool:
        """Whether all sections are over, and only a transaction needs the lease."""
        return self._sections == 0 and self._transactions > 0

    def enter(self) -> None:
        """A section begins."""
        with self._lock:
            self._sections += 1

    def leave(self) -> bool:
        """A section is over: whether nobody needs the lease now, so that it is to be released."""
        with self._lock:
            self._sections -= 1
            return self._sections == self._transactions == 0

    def await_commit(self, release: Callable[[], object], using: str | None = None) -> None:
        """The transaction of this database needs the lease, until its end; then ``release``."""
        with self._lock:
            self._transactions += 1
        hook = _Hook(self, release)
        transaction.on_commit(hook, using=using, robust=True)
        # First of all: one that is before it and fails would have Django call no other, and
        # keep ours for as long as somebody keeps the error.
        hooks = connections[using or DEFAULT_DB_ALIAS].run_on_commit
        if hooks and hooks[-1][1] is hook:
            hooks.insert(0, hooks.pop())

    def transaction_ended(self, release: Callable[[], object]) -> None:
        """Release the lease, if no section needs it either. It is too late to raise anything."""
        with self._lock:
            self._transactions -= 1
            if self._sections or self._transactions:
                return
        try:
            release()
        except LockNotOwned:
            pass  # given back, or handed over, by its owner in the meantime
        except LockLost as error:
            logger.error("A lock was lost before its transaction ended: %s", error)
        except LockError as error:
            logger.warning("Not released after the transaction, its TTL will end it: %s", error)
        except Exception:
            logger.exception("Not released after the transaction, its TTL will end it")


class _Hook:
    """
    A commit hook that knows its end.

    Django calls it after the commit. After a rollback, of the transaction or of a
    savepoint around the section, Django merely drops it: then the finalizer calls.
    """

    def __init__(self, hold: Hold, release: Callable[[], object]) -> None:
        self._hold: Hold | None = hold
        self._release = release

    def __call__(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.transaction_ended(self._release)

    __del__ = __call__
