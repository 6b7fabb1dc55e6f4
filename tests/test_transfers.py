"""Money between accounts, with processes killed and replies lost in the middle."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from redis_atomic.testing import embedded_server, lost_reply_proxy
from tests.transfer_worker import ACCOUNTS, MINIMUM, START, TRANSFERS, account, transfers

WORKERS = 8
KILLS = 24
PATIENCE = 240  # seconds; it takes about 15 on two idle cores


def start(worker, location):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.transfer_worker", str(worker), location],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def sent(number):
    return f":1:{account(number)}"


def run_in_chaos(proxy):
    """All workers to their end, with kills and lost messages; returns the number of kills."""
    chance = random.Random(7)
    running = {worker: start(worker, proxy.url) for worker in range(WORKERS)}
    kills, deadline = 0, time.monotonic() + PATIENCE
    try:
        while running:
            assert time.monotonic() < deadline, "the workers did not come to an end"
            proxy.lose_replies(10, containing=b"EVALSHA")
            proxy.lose_requests(5, containing=b"EVALSHA")
            worker = chance.choice(list(running))
            try:
                running[worker].wait(0.25)
            except subprocess.TimeoutExpired:
                if kills < KILLS:
                    finish(running[worker], kill=True)
                    running[worker] = start(worker, proxy.url)
                    kills += 1
            else:
                errors = running[worker].stderr.read()
                finish(running[worker])
                assert running.pop(worker).returncode == 0, errors.decode()
    finally:
        for process in running.values():
            finish(process, kill=True)
    return kills


def finish(process, *, kill=False):
    if kill:
        process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.stress
@pytest.mark.everywhere
def test_every_transfer_is_applied_exactly_once_in_the_worst_of_times():
    with embedded_server(tcp=True) as server, lost_reply_proxy(server.tcp_url) as proxy:
        bank = redis.Redis.from_url(server.url)
        bank.mset({sent(number): START for number in range(ACCOUNTS)})
        kills = run_in_chaos(proxy)
        assert kills
        assert proxy.lost

        expected = dict.fromkeys(range(ACCOUNTS), START)
        refused = 0
        for worker in range(WORKERS):
            for request_id, source, destination, amount in transfers(worker):
                moved, left, _ = bank.get(f"{sent(source)}:transfer:{request_id}").split()[:3]
                assert int(left) >= MINIMUM
                refused += moved == b"0"
                if moved == b"1":
                    expected[source] -= amount
                    expected[destination] += amount
        found = {number: int(bank.get(sent(number))) for number in range(ACCOUNTS)}
        bank.close()
        assert found == expected  # each request that was granted counts once
        assert sum(found.values()) == ACCOUNTS * START
        assert min(found.values()) >= MINIMUM
        assert 0 < refused < WORKERS * TRANSFERS
