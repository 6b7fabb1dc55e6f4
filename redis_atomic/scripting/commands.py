"""
What must be known of Redis's commands: which write, and which of their arguments are keys.

Written from ``COMMAND INFO`` of Redis 6.2 and 7.0 and Valkey 9; a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


#: Commands that Redis refuses in a script that may not write; the last line's do not write,
#: but are replicated.
WRITES = words(
    "APPEND BITFIELD BITOP BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN COPY DECR "
    "DECRBY DEL DELIFEQ EXPIRE EXPIREAT FLUSHALL FLUSHDB GEOADD GEORADIUS GEORADIUSBYMEMBER "
    "GEOSEARCHSTORE GETDEL GETEX GETSET HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX HINCRBY HINCRBYFLOAT "
    "HMSET HPERSIST HPEXPIRE HPEXPIREAT HSET HSETEX HSETNX INCR INCRBY INCRBYFLOAT LINSERT LMOVE "
    "LMPOP LPOP LPUSH LPUSHX LREM LSET LTRIM MIGRATE MOVE MSET MSETEX MSETNX PERSIST PEXPIRE "
    "PEXPIREAT PFADD PFDEBUG PFMERGE PSETEX RENAME RENAMENX RESTORE RESTORE-ASKING RPOP RPOPLPUSH "
    "RPUSH RPUSHX SADD SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SINTERSTORE SMOVE SORT SPOP SREM "
    "SUNIONSTORE SWAPDB UNLINK XACK XADD XAUTOCLAIM XCLAIM XDEL XREADGROUP XSETID XTRIM ZADD "
    "ZDIFFSTORE ZINCRBY ZINTERSTORE ZMPOP ZPOPMAX ZPOPMIN ZRANGESTORE ZREM ZREMRANGEBYLEX "
    "ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE "
    "PFCOUNT PUBLISH SPUBLISH"
)
#: Commands that may wait for what others do.
BLOCKING = words(
    "BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF XREAD XREADGROUP"
)
#: Commands without a key, or with one that cannot be told (SCAN, RANDOMKEY).
KEYLESS = words(
    "ACL ASKING AUTH BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND COMMANDLOG CONFIG DBSIZE DEBUG "
    "DISCARD ECHO EXEC FAILOVER FLUSHALL FLUSHDB FUNCTION HELLO INFO KEYS LASTSAVE LATENCY LOLWUT "
    "MODULE MONITOR MULTI PFSELFTEST PING PSUBSCRIBE PSYNC PUBLISH PUBSUB PUNSUBSCRIBE QUIT "
    "RANDOMKEY READONLY READWRITE REPLCONF REPLICAOF RESET ROLE SAVE SCAN SCRIPT SELECT SHUTDOWN "
    "SLAVEOF SLOWLOG STRALGO SUBSCRIBE SWAPDB SYNC TIME UNSUBSCRIBE UNWATCH WAIT WAITAOF"
)

#: Where the keys are: the first, the last (from the end if negative), and how far apart.
#: A command that is not here has one key, first.
PLACES = {
    **dict.fromkeys(words("BLPOP BRPOP BZPOPMAX BZPOPMIN"), (1, -2, 1)),
    **dict.fromkeys(
        words(
            "DEL EXISTS MGET PFCOUNT PFMERGE SDIFF SDIFFSTORE SINTER SINTERSTORE SSUBSCRIBE "
            "SUNION SUNIONSTORE SUNSUBSCRIBE TOUCH UNLINK WATCH"
        ),
        (1, -1, 1),
    ),
    **dict.fromkeys(words("MSET MSETNX"), (1, -1, 2)),
    **dict.fromkeys(
        words(
            "BLMOVE BRPOPLPUSH COPY GEOSEARCHSTORE LCS LMOVE RENAME RENAMENX RPOPLPUSH SMOVE "
            "ZRANGESTORE"
        ),
        (1, 2, 1),
    ),
    "BITOP": (2, -1, 1),
    "MIGRATE": (3, 3, 1),
    **dict.fromkeys(words("OBJECT PFDEBUG XGROUP XINFO"), (2, 2, 1)),
}
#: Where the number of the keys is that follow it; those of the first line have a key before it.
COUNTS = {
    **dict.fromkeys(words("ZDIFFSTORE ZINTERSTORE ZUNIONSTORE"), 2),
    **dict.fromkeys(words("BLMPOP BZMPOP EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO"), 2),
    **dict.fromkeys(
        words("LMPOP MSETEX SINTERCARD ZDIFF ZINTER ZINTERCARD ZMPOP ZUNION"),
        1,
    ),
}
#: A word, behind which is a key.
STORES = words("GEORADIUS GEORADIUSBYMEMBER SORT")


def key_places(command: str, arguments: Sequence[str | None]) -> Iterator[int]:
    """
    Which arguments are keys, as indices.

    ``arguments``: those after the command, None for what only the script will know.
    Keys behind such a one may be left out.
    """
    said = [(each or "").upper() for each in arguments]
    if command in ("XREAD", "XREADGROUP"):
        yield from _streams(said)
    elif command in COUNTS:
        yield from range(1 if command.endswith("STORE") else 0)
        yield from _counted(command, said)
    elif command == "MEMORY":
        yield from [1] if said[:1] == ["USAGE"] and len(said) > 1 else []
    elif command not in KEYLESS:
        first, last, step = PLACES.get(command, (1, 1, 1))
        stop = last if last > 0 else len(said) + last + 1
        yield from range(first - 1, min(stop, len(said)), step)
    if command in STORES:
        yield from (at for at in range(1, len(said)) if said[at - 1] in ("STORE", "STOREDIST"))


def _streams(said: Sequence[str]) -> Iterator[int]:
    if "STREAMS" in said:
        first = said.index("STREAMS") + 1
        yield from range(first, first + (len(said) - first) // 2)


def _counted(command: str, said: Sequence[str]) -> Iterator[int]:
    place = COUNTS[command]
    number = said[place - 1] if len(said) >= place else ""
    step = 2 if command == "MSETEX" else 1
    count = int(number) if number.isdecimal() else 0
    yield from range(place, min(place + step * count, len(said)), step)
