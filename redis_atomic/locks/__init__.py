"""Locks: fair, fenced, renewed, and never lost in silence."""
