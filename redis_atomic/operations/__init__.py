"""
Ready-made atomic operations.

Each is called as ``increment("hits")``, awaited as ``aincrement("hits")``, built
for a pipeline as ``increment.call("hits")``, and bound to another cache alias or
key version as ``increment.using(cache="stock")``.

*Keys* go through the alias's ``make_key`` (KEY_PREFIX, VERSION) unless they are a
``RawKey``. Integers are shared with Django's cache: ``cache.set("hits", 5)``,
``increment("hits")`` and ``cache.get("hits")`` meet on one key. Text is not:
``cache.set`` pickles it and these functions don't, so keep it in keys of its own.

*Integers* are exact over all signed 64 bits. *Values* are ``str`` (sent as UTF-8),
``bytes`` or ``int`` (decimal), and come back as ``bytes``.

*Times* (``ttl``) are seconds, as int, float or ``timedelta``, kept to the
millisecond. A key's own TTL survives unless the function says otherwise.

*A call that fails has changed nothing.* All of them raise TypeError or ValueError
before anything is sent, WrongType, NotAnInteger and IntegerOverflow with the key,
and NotExecuted or IndeterminateResult when Redis could not be asked or its reply
was lost. Results that are named tuples are true when the thing was done.

The Redis user needs the commands a script calls: GET, SET, DEL, INCRBY, HMGET,
HGET, HINCRBY, HGETALL, HSET, PTTL, PEXPIRE, beside EVALSHA and SCRIPT LOAD.
"""

from .hashes import (
    ahash_get_or_create,
    ahash_increment_multiple,
    hash_get_or_create,
    hash_increment_multiple,
)
from .integers import (
    Increment,
    Stored,
    aincrement,
    aincrement_with_max,
    aset_if_greater,
    avalidated_increment,
    increment,
    increment_with_max,
    set_if_greater,
    validated_increment,
)
from .transfers import Transfer, atransfer, transfer
from .values import Swap, acompare_and_swap, aget_and_set, compare_and_swap, get_and_set

__all__ = [
    "Increment",
    "Stored",
    "Swap",
    "Transfer",
    "acompare_and_swap",
    "aget_and_set",
    "ahash_get_or_create",
    "ahash_increment_multiple",
    "aincrement",
    "aincrement_with_max",
    "aset_if_greater",
    "atransfer",
    "avalidated_increment",
    "compare_and_swap",
    "get_and_set",
    "hash_get_or_create",
    "hash_increment_multiple",
    "increment",
    "increment_with_max",
    "set_if_greater",
    "transfer",
    "validated_increment",
]
