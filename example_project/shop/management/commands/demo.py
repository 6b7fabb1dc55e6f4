from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError

from shop import story


class Command(BaseCommand):
    help = "Tell what redis_atomic promises, and show each promise kept on a real server."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for line in story.tell():
                self.stdout.write(line)
        except story.Broken as broken:
            raise CommandError(f"a promise was not kept: {broken}") from broken
        self.stdout.write(self.style.SUCCESS("\nEverything held."))
