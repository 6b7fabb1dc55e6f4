"""The slot of a call's keys, or which of them lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, repeat
from typing import Any

from redis.crc import key_slot

from ..exceptions import CrossSlot, InvalidScript
from ..scripting.script import Call, Script
from ..scripting.signature import read_signature

REMEDY = (
    "Nothing was sent. Give them one hash tag: of 'stock:{7}' and 'holds:{7}' only what is in "
    "braces chooses the slot."
)


def slot_of(keys: Sequence[bytes], call: Call[Any] | None = None) -> int | None:
    """
    The one slot of the keys of this call, or of this transaction; None without keys.

    CrossSlot, naming the keys and their parameters, when there are several slots.
    """
    if not keys:
        return None
    slot = key_slot(keys[0])
    if len(keys) > 1 and any(key_slot(key) != slot for key in keys):
        raise CrossSlot(_told(keys, call))
    return slot


def _told(keys: Sequence[bytes], call: Call[Any] | None) -> str:
    what = "a transaction" if call is None else repr(call.name)
    names: Iterable[str] = () if call is None else _parameters(call.command)
    places = [
        f"{name}{key.decode('utf-8', 'backslashreplace')!r} in slot {key_slot(key)}"
        for name, key in zip(chain(names, repeat("")), keys, strict=False)
    ]
    return f"On a cluster, all keys of {what} must lie in one slot: {', '.join(places)}. {REMEDY}"


def _parameters(command: Script | str) -> Iterator[str]:
    """What a script's head calls its keys: ``stock=``, ``holds[0]=``, ``holds[1]=`` …"""
    if isinstance(command, str):
        return
    try:
        text = command.source.decode(errors="replace")
        signature = command.signature or read_signature(text, command.name)
    except InvalidScript:
        return
    for parameter in signature.keys:
        if not parameter.tail:
            yield f"{parameter.name}="
        else:
            yield from (f"{parameter.name}[{index}]=" for index in count())
