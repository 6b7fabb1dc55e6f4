"""Operations on two keys."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..dispatch import operation
from ..scripting import arguments
from ..scripting.arguments import INT64_MAX, Key, Seconds
from ..scripting.builtin import builtin
from ..scripting.companion import companion_key
from ..scripting.script import Call


class Transfer(NamedTuple):
    """``source`` and ``destination`` are the balances after the call."""

    moved: bool
    source: int
    destination: int

    def __bool__(self) -> bool:
        return self.moved


@operation
def transfer(
    source: Key,
    destination: Key,
    amount: int,
    *,
    minimum: int = 0,
    request_id: str | None = None,
    request_ttl: Seconds = 86400,
) -> Call[Transfer]:
    """
    Move a positive amount between the integers at two keys, if the source can spare it.

    The source must keep ``minimum`` (negative: an overdraft); otherwise nothing
    moves. Returns ``Transfer(moved, source, destination)``. A missing key is 0.
    IntegerOverflow where the destination would leave 64 bits. O(1).

    A ``request_id`` makes it exactly-once: for ``request_ttl`` seconds, another
    call with this id and source moves nothing and returns the first one's result,
    also a refusal. So after IndeterminateResult ask again with the same id. It
    is kept in a key beside the source; an id that is used again with another
    destination, amount or minimum is a ScriptError with the code REQUESTREUSED.
    """
    keys = [arguments.key("source", source), arguments.key("destination", destination)]
    if source == destination:
        raise ValueError(f"source and destination are the same key: {source!r}.")
    amount = arguments.integer("amount", amount, lowest=1)
    minimum = arguments.integer("minimum", minimum)
    args = [amount, -amount, minimum + amount, INT64_MAX - amount]
    if request_id is not None:
        request_id = arguments.text("request_id", request_id)
        keys.append(companion_key(source, f":transfer:{request_id}"))
        args.append(arguments.milliseconds("request_ttl", request_ttl))
    return Call(builtin("transfer"), tuple(keys), tuple(args), _transfer)


def _transfer(reply: list[Any]) -> Transfer:
    moved, source, destination = map(int, reply)
    return Transfer(bool(moved), source, destination)


atransfer = transfer.acall
