"""Databases that several threads can use at once, for tests of what a commit means."""

import os
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import pytest
from django.db import connections

POSTGRES_URL = os.environ.get("POSTGRES_URL")  # postgresql://user@host:port/name


def sqlite(folder):
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / "db.sqlite3",
        "OPTIONS": {"init_command": "PRAGMA journal_mode=wal", "transaction_mode": "IMMEDIATE"},
    }


def postgresql(folder):
    url = urlsplit(POSTGRES_URL)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": unquote(url.hostname or ""),
        "PORT": url.port or "",
    }


needs_postgresql = pytest.mark.skipif(not POSTGRES_URL, reason="POSTGRES_URL names no server")

#: For a fixture's params: makers of a database's settings.
DATABASES = [sqlite, pytest.param(postgresql, marks=needs_postgresql)]


@contextmanager
def shared_database(make_settings, folder, models=()):
    """The alias of such a database, with empty tables of these models."""
    settings = connections.configure_settings({"default": {}, "shared": make_settings(folder)})
    connections.settings["shared"] = settings["shared"]
    connection = connections["shared"]
    try:
        tables = connection.introspection.table_names()
        with connection.schema_editor() as editor:
            for model in models:
                if model._meta.db_table in tables:  # of a run that was interrupted
                    editor.delete_model(model)
                editor.create_model(model)
        yield "shared"
    finally:
        connection.close()
        del connections["shared"], connections.settings["shared"]
