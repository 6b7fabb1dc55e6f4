"""
The globals that Redis gives to a script, by server.

Listed by scripts that walked ``_G``, on Redis 6.2 and 7.0 and Valkey 9; a test compares.
"""

from __future__ import annotations

from ..commands import words


def _fields(**tables: str) -> frozenset[str]:
    return frozenset(f"{table}.{name}" for table, names in tables.items() for name in names.split())


#: What every server has.
GLOBALS = words(
    "ARGV KEYS _G _VERSION assert bit cjson cmsgpack collectgarbage coroutine error gcinfo "
    "getmetatable ipairs load loadstring math next pairs pcall rawequal rawget rawset redis "
    "select setmetatable string struct table tonumber tostring type unpack xpcall"
)
#: What some have, and which.
ELSEWHERE = {
    **dict.fromkeys(words("getfenv newproxy print setfenv"), "Redis 6.2"),
    "os": "Redis 8 and Valkey",
    "server": "Valkey",
}
#: The fields of the tables that scripts do not make themselves, on whatever server.
FIELDS = _fields(
    bit="arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex",
    cjson="_NAME _VERSION decode decode_array_with_array_mt decode_invalid_numbers "
    "decode_max_depth encode encode_invalid_numbers encode_keep_buffer encode_max_depth "
    "encode_number_precision encode_sparse_array new null",
    cmsgpack="_COPYRIGHT _DESCRIPTION _NAME _VERSION pack unpack unpack_limit unpack_one",
    coroutine="create resume running status wrap yield",
    math="abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 "
    "max min mod modf pi pow rad random randomseed sin sinh sqrt tan tanh",
    os="clock",
    redis="LOG_DEBUG LOG_NOTICE LOG_VERBOSE LOG_WARNING REDIS_VERSION REDIS_VERSION_NUM REPL_ALL "
    "REPL_AOF REPL_NONE REPL_REPLICA REPL_SLAVE SERVER_NAME VALKEY_VERSION VALKEY_VERSION_NUM "
    "acl_check_cmd breakpoint call debug error_reply log pcall replicate_commands set_repl setresp "
    "sha1hex status_reply",
    string="byte char dump find format gfind gmatch gsub len lower match rep reverse sub upper",
    struct="pack size unpack",
    table="concat foreach foreachi getn insert maxn remove setn sort",
)
FIELDS |= frozenset(name.replace("redis.", "server.") for name in FIELDS)
TABLES = frozenset(name.partition(".")[0] for name in FIELDS)
