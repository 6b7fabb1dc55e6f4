"""Atomic Redis for Django: Lua scripts as typed functions, exact limits, honest locks."""

from .dispatch import operation
from .scripting.script import Call, RawKey

__all__ = ["Call", "RawKey", "operation"]
__version__ = "0.1.0"
