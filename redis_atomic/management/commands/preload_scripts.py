"""
``manage.py preload_scripts``: load all scripts on every node, before traffic comes.

Exit code 0: all present and verified; 1: some are missing (``--check``), do not
compile or differ; 2: wrong arguments or settings; 3: a node could not be reached;
4: no permission.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...exceptions import ScriptNotFound
from ...registry import scripts


class Command(BaseCommand):
    help = "Load the project's Lua scripts on every Redis node, and verify them."
    requires_system_checks = ()  # it tells of broken scripts itself, and loads the others

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="only these scripts")
        parser.add_argument("--cache", metavar="ALIAS", help="only the nodes of this cache")
        parser.add_argument("--check", action="store_true", help="only look, load nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = scripts.preload(
                options["names"],
                cache=options["cache"],
                load=not options["check"],
                progress=self._progress if options["verbosity"] else None,
            )
        except (ScriptNotFound, ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        as_json = options["format"] == "json"
        self.stdout.write(json.dumps(report.as_dict(), indent=2) if as_json else report.as_text())
        if report.exit_code:
            raise CommandError(report.summary, returncode=report.exit_code)

    def _progress(self, line: str) -> None:
        """On stderr, so that stdout stays the report alone."""
        self.stderr.write(line, self.style.NOTICE)
