import asyncio
import threading
from contextlib import ExitStack, contextmanager

import pytest
from django.conf import settings
from django.test import override_settings

from redis_atomic.exceptions import LockBusy, LockNotOwned, LockUnavailable
from redis_atomic.locks.context import current_lease
from redis_atomic.locks.lock import redis_lock, redis_semaphore
from redis_atomic.signals import lock_busy

NOWHERE = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
    }
}


@pytest.fixture
def redis_down():
    with override_settings(CACHES=NOWHERE):
        yield


@contextmanager
def held_elsewhere(name="job", **options):
    """Somebody else, a thread that has gone on, holds the lock."""
    leases = []
    options = {"ttl": 30} | options
    thread = threading.Thread(target=lambda: leases.append(redis_lock(name, **options).acquire()))
    thread.start()
    thread.join()
    yield leases[0]
    leases[0].release()


def job(answer="done"):
    return answer


async def ajob(answer="done"):
    await asyncio.sleep(0)
    return answer


def locked(function, name="job", **options):
    return redis_lock(name, **{"wait": 0} | options)(function)


# --- busy


def test_by_default_a_busy_lock_raises():
    with held_elsewhere(), pytest.raises(LockBusy):
        locked(job)()


@pytest.mark.parametrize("policy", ["skip", 409, lambda error, *args: "instead"])
def test_a_free_lock_makes_no_difference(policy):
    assert locked(job, on_busy=policy)() == "done"


def test_skip_returns_none_and_calls_nothing():
    with held_elsewhere():
        assert locked(job, on_busy="skip")() is None


async def test_skip_is_the_same_for_coroutines():
    with held_elsewhere():
        assert await locked(ajob, on_busy="skip")() is None
    assert await locked(ajob, on_busy="skip")() == "done"


@pytest.mark.parametrize("status", [409, 423, 503])
def test_a_status_answers_with_the_time_to_come_back(status, rf):
    with held_elsewhere(ttl=20.5):
        response = locked(job, on_busy=status)(rf.post("/"))
    assert response.status_code == status
    assert 10 < int(response["Retry-After"]) <= 21
    assert response["Cache-Control"] == "no-store"
    assert b"Try again in" in response.content


async def test_a_status_is_the_same_for_an_asynchronous_view(rf):
    with held_elsewhere(ttl=1.0):
        response = await locked(ajob, on_busy=423)(rf.post("/"))
    assert (response.status_code, response["Retry-After"]) == (423, "1")


def test_the_error_tells_how_long_the_holder_has():
    with held_elsewhere(ttl=20), pytest.raises(LockBusy) as caught:
        locked(job)()
    assert 15 < caught.value.retry_after <= 20


def test_a_function_is_called_with_the_error_and_the_arguments():
    def instead(error, *args, **kwargs):
        return error, args, kwargs

    with held_elsewhere():
        error, args, kwargs = locked(job, on_busy=instead)("a")
    assert isinstance(error, LockBusy)
    assert (args, kwargs) == (("a",), {})


async def test_a_coroutine_function_is_awaited():
    async def instead(error, answer):
        await asyncio.sleep(0)
        return answer

    with held_elsewhere():
        assert await locked(ajob, on_busy=instead)("a") == "a"
        assert await locked(ajob, on_busy=lambda error, answer: answer * 2)("a") == "aa"


def test_a_coroutine_function_cannot_stand_in_for_a_function():
    with pytest.raises(TypeError, match="on_busy is a coroutine function"):
        locked(job, on_busy=ajob)


def test_a_busy_lock_of_the_body_is_not_the_policys_business():
    def body():
        redis_lock("job", wait=0).acquire()

    with held_elsewhere(), pytest.raises(LockBusy):
        locked(body, name="outer", on_busy="skip")()


def test_a_skipped_call_is_still_announced():
    names = []

    def receiver(name, **kwargs):
        names.append(name)

    lock_busy.connect(receiver)
    with held_elsewhere():
        locked(job, on_busy="skip")()
    assert names == ["job"]


def test_a_semaphore_has_the_same_policies():
    semaphore = redis_semaphore("slots", 2, wait=0, on_busy="skip")
    two_deep = semaphore(semaphore(job))
    assert two_deep() == "done"
    assert semaphore(two_deep)() is None


# --- not to be asked


def test_by_default_a_lock_that_cannot_be_asked_raises(redis_down):
    with pytest.raises(LockUnavailable):
        locked(job)()


def test_on_error_skip_returns_none(redis_down):
    assert locked(job, on_error="skip")() is None


def test_on_error_run_calls_the_function_without_the_lock(redis_down):
    def body():
        with pytest.raises(LockNotOwned):
            current_lease()
        return "done"

    assert locked(body, on_error="run")() == "done"


async def test_without_its_lock_a_function_has_no_lease_of_another():
    def body():
        with pytest.raises(LockNotOwned):
            current_lease()
        return "done"

    async def abody():
        return body()

    with redis_lock("outer") as outer, override_settings(CACHES=NOWHERE):
        assert locked(body, on_error="run")() == "done"
        assert await locked(abody, on_error="run")() == "done"
        assert current_lease() is outer


def test_a_section_begun_without_the_lock_outlasts_the_function():
    def body():
        stack.enter_context(redis_lock("inner", cache="alive"))

    alive = settings.CACHES["default"]
    with ExitStack() as stack, override_settings(CACHES=NOWHERE | {"alive": alive}):
        locked(body, on_error="run")()
        assert current_lease().name == "inner"
        stack.close()
        with pytest.raises(LockNotOwned):
            current_lease()


async def test_on_error_is_the_same_for_coroutines(redis_down):
    assert await locked(ajob, on_error="run")("a") == "a"
    assert await locked(ajob, on_error="skip")() is None


def test_busy_and_unavailable_are_never_mixed_up():
    with held_elsewhere(), pytest.raises(LockBusy):
        locked(job, on_error="run")()
    with override_settings(CACHES=NOWHERE), pytest.raises(LockUnavailable):
        locked(job, on_busy="skip")()


# --- when defined


@pytest.mark.parametrize("policy", ["ignore", 404, 409.0, True, None, "409"])
def test_an_unknown_on_busy_is_refused(policy):
    with pytest.raises(ValueError, match="on_busy must be"):
        redis_lock("job", on_busy=policy)


@pytest.mark.parametrize("policy", ["ignore", 503, None, job])
def test_an_unknown_on_error_is_refused(policy):
    with pytest.raises(ValueError, match="on_error must be"):
        redis_lock("job", on_error=policy)


@pytest.mark.parametrize("options", [{"on_busy": "skip"}, {"on_busy": 409}, {"on_error": "run"}])
def test_policies_are_for_decorated_functions(options, server_client):
    lock = redis_lock("job", **options)
    with pytest.raises(TypeError, match="for decorated functions"):
        lock.acquire()
    with pytest.raises(TypeError, match="for decorated functions"), lock:
        pass
    assert server_client.keys() == []


async def test_policies_are_for_decorated_coroutines():
    lock = redis_lock("job", on_busy="skip")
    with pytest.raises(TypeError, match="for decorated functions"):
        await lock.aacquire()
    with pytest.raises(TypeError, match="for decorated functions"):
        async with lock:
            pass
