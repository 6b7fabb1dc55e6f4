"""List the locks that are held, or take one away from its holder."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...exceptions import RedisAtomicError
from ...locks.inspection import LockState, lock_states, take_away

COLUMNS = ("NAME", "HOLDER", "FENCE", "HELD", "TTL", "WAITING", "STUCK")


class Command(BaseCommand):
    help = "Lists the locks that are held or waited for, or takes one away from its holder."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--stuck",
            action="store_true",
            help="Only those held for longer than --max-hold, or with waiters and no holder.",
        )
        parser.add_argument(
            "--max-hold",
            type=float,
            metavar="SECONDS",
            help="When a lock is stuck; by default 20 times LOCK_TTL.",
        )
        parser.add_argument(
            "--break",
            dest="name",
            metavar="NAME",
            help="Take this lock away from the holder that is shown; who waits is next.",
        )
        parser.add_argument(
            "--cache", metavar="ALIAS", help="The cache alias; by default LOCK_CACHE_ALIAS."
        )
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            states = lock_states(
                options["cache"], name=options["name"], max_hold=options["max_hold"]
            )
            held = any(state.holders for state in states)
            if options["stuck"]:
                states = [state for state in states if state.stuck]
            self.stdout.write(FORMATS[options["format"]](states))
            if options["name"] is not None:
                if held and not states:
                    raise CommandError(f"{options['name']!r} is not stuck: nothing was taken.")
                self._break(states, options)
        except (
            RedisAtomicError,
            ImproperlyConfigured,
            InvalidCacheBackendError,
            TypeError,
            ValueError,
        ) as error:
            raise CommandError(str(error)) from error

    def _break(self, states: list[LockState], options: dict[str, Any]) -> None:
        taken = [holder for state in states for holder in take_away(state, options["cache"])]
        if not taken:
            raise CommandError(f"Nobody holds {options['name']!r}: nothing was taken.")
        owners = ", ".join(holder.owner for holder in taken)
        self.stderr.write(f"Taken from {owners}. It may still be at work: only its fence stops it.")


def as_text(states: list[LockState]) -> str:
    rows = [COLUMNS, *(row for state in states for row in _rows(state))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines) if states else "No locks."


def _rows(state: LockState) -> list[tuple[str, ...]]:
    waiting = str(state.waiting)
    if not state.holders:
        return [(state.name, "-", "-", "-", "-", waiting, state.stuck)]
    return [
        (
            state.name,
            holder.owner,
            str(holder.fence),
            f"{held:.1f} s",
            f"{holder.remaining:.1f} s",
            waiting,
            state.stuck,
        )
        for holder, held in zip(state.holders, state.held, strict=True)
    ]


def as_json(states: list[LockState]) -> str:
    return json.dumps([_plain(state) for state in states], indent=2, ensure_ascii=False)


def _plain(state: LockState) -> dict[str, Any]:
    holders = [
        {"owner": each.owner, "fence": each.fence, "held": round(held, 3), "ttl": each.remaining}
        for each, held in zip(state.holders, state.held, strict=True)
    ]
    return {
        "name": state.name,
        "kind": state.kind,
        "holders": holders,
        "waiting": state.waiting,
        "waiters": list(state.waiters),
        "stuck": state.stuck or None,
    }


FORMATS = {"text": as_text, "json": as_json}
