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

    ``release`` gives the lease back. It is called here only when the last to need
    it was a transaction; a section is told to do it, by ``leave()``.
    """

    def __init__(self, release: Callable[[], object]) -> None:
        self._release = release
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

    def await_commit(self, using: str | None = None) -> None:
        """The transaction of this database needs the lease, until its end."""
        with self._lock:
            self._transactions += 1
        transaction.on_commit(_Hook(self), using=using, robust=True)

    def transaction_ended(self) -> None:
        """Release the lease, if no section needs it either. It is too late to raise anything."""
        with self._lock:
            self._transactions -= 1
            if self._sections or self._transactions:
                return
        try:
            self._release()
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

    def __init__(self, hold: Hold) -> None:
        self._hold: Hold | None = hold

    def __call__(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.transaction_ended()

    __del__ = __call__
