"""Exceptions travel: process pools and task queues pickle them."""

import copy
import inspect
import pickle

import pytest

from redis_atomic import exceptions
from redis_atomic.exceptions import InvalidScript, ReplyError, ScriptError, UnexpectedReply

SPECIAL = {
    ScriptError: {"script": "shop.reserve", "code": "SOLD_OUT", "file": "a.lua", "line": 3},
    UnexpectedReply: {"script": "shop.reserve", "expected": "int", "reply": [b"x"]},
    InvalidScript: {"file": "a.lua", "line": 3},
    ReplyError: {"code": "ERR", "key": "k"},
}
ALL = [
    kind
    for _, kind in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(kind, exceptions.RedisAtomicError)
]


def example(kind):
    message = () if kind is UnexpectedReply else ("what happened",)
    return kind(*message, **SPECIAL.get(kind, {}))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]
)
def test_every_exception_arrives_as_it_was_sent(kind, travel):
    error = example(kind)
    arrived = travel(error)
    assert type(arrived) is kind
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))


def test_the_tree_in_the_docstring_is_the_code_s():
    assert all(kind.__name__ in exceptions.__doc__ for kind in ALL)
