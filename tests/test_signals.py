"""Signals reach their receivers, and harm nobody who sends them."""

import asyncio

import pytest
from django.dispatch import Signal

from redis_atomic.signals import send


@pytest.fixture
def signal():
    return Signal()


def test_all_receivers_are_told(signal):
    def receiver(**named):
        told.append(("sync", named["name"]))

    async def areceiver(**named):
        told.append(("async", named["name"]))

    told = []
    signal.connect(receiver)
    signal.connect(areceiver)
    send(signal, None, name="a")
    assert sorted(told) == [("async", "a"), ("sync", "a")]


def test_one_that_raises_is_logged(signal, caplog):
    def receiver(**named):
        raise ValueError("not today")

    signal.connect(receiver)
    send(signal, None, name="a")
    assert "not today" in caplog.text


async def test_an_asynchronous_one_that_cannot_be_told_here_is_logged(signal, caplog):
    async def receiver(**named):
        await asyncio.sleep(0)

    signal.connect(receiver)
    send(signal, None, name="a")
    assert "'name': 'a'" in caplog.text
