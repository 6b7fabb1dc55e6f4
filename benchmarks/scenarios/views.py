"""
A whole Django view under a real server: gunicorn with one worker, uvicorn for ASGI.

wrk asks with keep-alive. All variants live in one process under URLs of their own and
are asked in turns. Python's time is what the process itself tells of its CPU.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..harness import Figures, Result, Turn, added, interleave, ratio, spread
from ..tables import Column, micros, per_second, with_spread
from .scenario import Run, Scenario

ROOT = Path(__file__).parent.parent.parent
LOAD = Path(__file__).parent.parent / "website/load.lua"
START_TIMEOUT = 20.0  # seconds
ROUNDS = 15  # at most: a turn takes a second
CLIENTS = 3000  # each of them is far below 100 a minute

PLAIN, REST_PLAIN = "no limit", "DRF, no throttle"
OURS, OURS_DENIED = "redis_atomic", "redis_atomic, denied"
FLOOR = "the floor: our script by a bare socket, and the header fields"
WSGI = {
    PLAIN: "plain",
    OURS: "allowed/redis_atomic",
    FLOOR: "allowed/bare-socket",
    "limits, moving window": "allowed/limits",
    "limits, moving window, with header fields": "allowed/limits-with-fields",
    "django-ratelimit": "allowed/django-ratelimit",
    "django-smart-ratelimit, sliding window": "allowed/django-smart-ratelimit-sliding_window",
    "django-smart-ratelimit, token bucket": "allowed/django-smart-ratelimit-token_bucket",
    REST_PLAIN: "rest_framework-plain",
    "DRF": "allowed/rest_framework",
    OURS_DENIED: "denied/redis_atomic",
    "limits, denied": "denied/limits",
    "django-ratelimit, denied": "denied/django-ratelimit",
}
ASGI = {
    PLAIN: "async/plain",
    OURS: "async/allowed/redis_atomic",
    OURS_DENIED: "async/denied/redis_atomic",
    "limits, moving window": "async/allowed/limits",
}


@dataclass(frozen=True)
class Site:
    """
    How a server is started, how it is asked for its CPU, and over how many connections.

    ``turns``: so many in each round, as those of an event loop differ more.
    """

    command: str
    cpu: str
    connections: int
    turns: int


GUNICORN = Site(
    "gunicorn benchmarks.website.wsgi --worker-class=gthread --threads=1 --keep-alive=75"
    " --log-level=warning --bind=127.0.0.1:{port}",
    "cpu/",
    connections=2,
    turns=1,
)
UVICORN = Site(
    "uvicorn benchmarks.website.asgi:application --lifespan=off --no-access-log"
    " --log-level=warning --host=127.0.0.1 --port={port}",
    "async/cpu/",
    connections=8,
    turns=2,
)


def measure(run: Run, site: Site, variants: dict[str, str]) -> Result:
    result = Result()
    run.server.flush()
    try:
        if shutil.which("wrk") is None:
            raise FileNotFoundError("there is no wrk on PATH")
        with serving(site, run.server.url) as url:
            turns = {}
            for name, path in variants.items():
                try:
                    turns[name] = prepared(run, site, url, path)
                except (OSError, RuntimeError) as error:
                    result.leave_out(name, error)
            _read(f"{url}freeze/")
            rounds = 1 if run.quick else min(run.rounds, ROUNDS)
            interleave(turns, rounds * site.turns, result)
    except (OSError, RuntimeError) as error:
        for name in variants:
            result.leave_out(name, error)
    return result


@contextmanager
def serving(site: Site, redis_url: str) -> Iterator[str]:
    """The address of the running site. RuntimeError, with its last words, if it does not run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", *site.command.format(port=port).split()],
        cwd=ROOT,
        env={**os.environ, "BENCHMARK_URL": redis_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait_until_it_answers(process, url + site.cpu)
        yield url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_it_answers(process: subprocess.Popen[str], url: str) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            _read(url)
            return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"did not start: {process.communicate()[1][-150:]}")


def _read(url: str) -> str:
    asked = urllib.request.Request(url, headers={"X-Client": "a look"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return answer.read().decode()


def prepared(run: Run, site: Site, url: str, path: str) -> Turn:
    """A turn of asking this path; OSError if a first request fails."""
    denied = "denied/" in path
    _read(f"{url}{path}/")

    def turn() -> Figures:
        before = float(_read(url + site.cpu))
        figures = load(f"{url}{path}/", site.connections, denied)
        worked = float(_read(url + site.cpu)) - before
        requests = figures.pop("requests")
        return figures | {"cpu": worked / requests}

    turn()  # not measured: the first requests import and connect
    return turn


def load(url: str, connections: int, denied: bool) -> Figures:
    """A second of wrk. RuntimeError where it was refused and should not be, or the reverse."""
    clients = "1" if denied else str(CLIENTS)
    command = ["wrk", "-t1", f"-c{connections}", "-d1s", "-s", str(LOAD), url, "--", clients]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = done.stdout.partition("FIGURES ")[2].split()
    requests, micros_, p50, p99, refused, failed = map(int, told)
    if failed or (refused < 0.9 * requests if denied else refused):
        raise RuntimeError(f"of {requests} requests {refused} were denied, {failed} failed")
    return {
        "requests": requests,
        "seconds": micros_ / 1e6 / requests,
        "p50": p50 / 1e6,
        "p99": p99 / 1e6,
    }


def plain_of(name: str) -> str:
    """What a view would be without its limit."""
    return REST_PLAIN if name.startswith("DRF") else PLAIN


def added_to_plain(result: Result, name: str, figure: str) -> list[float]:
    """What the limit adds to a request, round by round, in seconds."""
    return added(result.rows[name][figure], result.rows[plain_of(name)][figure])


def _added(heading: str, figure: str) -> Column:
    def cell(result: Result, name: str) -> str:
        if name == plain_of(name) or plain_of(name) not in result.rows:
            return "-"
        return with_spread(spread(x * 1e6 for x in added_to_plain(result, name, figure)))

    return Column(heading, cell)


def _of_plain() -> Column:
    def cell(result: Result, name: str) -> str:
        plain = result.rows.get(plain_of(name))
        if plain is None:
            return "-"
        return with_spread(ratio(plain["seconds"], result.rows[name]["seconds"]))

    return Column("x requests without a limit", cell)


COLUMNS = [
    per_second("requests a second"),
    _of_plain(),
    _added("us added", "seconds"),
    _added("us of Python's CPU added", "cpu"),
    micros("p50 us", "p50"),
    micros("p99 us", "p99"),
]
SCENARIOS = [
    Scenario(
        "views",
        "A Django view, gunicorn",
        partial(measure, site=GUNICORN, variants=WSGI),
        COLUMNS,
        "seconds",
    ),
    Scenario(
        "views-asgi",
        "An asynchronous Django view, uvicorn",
        partial(measure, site=UVICORN, variants=ASGI),
        COLUMNS,
        "seconds",
    ),
]
