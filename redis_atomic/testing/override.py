"""``override``: single keys of REDIS_ATOMIC, for the time of a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.test.utils import override_settings

from ..conf import Settings, user_settings


class override(override_settings):  # noqa: N801 - it stands beside override_settings
    """
    Change some keys of ``REDIS_ATOMIC``, and leave the others as they are.

    ``override(RATE_LIMIT_ON_ERROR="open")`` is a context manager, and a decorator
    of test functions, sync and async, and of test case classes, as Django's
    ``override_settings`` is. TypeError for a key that is not a setting.
    """

    def __init__(self, **changes: Any) -> None:
        for name in changes:
            if name not in Settings.names():
                raise TypeError(
                    f"REDIS_ATOMIC has no {name!r}; its keys are {', '.join(Settings.names())}."
                )
        super().__init__()
        self.changes = changes

    def enable(self) -> None:
        # Not before: an override around this one may have come in between.
        self._merge_into(user_settings())
        super().enable()

    def save_options(self, test_func: Any) -> None:
        """Called for a test case class, which enables later what was saved with it."""
        saved = test_func._overridden_settings or {}
        self._merge_into(saved.get("REDIS_ATOMIC", user_settings()))
        super().save_options(test_func)

    def _merge_into(self, base: Mapping[str, Any]) -> None:
        self.options = {"REDIS_ATOMIC": {**base, **self.changes}}
