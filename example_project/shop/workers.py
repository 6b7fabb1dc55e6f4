"""What the story's other processes do. They import it before Django is set up."""

from __future__ import annotations

import time
from contextlib import suppress
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event

import django
from django.core.cache import cache
from django_redis import get_redis_connection

from redis_atomic import fenced_update, redis_lock
from redis_atomic.exceptions import LockLost
from shop import stock


def get_ready(process: int) -> None:
    """Take long enough that every process of a pool gets one of these."""
    time.sleep(0.5)


def serve_customers(process: int) -> int:
    return sum(stock.reserve("tea", f"{process}-{customer}") for customer in range(100))


def pay_order(process: int) -> bool:
    return stock.pay("ann", 1200, order="order-1")


def work_in_turn(process: int) -> list[int]:
    fences = []
    for _ in range(10):
        with redis_lock("turns", ttl=5, wait=30) as lease:
            fences.append(lease.fence)
            cache.set("turns", cache.get("turns") + 1, timeout=None)
    return fences


def hold_for_ever(ready: Event) -> None:
    django.setup()
    with redis_lock("queue", ttl=2):
        ready.set()
        time.sleep(600)


def arrive(number: int) -> None:
    django.setup()
    with redis_lock("queue", ttl=2, wait=30):
        get_redis_connection("default").rpush("arrivals", number)


def write_late(number: int, holding: Event, answer: SimpleQueue[tuple[int, bool]]) -> None:
    """Take the lock of an invoice, be stopped for a while, and write all the same."""
    django.setup()
    from shop.models import Invoice

    with suppress(LockLost), redis_lock(f"invoice-{number}", ttl=2) as lease:
        holding.set()
        lease.lost.wait(60)  # stopped in here, for longer than the lock lasts
        invoice = Invoice.objects.filter(pk=number)
        answer.put((fenced_update(invoice, lease, status="cancelled"), lease.lost.is_set()))
