"""
Forms: calls of which all but two words are known.

From acquire to acquire a lock's calls differ in the token, which stands in a key and in
an argument, and from lock to lock in the name, which stands in every key. All else is
packed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ..scripting.packing import Arg, pack
from ..scripting.script import Call, Key, Script

T = TypeVar("T")

#: What stands for a name and a token where a form is made: in no key but those.
NAME, TOKEN = "\0", "\1"


class MakesKeys(Protocol):
    def make_key(self, key: Key) -> bytes: ...


class Named(Protocol):
    """The keys of one name, ``encoded`` as it is sent."""

    encoded: bytes

    def of(self, token: str) -> tuple[Key, ...]: ...


class Form(Generic[T]):
    """
    A script's call with blanks.

    ``keys_of`` makes the keys of a name: the first one has the name and the token, the
    ``others`` have the name. The token is the first argument, too; ``args`` follow.
    """

    def __init__(
        self,
        script: Script,
        keys_of: Callable[[str], Named],
        others: int,
        args: tuple[Arg, ...],
        parse: Callable[[Any], T],
    ) -> None:
        self.script = script
        self.args = args
        self.parse = parse
        self._keys_of = keys_of
        self._others = others
        # By client, and by the lengths of name and token, which stand before them.
        self._blanks: dict[tuple[MakesKeys, int, int], bytes] = {}

    def packed(self, keys: Named, token: str, client: MakesKeys) -> bytes:
        """The call as this client sends it."""
        name, word = keys.encoded, token.encode()
        shape = client, len(name), len(word)
        blank = self._blanks.get(shape)
        if blank is None:
            blank = self._blanks[shape] = self._blank(*shape)
        return blank % (name, word, *(name,) * self._others, word)

    def _blank(self, client: MakesKeys, name: int, token: int) -> bytes:
        keys = self._keys_of(NAME * name)
        packed = self.words(keys, TOKEN * token, client).replace(b"%", b"%%")
        packed = packed.replace(NAME.encode() * name, b"%b")
        return packed.replace(TOKEN.encode() * token, b"%b")

    def words(self, keys: Named, token: str, client: MakesKeys) -> bytes:
        """The same, packed word by word."""
        sent = [client.make_key(key) for key in keys.of(token)]
        return pack("EVALSHA", self.script.sha, sent, (token, *self.args))


class TokenCall(Call[T]):
    """A form, filled in. Its words are put together where they are asked for."""

    __slots__ = ("_form", "_keys", "_token")

    cache = None
    version = None

    def __init__(self, form: Form[T], keys: Named, token: str) -> None:
        self._form = form
        self._keys = keys
        self._token = token
        self.command = form.script
        self.parse = form.parse

    @property
    def keys(self) -> tuple[Key, ...]:  # type: ignore[override]
        return self._keys.of(self._token)

    @property
    def args(self) -> tuple[Arg, ...]:  # type: ignore[override]
        return (self._token, *self._form.args)

    def packed(self, client: MakesKeys) -> bytes:
        """The call as this client sends it."""
        return self._form.packed(self._keys, self._token, client)
