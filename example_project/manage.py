#!/usr/bin/env python
"""Django's command line, with a Redis server of its own when REDIS_URL names none."""

import os
import signal
import sys
from contextlib import ExitStack


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    # SIGTERM ends Python without cleaning up, and would leave the server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        if "REDIS_URL" not in os.environ:
            from redis_atomic.testing import embedded_server

            # Exported, so that runserver's reloaded child finds this server, data and all.
            os.environ["REDIS_URL"] = stack.enter_context(embedded_server()).url
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
