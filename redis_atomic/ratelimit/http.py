"""
The answer of a refused request: status 429, and why, as the client likes to read it.

``Retry-After`` is always sent with a refusal that waiting helps.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader
from django.utils.cache import patch_cache_control

from ..conf import conf
from .decision import Decision
from .header_fields import refusing_policies
from .steps import Ask, Steps

#: IANA's registry of problem types; these two are the draft's.
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"

TEMPLATE = "429.html"
#: Browsers send about 150 characters; Django raises an error for one type of 10,000.
LONGEST_ACCEPT = 2000
JSON_TYPES = ("application/problem+json", "application/json")

Response = TypeVar("Response", bound=HttpResponseBase)


class HttpResponseTooManyRequests(HttpResponse):
    status_code = 429


def refusal(request: HttpRequest, decision: Decision) -> Steps[HttpResponse]:
    """
    The answer of a refused request: 429, in the form that the client prefers.

    The project's ``429.html`` where there is one (context: ``decision`` and
    ``retry_after``, whole seconds or None), problem details (RFC 9457) as JSON,
    or text.
    """
    template = _template()
    forms = ("text/plain", *JSON_TYPES) if template is None else ("text/html", *JSON_TYPES)
    form = _preferred(request, forms)
    if form in JSON_TYPES:
        return _problem(decision)
    if template is None or form != "text/html":
        return _text(decision)
    context = {"decision": decision, "retry_after": retry_after(decision)}
    # A template's context processors may ask the database.
    body = yield Ask(
        lambda: template.render(context, request),
        lambda: sync_to_async(template.render)(context, request),
    )
    return HttpResponseTooManyRequests(body, headers=_fields(decision))


def _preferred(request: HttpRequest, forms: tuple[str, ...]) -> str | None:
    """The client's choice of these; the first where its Accept cannot be one."""
    accept = request.META.get("HTTP_ACCEPT", "*/*")
    return forms[0] if len(accept) > LONGEST_ACCEPT else _preferred_by(accept, forms)


@lru_cache(maxsize=128)  # all browsers of one make send the same
def _preferred_by(accept: str, forms: tuple[str, ...]) -> str | None:
    request = HttpRequest()
    request.META["HTTP_ACCEPT"] = accept
    try:
        return request.get_preferred_type(forms)
    except (LookupError, ValueError):  # an encoding that is none: Django reads RFC 2231
        return forms[0]


def with_refusal_fields(response: Response, decision: Decision) -> Response:
    """A project's own answer with what ours have; what it says to caches stays."""
    seconds = retry_after(decision)
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    patch_cache_control(response, no_store=True)
    return response


def retry_after(decision: Decision) -> int | None:
    """Whole seconds after which the request will pass, at least 1; None: never."""
    seconds = decision.retry_after
    return None if seconds is None else max(1, math.ceil(seconds))


def _fields(decision: Decision) -> dict[str, str]:
    """Retry-After, and nothing for caches to keep (RFC 6585, section 4)."""
    seconds = retry_after(decision)
    fields = {"Cache-Control": "no-store"}
    return fields if seconds is None else {**fields, "Retry-After": str(seconds)}


def _text(decision: Decision) -> HttpResponse:
    text = f"Too many requests. {_advice(retry_after(decision))}\n"
    fields = {"Content-Type": "text/plain; charset=utf-8", **_fields(decision)}
    return HttpResponseTooManyRequests(text.encode(), headers=fields)


def _problem(decision: Decision) -> HttpResponse:
    closed = decision.degraded and conf.RATE_LIMIT_ON_ERROR == "closed"
    kind = "temporary-reduced-capacity" if closed else "quota-exceeded"
    problem = {
        "type": PROBLEM_TYPES + kind,
        "title": "Too many requests",
        "status": 429,
        "detail": _advice(retry_after(decision)),
        "violated-policies": refusing_policies(decision),
    }
    return JsonResponse(problem, status=429, content_type=JSON_TYPES[0], headers=_fields(decision))


def _advice(seconds: int | None) -> str:
    if seconds is None:
        return "This request costs more than is ever allowed at once."
    return f"Try again in {seconds} second{'s' if seconds != 1 else ''}."


def _template() -> Any:
    """
    The project's template, or None.

    Django keeps what it finds. That there is none it looks up again, which takes as
    long as the rest of an answer, so this is kept here, except while somebody may be
    writing one.
    """
    global _has_template
    if not _has_template:
        return None
    try:
        return loader.get_template(TEMPLATE)
    except TemplateDoesNotExist:
        _has_template = settings.DEBUG
        return None


_has_template = True


def _forget(*, setting: str, **kwargs: object) -> None:
    global _has_template
    if setting in {"TEMPLATES", "DEBUG", "INSTALLED_APPS"}:
        _has_template = True


setting_changed.connect(_forget, dispatch_uid="redis_atomic.limits_template")
