"""
Forms: calls of which all but the token is known.

Every acquire has a token of its own, and it stands in a key as well as in an argument.
All else of its calls is the same as the last time, so it is packed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ..scripting.packing import Arg, pack
from ..scripting.script import Call, Key, PrefixedKey, Script

T = TypeVar("T")


class MakesKeys(Protocol):
    def make_key(self, key: Key) -> bytes: ...


class Form(Generic[T]):
    """A call with a blank for the token: ``keys`` takes it, and it is the first argument."""

    def __init__(
        self,
        script: Script,
        keys: Callable[[str], tuple[PrefixedKey, ...]],
        args: tuple[Arg, ...],
        parse: Callable[[Any], T],
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.parse = parse
        self._pieces: dict[tuple[MakesKeys, int], list[bytes]] = {}

    def packed(self, token: str, client: MakesKeys) -> bytes:
        """The call as this client sends it."""
        word = token.encode()
        pieces = self._pieces.get((client, len(word)))
        if pieces is None:
            # At random as it is, the token stands nowhere else.
            pieces = self._pack(token, client).split(word)
            self._pieces[client, len(word)] = pieces
        return word.join(pieces)

    def _pack(self, token: str, client: MakesKeys) -> bytes:
        keys = [client.make_key(key) for key in self.keys(token)]
        return pack("EVALSHA", self.script.sha, keys, (token, *self.args))


class TokenCall(Call[T]):
    """A form, filled in. Its words are put together where they are asked for."""

    __slots__ = ("_form", "_token")

    cache = None
    version = None

    def __init__(self, form: Form[T], token: str) -> None:
        self._form = form
        self._token = token
        self.command = form.script
        self.parse = form.parse

    @property
    def keys(self) -> tuple[Key, ...]:  # type: ignore[override]
        return self._form.keys(self._token)

    @property
    def args(self) -> tuple[Arg, ...]:  # type: ignore[override]
        return (self._token, *self._form.args)

    def packed(self, client: MakesKeys) -> bytes:
        """The call as this client sends it."""
        return self._form.packed(self._token, client)
