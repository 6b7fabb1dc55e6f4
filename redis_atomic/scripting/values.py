"""
The types of a head comment: an argument on its way out, a reply on its way in.

On the wire everything is text or a signed 64-bit integer. Encoders raise a
TypeError or ValueError that names the argument; decoders a ValueError.
"""

from __future__ import annotations

import json
import math
import operator
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..exceptions import ScriptError
from .packing import Arg

#: Redis's own limit for a string, in bytes (its setting proto-max-bulk-len).
MAX_STRING = 512 * 1024 * 1024
MIN_INT, MAX_INT = -(2**63), 2**63 - 1

INTEGER = re.compile(rb"-?[0-9]+")
FLOAT = re.compile(rb"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf|nan)", re.IGNORECASE)
CODE = re.compile(r"-?([A-Z][A-Z0-9_]{2,}) (.*)", re.DOTALL)


def encode_str(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise wrong_type(name, "str", value)
    try:
        return encode_bytes(name, value.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} cannot be sent as UTF-8: {error}") from error


def encode_bytes(name: str, value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise wrong_type(name, "bytes", value)
    data = bytes(value)
    if len(data) > MAX_STRING:
        raise ValueError(f"{name} has {len(data)} bytes; Redis takes at most {MAX_STRING}.")
    return data


def encode_int(name: str, value: object) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise wrong_type(name, "int", value)
    number = operator.index(value)
    if not MIN_INT <= number <= MAX_INT:
        raise ValueError(f"{name} must be a signed 64-bit integer, not {reprlib.repr(number)}.")
    return number


def encode_float(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "float", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {reprlib.repr(value)}.")
    return repr(number)


def encode_bool(name: str, value: object) -> int:
    if not isinstance(value, bool):
        raise wrong_type(name, "bool", value)
    return int(value)


def encode_json(name: str, value: object) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be written as JSON: {error}") from error
    return encode_str(name, text)


def wrong_type(name: str, wanted: str, value: object) -> TypeError:
    given = type(value).__name__
    return TypeError(f"{name} must be {wanted}, not {reprlib.repr(value)} ({given}).")


def decode_str(reply: Any) -> str:
    return decode_bytes(reply).decode()


def decode_bytes(reply: Any) -> bytes:
    if not isinstance(reply, bytes):
        raise ValueError
    return reply


def decode_int(reply: Any) -> int:
    if isinstance(reply, bytes) and INTEGER.fullmatch(reply):
        return int(reply)
    if not isinstance(reply, int):
        raise ValueError
    return reply


def decode_float(reply: Any) -> float:
    # A number that a script returns has lost its fraction in Redis: only text is a float.
    if not FLOAT.fullmatch(decode_bytes(reply)):
        raise ValueError
    return float(reply)


def decode_bool(reply: Any) -> bool:
    number = 0 if reply is None else decode_int(reply)
    if number not in (0, 1):
        raise ValueError
    return bool(number)


def decode_json(reply: Any) -> Any:
    return json.loads(decode_bytes(reply))


def decode_list(reply: Any) -> list[Any]:
    if not isinstance(reply, list):
        raise ValueError
    return reply


def decode_map(reply: Any) -> dict[str, Any]:
    flat = decode_list(reply)
    names = [str(name) if isinstance(name, int) else decode_str(name) for name in flat[::2]]
    return dict(zip(names, flat[1::2], strict=True))


def decode_none(reply: Any) -> None:
    if reply is not None:
        raise ValueError


class ValueType(NamedTuple):
    python: Any
    decode: Callable[[Any], Any]
    encode: Callable[[str, object], Arg] | None = None  # None: only ever returned


TYPES: Mapping[str, ValueType] = {
    "str": ValueType(str, decode_str, encode_str),
    "bytes": ValueType(bytes, decode_bytes, encode_bytes),
    "int": ValueType(int, decode_int, encode_int),
    "float": ValueType(float, decode_float, encode_float),
    "bool": ValueType(bool, decode_bool, encode_bool),
    "json": ValueType(Any, decode_json, encode_json),
    "list": ValueType(list[Any], decode_list),
    "map": ValueType(dict[str, Any], decode_map),
    "none": ValueType(None, decode_none),
}


def plain(reply: Any, script: str) -> Any:
    """
    The reply as RESP2 has it, whatever the protocol and the parser: bytes, ints,
    None, and lists of these. An error in it, at any depth, is raised as ScriptError.
    """
    if isinstance(reply, bytes | None):
        return reply
    if isinstance(reply, bool):
        return int(reply)
    if isinstance(reply, int):
        return reply if MIN_INT <= reply <= MAX_INT else b"%d" % reply
    if isinstance(reply, float):
        return repr(reply).removesuffix(".0").encode()
    if isinstance(reply, str):
        return reply.encode()
    if isinstance(reply, Mapping):
        return [plain(each, script) for item in reply.items() for each in item]
    if isinstance(reply, Exception):
        match = CODE.fullmatch(str(reply))
        code, message = match.groups() if match else ("ERR", str(reply))
        raise ScriptError(message, script=script, code=code) from reply
    return [plain(each, script) for each in reply]
