"""``manage.py rate_limits``: what is limited, and how much somebody has left."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...conf import conf
from ...exceptions import RedisAtomicError
from ...ratelimit.decision import LimitState
from ...ratelimit.limit import Limit, name_of
from ...ratelimit.limited_views import views_limited_by
from ...ratelimit.named import identity_at, limits_named
from ...ratelimit.rate_limiter import RateLimiter


class Command(BaseCommand):
    help = (
        "List the named rate limits with what they apply to; or show what an identity has left "
        "of one, and with --reset forget what was counted: rate_limits login ip:203.0.113.5"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="a name of REDIS_ATOMIC['RATE_LIMITS']")
        parser.add_argument(
            "identity",
            nargs="*",
            help="kind:value as it is counted, such as user:7; one for each part of a tuple key",
        )
        parser.add_argument(
            "--reset", action="store_true", help="forget what was counted for the identity"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name, identity = options["name"], options["identity"]
        if options["reset"] and not identity:
            raise CommandError(
                "--reset needs a limit and an identity: rate_limits login ip:203.0.113.5 --reset"
            )
        try:
            if identity:
                self._show(name, identity, reset=options["reset"])
            else:
                self._list([name] if name else list(conf.RATE_LIMITS))
        except (ImproperlyConfigured, RedisAtomicError, TypeError, ValueError) as error:
            raise CommandError(str(error)) from error

    def _list(self, names: list[str]) -> None:
        if not names:
            self.stdout.write("REDIS_ATOMIC['RATE_LIMITS'] names no limit.")
        for name in names:
            self.stdout.write(self.style.MIGRATE_HEADING(f"{name}: {_described(name)}"))
            for place in (*_places_of(name), *views_limited_by(name)):
                self.stdout.write(f"    {place}")

    def _show(self, name: str, words: list[str], *, reset: bool) -> None:
        limiter, identity = RateLimiter(name), identity_at(name, words)
        if reset:
            limiter.reset(identity)
        decision = limiter.peek(identity)
        if decision.degraded:
            raise CommandError("Redis does not answer, so nobody knows; --reset tells why.")
        for state in decision.limits:
            style = self.style.ERROR if state.refuses else self.style.SUCCESS
            self.stdout.write(style(f"{state.name}: {_left(state)}"))


def _described(name: str) -> str:
    limits = limits_named(name)
    words = [", ".join([_rate(limit) for limit in limits]), "by", limits[0].key_text]
    if limits[0].algorithm == "token_bucket":
        words.append("(token bucket)")
    if limits[0].methods:
        words.append(f"for {', '.join(sorted(limits[0].methods))}")
    if limits[0].shadow:
        words.append("(shadow: refuses nothing)")
    return " ".join(words)


def _rate(limit: Limit) -> str:
    return name_of(limit.rate) if callable(limit.rate) else str(limit.rate)


def _places_of(name: str) -> Iterator[str]:
    """What the middleware applies the limit to, in one line."""
    entry = conf.RATE_LIMITS[name]
    places = [
        f"{word} {value if isinstance(value, str) else ', '.join(map(str, value))}"
        for word, value in entry.items()
        if word in ("PATH", "URL_NAMES")
    ]
    if "PATH_REGEX" in entry:
        regex = entry["PATH_REGEX"]
        places.append(f"PATH_REGEX {getattr(regex, 'pattern', regex)}")
    if places:
        yield f"middleware: {'; '.join(places)}"


def _left(state: LimitState) -> str:
    text = f"{state.remaining} of {state.limit} left"
    if state.retry_after:
        text += f", the next in {state.retry_after:.1f} s"
    if state.reset_after:
        text += f", all in {state.reset_after:.1f} s"
    return text
