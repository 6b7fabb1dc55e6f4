"""
A process that moves amounts between accounts until its list is done.

    python -m tests.transfer_worker NUMBER LOCATION

Every transfer has a request id of its own, so a process that takes over from a
killed one starts the list from the beginning, and a lost reply is asked for again.
"""

from __future__ import annotations

import random
import sys

import django
from django.conf import settings

ACCOUNTS = 20
TRANSFERS = 1000
START = 1000
MINIMUM = -50


def account(number: int) -> str:
    return f"{{bank}}:{number}"


def transfers(worker: int) -> list[tuple[str, int, int, int]]:
    """The list of one worker: request id, source, destination, amount."""
    choice = random.Random(worker)
    return [
        (f"w{worker}-{n}", *choice.sample(range(ACCOUNTS), 2), choice.randint(1, 600))
        for n in range(TRANSFERS)
    ]


def main(worker: int, location: str) -> None:
    backend = "django_redis.cache.RedisCache"
    options = {"SOCKET_TIMEOUT": 20}
    settings.configure(
        CACHES={"default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}}
    )
    django.setup()
    from redis_atomic.exceptions import IndeterminateResult, NotExecuted
    from redis_atomic.operations import transfer

    for request_id, source, destination, amount in transfers(worker):
        while True:
            try:
                transfer(
                    account(source),
                    account(destination),
                    amount,
                    minimum=MINIMUM,
                    request_id=request_id,
                )
            except (IndeterminateResult, NotExecuted):
                continue
            break


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
