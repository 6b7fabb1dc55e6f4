"""Settings of redis_atomic, changed for a test."""

from __future__ import annotations

from typing import Any

from django.test.utils import TestContextDecorator, override_settings

from ..conf import Settings, user_settings


class OverrideSettings(TestContextDecorator):
    """See ``override``."""

    def __init__(self, changes: dict[str, Any]) -> None:
        super().__init__()
        self.changes = changes

    def enable(self) -> None:
        # What the other keys are is known only now, not when a test is decorated.
        self._override = override_settings(REDIS_ATOMIC={**user_settings(), **self.changes})
        self._override.enable()

    def disable(self) -> None:
        self._override.disable()


def override(**changes: Any) -> OverrideSettings:
    """
    Change single keys of ``settings.REDIS_ATOMIC``: ``override(LOCK_TTL=5)``.

    A context manager, and a decorator of functions and TestCase classes, as
    Django's ``override_settings``. TypeError for a key that does not exist.
    """
    if unknown := sorted(set(changes) - set(Settings.names())):
        raise TypeError(f"REDIS_ATOMIC has no setting {unknown[0]!r}.")
    return OverrideSettings(changes)
