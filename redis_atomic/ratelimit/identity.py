"""
Who is asking: the identity that a request counts under.

An identity is readable text, ``kind:value``, the same in decorators, settings,
``RateLimiter`` and the management command:

    key               identity                       missing when
    "ip"              ip:192.0.2.1, ip:2001:db8::/64   there is no usable address
    "user"            user:7 (the primary key)         nobody is logged in
    "header:X-Key"    header:X-Key:value               absent or empty
    "get:field"       get:field:value                  absent or empty
    "post:field"      post:field:value                 the same, or not a urlencoded body
    "path:name"       path:name:value                  the URL has no such argument
    a callable        callable:text                    it returns None, "" or False
    a tuple of these  a tuple of these                 (each part by itself)

A missing value counts under the client's address, and clients without an
address share one bucket. ``missing="skip"`` does not limit such requests,
``missing="shared"`` counts them all together.

Values of forms and queries are compared as Django compares user names, and
without regard to case: ``" Ann"``, ``"ann"`` and the same in full-width letters
try one account, so they share a bucket. A value of more than 128 characters is replaced
by its digest.

A key callable takes the request and returns text or an integer. What it raises
is raised by the view: to go on without it would be to switch the limit off.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.request import HttpHeaders

from .addresses import client_subscriber, parse_address, subscriber, warn_about_no_address
from .steps import Ask, Steps, called

Identity = str | tuple[str, ...]
KeyPart = str | Callable[[HttpRequest], Any]
Key = KeyPart | tuple[KeyPart, ...]
Kwargs = Mapping[str, Any]
Reader = Callable[[HttpRequest, Kwargs], str]
Teller = Callable[[HttpRequest, Kwargs], Identity | None]

#: Identities are kept in memory while they are refused, so they must stay small.
LONGEST_VALUE = 128

#: Normalizing makes some texts 18 times longer, and no name of anybody is this long.
LONGEST_FOLDED = 1024

FORM = "application/x-www-form-urlencoded"


def identify(
    request: HttpRequest, key: Key, kwargs: Kwargs, *, missing: str | None = None
) -> Steps[Identity | None]:
    """
    The identity under which a request counts, or None: it is not limited.

    ``kwargs`` are the URL's arguments; ``missing`` is None, "skip" or "shared".
    """
    if isinstance(key, tuple):
        return _identify_tuple(request, key, kwargs, missing)
    return _identify_part(request, key, kwargs, missing)


def as_counted(identity: str) -> str:
    """
    An identity, written by somebody, as a request's would be.

    An address stands for its network, a value of a form or query is folded, a long one
    is digested.
    """
    kind, _, value = identity.partition(":")
    if kind == "ip":
        address = parse_address(value)
        return identity if address is None else f"ip:{subscriber(address)}"
    if kind in NAMED:
        name, colon, value = value.partition(":")
        if not colon:
            return identity
        return f"{kind}:{name}:{_short(_folded(value) if kind in ('get', 'post') else value)}"
    return f"{kind}:{_short(value)}" if kind in ("user", "callable") else identity


def teller(key: Any, missing: str | None = None) -> Teller:
    """What identifies requests by a key that needs no answer from elsewhere, as identify() does."""
    if not isinstance(key, tuple):
        return _teller_of_part(key, missing)
    tellers = [_teller_of_part(part, missing) for part in key]

    def tell(request: HttpRequest, kwargs: Kwargs) -> Identity | None:
        parts = tuple([tell(request, kwargs) for tell in tellers])
        return None if None in parts else parts  # type: ignore[return-value]

    return tell


def _identify_tuple(
    request: HttpRequest, key: tuple[KeyPart, ...], kwargs: Kwargs, missing: str | None
) -> Steps[tuple[str, ...] | None]:
    parts = []
    for part in key:
        identity = yield from _identify_part(request, part, kwargs, missing)
        if identity is None:
            return None
        parts.append(identity)
    return tuple(parts)


def _identify_part(
    request: HttpRequest, key: KeyPart, kwargs: Kwargs, missing: str | None
) -> Steps[str | None]:
    if callable(key):
        value = _text_of((yield from called(key, request)), key)
        key = "callable"
    elif key == "user":
        value = _user_id((yield Ask(_user, _auser, (request,))))
    else:
        return _read(request, key, kwargs, missing)
    return _identity(request, key, value, kwargs, missing)


def _read(request: HttpRequest, key: str, kwargs: Kwargs, missing: str | None) -> str | None:
    """The identity by a key that the request itself tells."""
    return _identity(request, key, _reader(key)(request, kwargs), kwargs, missing)


def _teller_of_part(key: str, missing: str | None) -> Callable[[HttpRequest, Kwargs], str | None]:
    read = _reader(key)
    return lambda request, kwargs: _identity(request, key, read(request, kwargs), kwargs, missing)


def _identity(
    request: HttpRequest, key: str, value: str, kwargs: Kwargs, missing: str | None
) -> str | None:
    if value:
        return f"{key}:{_short(value)}"
    if missing == "skip":
        return None
    if missing == "shared":
        return f"{key}:"
    if key == "ip":
        warn_about_no_address(request)
        return "ip:"
    return _read(request, "ip", kwargs, missing)


def _ip(request: HttpRequest, kwargs: Kwargs) -> str:
    return client_subscriber(request)


def _header(name: str) -> Reader:
    field = HttpHeaders.to_wsgi_name(name)
    return lambda request, kwargs: str(request.META.get(field, "")).strip()


def _get(name: str) -> Reader:
    return lambda request, kwargs: _folded(request.GET.get(name, ""))


def _post(name: str) -> Reader:
    def read(request: HttpRequest, kwargs: Kwargs) -> str:
        # Other bodies are the view's to read, perhaps as a stream.
        # (REST framework's content_type has its parameters, such as the charset.)
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        return _folded(request.POST.get(name, "")) if content_type == FORM else ""

    return read


def _path(name: str) -> Reader:
    return lambda request, kwargs: str(kwargs.get(name, ""))


#: The kinds that are followed by a name, each with what makes its reader.
NAMED: Mapping[str, Callable[[str], Reader]] = {
    "header": _header,
    "get": _get,
    "post": _post,
    "path": _path,
}


@lru_cache(maxsize=256)
def _reader(key: str) -> Reader:
    """What reads the value of a key that needs no answer from elsewhere."""
    if key == "ip":
        return _ip
    kind, _, name = key.partition(":")
    return NAMED[kind](name)


def _folded(value: str | list[object]) -> str:
    text = str(value).strip()
    if len(text) > LONGEST_FOLDED:
        return text
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _short(value: str) -> str:
    if len(value) <= LONGEST_VALUE:
        return value
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _text_of(result: object, function: Callable[..., Any]) -> str:
    if result is None or result is False:
        return ""
    if isinstance(result, str | int | UUID) and not isinstance(result, bool):
        return str(result)
    raise TypeError(
        f"The key callable {function!r} returned {type(result).__name__}: return text, an "
        "integer, or None for a request that has no value."
    )


def _user_id(user: Any) -> str:
    return str(user.pk) if getattr(user, "is_authenticated", False) else ""


def _user(request: HttpRequest) -> Any:
    try:
        return request.user
    except AttributeError as error:
        raise ImproperlyConfigured(
            "key='user' needs request.user: place AuthenticationMiddleware before "
            "redis_atomic's middleware in MIDDLEWARE."
        ) from error


async def _auser(request: HttpRequest) -> Any:
    auser = getattr(request, "auser", None)
    return _user(request) if auser is None else await auser()
