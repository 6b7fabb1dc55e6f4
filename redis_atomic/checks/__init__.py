"""
System checks: ``manage.py check``, and more with ``--deploy``. None asks a server.

One function looks for one fault, under one id, with a hint that says what to type.
``MEANINGS`` has a line for each id.
"""

from __future__ import annotations

from . import caches, limits, rules, scripts, settings, views
from .problem import MEANINGS

__all__ = ["MEANINGS", "caches", "limits", "rules", "scripts", "settings", "views"]
