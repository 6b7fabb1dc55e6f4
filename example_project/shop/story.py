"""
The demo: what redis_atomic promises, shown on a real server.

Each chapter yields lines to print, or raises ``Broken`` when a promise is not kept.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import StringIO
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.core.cache import cache
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.test import Client
from django_redis import get_redis_connection

from redis_atomic import RateLimiter, fenced_update, redis_lock
from shop import stock, workers
from shop.models import Invoice

PROCESSES = 8
SPAWN = multiprocessing.get_context("spawn")


class Broken(Exception):
    """A promise that was not kept."""


def promise(kept: bool, text: str) -> str:
    """One line of the story; its truth is what the demo is about."""
    if not kept:
        raise Broken(text)
    return f"  ✓ {text}"


def tell() -> Iterator[str]:
    with ProcessPoolExecutor(PROCESSES, mp_context=SPAWN, initializer=django.setup) as pool:
        list(pool.map(workers.get_ready, range(PROCESSES)))
        for chapter in CHAPTERS:
            title, _, about = (chapter.__doc__ or "").strip().partition("\n")
            yield f"\n{title}"
            if about.strip():
                yield f"  {about.strip()}"
            yield from chapter(pool)


# Scripts


def preload(pool: ProcessPoolExecutor) -> Iterator[str]:
    """Scripts are loaded before the first visitor comes"""
    get_redis_connection("default").script_flush()
    call_command("preload_scripts", stdout=StringIO())
    report = StringIO()
    call_command("preload_scripts", "--check", stdout=report)
    yield promise(
        "missing" not in report.getvalue(),
        f"preload_scripts says: {report.getvalue().splitlines()[-1]}",
    )
    sold = stock.record_sale(sales="sales", statistics="statistics", item="tea", amount=2)
    cache.set("statistics", "not a hash")
    again = stock.record_sale(sales="sales", statistics="statistics", item="tea", amount=2)
    yield promise(
        sold.counted and again == (4, False), "a script that catches its own error: the sale counts"
    )
    yield promise(
        stock.inspect_cart(cart="cart:nobody") == 0, "a script that writes to the server's log"
    )


def sell_out(pool: ProcessPoolExecutor) -> Iterator[str]:
    """Eight processes, 300 units, 800 customers, and SCRIPT FLUSH in the middle"""
    stock.fill(300)
    stop = threading.Event()
    flusher = threading.Thread(target=flush_scripts_until, args=(stop,))
    flusher.start()
    served = list(pool.map(workers.serve_customers, range(PROCESSES)))
    stop.set()
    flusher.join()
    yield f"  served by process: {' '.join(map(str, served))}"
    yield promise(sum(served) == 300, "300 customers were served, not one more")
    yield promise(
        stock.left("tea") == 0, "the shelf is empty, not below zero; nobody noticed the flushes"
    )


def flush_scripts_until(stop: threading.Event) -> None:
    client = get_redis_connection("default")
    while not stop.wait(0.002):
        client.script_flush()


def pay_once(pool: ProcessPoolExecutor) -> Iterator[str]:
    """One order, paid by eight processes at the same time"""
    cache.set_many({stock.wallet("ann"): 5000, stock.wallet("shop"): 0}, timeout=None)
    answers = list(pool.map(workers.pay_order, range(PROCESSES)))
    ann, shop = (cache.get(stock.wallet(owner)) for owner in ("ann", "shop"))
    yield promise(all(answers), "every process was told that the order is paid")
    yield promise((ann, shop) == (3800, 1200), f"it was paid once: Ann has {ann}, the shop {shop}")


# Limits


def limit_visitors(pool: ProcessPoolExecutor) -> Iterator[str]:
    """A page that is limited to five visits in ten seconds, over HTTP"""
    with http_server() as address:
        for visit in range(1, 7):
            status, headers = get(f"{address}/headers/")
            yield f"  visit {visit}: {status}  RateLimit: {headers.get('RateLimit', '-')}"
            if status != (200 if visit < 6 else 429):
                raise Broken(f"visit {visit} was answered with {status}")
        yield promise(
            "Retry-After" in headers, f"the sixth is told to retry after {headers['Retry-After']} s"
        )
        statuses = [get(f"{address}/api/stock/")[0] for _ in range(30)]
    passed = statuses.count(200)
    yield promise(
        10 <= passed <= 20,
        f"the middleware let {passed} of 30 API calls pass: 10 a second, 20 a minute",
    )


def guess_passwords(pool: ProcessPoolExecutor) -> Iterator[str]:
    """A hundred wrong passwords at the same time, and Ann, who knows hers"""
    call_command("migrate", verbosity=0, interactive=False)
    ann, _ = User.objects.get_or_create(username="ann")
    ann.set_password("green tea")
    ann.save()
    RateLimiter("login-pair").reset(("ip:203.0.113.5", "post:username:ann"))
    RateLimiter("login-pair").reset(("ip:203.0.113.7", "post:username:ann"))
    looked_at: list[object] = []

    def look(credentials: object, **kwargs: object) -> None:
        looked_at.append(credentials)

    user_login_failed.connect(look)
    with ThreadPoolExecutor(20) as guesses:
        statuses = list(guesses.map(log_in, ["203.0.113.5"] * 100, ["a guess"] * 100))
    user_login_failed.disconnect(look)
    yield promise(
        len(looked_at) == 5 and statuses.count(429) == 95,
        f"{len(looked_at)} of 100 guesses from one address were looked at",
    )
    statuses = [log_in("203.0.113.7", "green tea") for _ in range(6)]
    yield promise(
        set(statuses) == {302}, "Ann logs in six times in a row: right passwords are not counted"
    )


def log_in(address: str, password: str) -> int:
    try:
        client = Client(SERVER_NAME="localhost", REMOTE_ADDR=address)
        form = f"username=ann&password={password}"
        answer = client.post("/login/", form, content_type="application/x-www-form-urlencoded")
        return answer.status_code
    finally:
        connection.close()  # of this thread


def order_over_rest(pool: ProcessPoolExecutor) -> Iterator[str]:
    """Django REST framework: three throttles, one of them for three orders in ten seconds"""
    stock.fill(300)
    client = Client(SERVER_NAME="localhost")
    order = {"item": "tea", "owner": "ann"}
    answers = [client.post("/rest/orders/", order) for _ in range(5)]
    for answer in answers:
        yield f"  {answer.status_code}  RateLimit: {answer['RateLimit']}"
    yield promise(
        [answer.status_code for answer in answers] == [201, 201, 201, 429, 429],
        "three orders were taken, two refused",
    )
    left = [re.search(r'"anon";r=(\d+)', answer["RateLimit"])[1] for answer in answers[2:]]
    yield promise(len(set(left)) == 1, "and the refused ones were not charged to the others either")


def get(url: str) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, dict(response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers)


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def http_server() -> Iterator[str]:
    application = get_wsgi_application()  # which sets up logging anew
    logging.getLogger("django.request").setLevel(logging.ERROR)  # a 429 is no news here
    with make_server("127.0.0.1", 0, application, handler_class=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# Locks


def take_turns(pool: ProcessPoolExecutor) -> Iterator[str]:
    """Eight processes, one lock, a counter that only a lock keeps exact"""
    cache.set("turns", 0, timeout=None)
    fences = sorted(
        fence for own in pool.map(workers.work_in_turn, range(PROCESSES)) for fence in own
    )
    yield promise(cache.get("turns") == 80, "80 increments by read and write, none was lost")
    yield promise(len(set(fences)) == 80, "80 grants, each with a higher fence than the one before")


def in_order_of_arrival(pool: ProcessPoolExecutor) -> Iterator[str]:
    """A queue behind a lock, served in order of arrival; its holder is killed"""
    cache.delete("arrivals")
    client = get_redis_connection("default")
    ready = SPAWN.Event()
    victim = SPAWN.Process(target=workers.hold_for_ever, args=(ready,))
    victim.start()
    ready.wait(30)
    waiters = []
    for number in range(PROCESSES):
        waiters.append(SPAWN.Process(target=workers.arrive, args=(number,)))
        waiters[-1].start()
        wait_until(partial(queued, number + 1))
    victim.kill()
    killed = time.monotonic()
    wait_until(lambda: client.llen("arrivals") > 0)
    waited = time.monotonic() - killed
    for waiter in waiters:
        waiter.join(30)
    victim.join()
    order = [int(number) for number in client.lrange("arrivals", 0, -1)]
    yield f"  served: {order}"
    yield promise(order == sorted(order), "everybody was served in order of arrival")
    yield promise(
        waited < 3, f"the killed holder cost {waited:.1f} s (its ttl is 2 s), not an hour"
    )
    client.delete("arrivals")


def queued(number: int) -> bool:
    return redis_lock("queue").info().waiting >= number


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise Broken("something that should have happened did not, in 30 s")
        time.sleep(0.005)


def late_writer(pool: ProcessPoolExecutor) -> Iterator[str]:
    """A holder is paused beyond its time; the fence refuses its late write"""
    call_command("migrate", verbosity=0, interactive=False)
    invoice = Invoice.objects.create(total=1200)
    holding, answer = SPAWN.Event(), SPAWN.SimpleQueue()
    holder = SPAWN.Process(target=workers.write_late, args=(invoice.pk, holding, answer))
    holder.start()
    holding.wait(30)
    os.kill(holder.pid, signal.SIGSTOP)
    with redis_lock(f"invoice-{invoice.pk}", wait=30) as lease:
        rows = fenced_update(Invoice.objects.filter(pk=invoice.pk), lease, status="paid")
        yield promise(rows == 1, f"the next holder had it after {lease.waited:.1f} s: 'paid'")
    os.kill(holder.pid, signal.SIGCONT)
    rows, told = answer.get()
    holder.join()
    invoice.refresh_from_db()
    yield promise(rows == 0 and invoice.status == "paid", "the late 'cancelled' changed no row")
    yield promise(told, "and the late holder is told that it lost its lock")


CHAPTERS = [
    preload,
    sell_out,
    pay_once,
    limit_visitors,
    guess_passwords,
    order_over_rest,
    take_turns,
    in_order_of_arrival,
    late_writer,
]
