"""
Rate limits for a whole site, or parts of it, by settings.

``RateLimitMiddleware`` limits each request by the entries of RATE_LIMITS that
say where they apply::

    REDIS_ATOMIC = {
        "RATE_LIMITS": {
            "site": {"RATE": "300/m", "KEY": "ip", "PATH": "/"},
            "api": {"RATE": ["20/s", "5000/d"], "KEY": "user", "PATH": "/api/"},
            "login": {"RATE": "5/m", "URL_NAMES": ["login"], "METHODS": ["POST"]},
        },
    }

Where to place it. Middleware runs from top to bottom on the way in::

    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "redis_atomic.middleware.RateLimitMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        ...
    ]

* After ``AuthenticationMiddleware``, if a rule has the key "user", and directly
  after it, so that all below it is protected. The user is read from the database
  only where a rule that applies asks for it.

* Without such a rule it may stand higher, so that refused requests cost less.

* After ``LocaleMiddleware``, if URL_NAMES name patterns of ``i18n_patterns``, and
  after any middleware that sets ``request.urlconf``.

* Above ``UpdateCacheMiddleware``, if the site cache is used: what that stores
  should not hold one client's header fields, and a page from the cache counts.

How it decides:

* PATH is a prefix of ``request.path_info`` by whole segments: "/api/" is for
  "/api" and "/api/users/", not for "/apiary/". PATH_REGEX is searched in the same
  path. URL_NAMES are names of URL patterns, with their namespaces. An entry that
  gives several of these applies where all of them fit. METHODS narrows it further,
  here and in decorators that name the entry.

* All entries that apply to a request are asked in one call: either all of them
  are charged, or, when one refuses, none.

* A limit that a decorator names too is charged once a request.

* A refused request goes no further than here; the layers above still see the
  response, so it is logged and gets its security headers as any other.

* ``request.rate_limit`` is the Decision, or None where nothing applied, and the
  response tells what is left in its header fields, also when the view raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject

from .ratelimit.charging import Rule
from .ratelimit.gate import aenter, aleave, enter, leave
from .ratelimit.rules import placed_rules, rules_for


class RateLimitMiddleware:
    """See the module. ImproperlyConfigured at start where RATE_LIMITS is at fault."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        placed_rules()

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self.__acall__(request)
        rules, kwargs = _rules_for(request)
        response, decision = enter(request, rules, view="middleware", kwargs=kwargs)
        if response is None:
            response = self.get_response(request)
            leave(request, response, decision)
        return response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        rules, kwargs = _rules_for(request)
        response, decision = await aenter(request, rules, view="middleware", kwargs=kwargs)
        if response is None:
            response = await self.get_response(request)
            await aleave(request, response, decision)
        return response


def _rules_for(request: HttpRequest) -> tuple[list[Rule], Any]:
    """The rules for this request, and its URL's arguments, looked up when somebody asks."""
    rules, route = rules_for(request)
    return rules, SimpleLazyObject(lambda: route.kwargs)
