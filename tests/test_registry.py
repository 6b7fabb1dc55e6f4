import inspect
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.test import override_settings

from redis_atomic import Call, registry
from redis_atomic.client.connections import client_for
from redis_atomic.dispatch import Operation
from redis_atomic.exceptions import InvalidScript, NotExecuted, ScriptError, ScriptNotFound
from redis_atomic.registry import Registry, scripts
from tests import settings as test_settings

LOOK = scripts["shelf.look"]  # before the app is installed, as at import time


@pytest.fixture
def shelf():
    with override_settings(INSTALLED_APPS=[*test_settings.INSTALLED_APPS, "tests.shelf"]):
        yield


@pytest.fixture
def with_files(tmp_path):
    """Settings with these files in a folder of SCRIPT_DIRS."""

    def use(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.lua").write_text(text)
        return override_settings(REDIS_ATOMIC={"SCRIPT_DIRS": [str(tmp_path)]})

    return use


@pytest.mark.usefixtures("shelf")
def test_a_script_of_an_app_is_called_by_name(server_client):
    take = scripts["shelf.take"]
    server_client.set("tests:1:s", 5)
    taken = take(shelf="s", amount=3)
    assert (taken, taken.left, bool(taken)) == ((True, 2), 2, True)
    assert not take(shelf="s", amount=3)
    assert LOOK(shelf="s") == 2


@pytest.mark.usefixtures("shelf")
async def test_a_script_is_awaited_alike(server_client):
    server_client.set("tests:1:s", 5)
    assert await scripts["shelf.take"].acall(shelf="s", amount=3) == (True, 2)
    assert await LOOK.acall(shelf="s") == 2
    assert await LOOK.acall(shelf="nothing") is None


def test_threads_that_come_together_look_for_scripts_once(monkeypatch):
    looked = []

    def discover(*args):
        looked.append(args)
        time.sleep(0.1)  # meanwhile the others come
        return {}

    monkeypatch.setattr(registry, "discover", discover)
    fresh, barrier = Registry(), threading.Barrier(4)

    def look(_):
        barrier.wait()
        return fresh.entries

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(4))) == [{}] * 4
    assert len(looked) == 1


@pytest.mark.usefixtures("shelf")
def test_the_registry_is_a_collection_of_names():
    assert list(scripts) == ["shelf.look", "shelf.take"]
    assert len(scripts) == 2
    assert "shelf.take" in scripts
    assert "shelf.tak" not in scripts
    assert repr(scripts) == "<Registry: shelf.look, shelf.take>"
    assert repr(scripts["shelf.take"]) == "<Script shelf.take>"


@pytest.mark.usefixtures("shelf")
def test_a_handle_is_an_operation_with_a_signature():
    take = scripts["shelf.take"]
    assert isinstance(take, Operation)
    assert list(inspect.signature(take).parameters) == ["shelf", "amount"]
    assert inspect.signature(take).return_annotation.__name__ == "Take"
    call = take.call(shelf="s", amount=3)
    assert isinstance(call, Call)
    assert (call.name, call.keys, call.args) == ("shelf.take", ("s",), (3,))


@pytest.mark.usefixtures("shelf")
def test_a_handle_can_be_moved_to_another_version_and_cache(server_client):
    server_client.set("tests:7:s", 5)
    look = LOOK.using(version=7)
    assert (look(shelf="s"), LOOK(shelf="s")) == (5, None)
    assert look.using(cache="default").call(shelf="s").version == 7
    with pytest.raises(NotExecuted), override_settings(CACHES=_nowhere()):
        LOOK.using(cache="nowhere")(shelf="s")


def _nowhere():
    backend = "django_redis.cache.RedisCache"
    return {
        **test_settings.CACHES,
        "nowhere": {"BACKEND": backend, "LOCATION": "unix:///nowhere/at/all"},
    }


@pytest.mark.usefixtures("shelf")
def test_a_wrong_call_is_refused_before_anything_is_sent(server_client):
    take = scripts["shelf.take"]
    commands = server_client.info("stats")["total_commands_processed"]
    for arguments in ({}, {"shelf": "s"}, {"shelf": "s", "amount": 1, "unknown": 1}):
        with pytest.raises(TypeError):
            take(**arguments)
    with pytest.raises(ValueError, match="amount must be at least 1, not 0"):
        take(shelf="s", amount=0)
    with pytest.raises(TypeError, match="takes its arguments by name: shelf, amount"):
        take("s", 3)
    assert server_client.info("stats")["total_commands_processed"] == commands + 1


@pytest.mark.usefixtures("shelf")
def test_calls_of_scripts_travel_in_a_pipeline(server_client):
    server_client.set("tests:1:s", 5)
    with scripts.pipeline(transaction=True) as pipeline:
        taken = pipeline.add(scripts["shelf.take"].call(shelf="s", amount=2))
        left = pipeline.add(LOOK.call(shelf="s"))
    assert (taken.value, left.value) == ((True, 3), 3)


def test_an_unknown_script_names_the_nearest_one(shelf):
    with pytest.raises(ScriptNotFound, match=r"named 'shelf.tak'. Did you mean 'shelf.take'\?"):
        scripts["shelf.tak"](shelf="s")
    with pytest.raises(ScriptNotFound, match=r"Put reserve.lua in the folder lua/ of the app"):
        scripts["shop.reserve"]()
    with pytest.raises(ScriptNotFound, match=r"Put plain.lua in a folder of SCRIPT_DIRS."):
        scripts["plain"]()
    with pytest.raises(TypeError, match="not 5"):
        scripts[5]


def test_settings_take_effect_when_they_change(with_files, tmp_path):
    assert "one" not in scripts
    with with_files(one="return 1", two="return 2"):
        assert (scripts["one"](), list(scripts)) == (1, ["one", "two"])
        override = {"SCRIPT_DIRS": [tmp_path], "SCRIPTS": {"one": tmp_path / "two.lua"}}
        with override_settings(REDIS_ATOMIC=override):
            assert scripts["one"]() == 2
        assert scripts["one"]() == 1
    assert "one" not in scripts


@pytest.mark.parametrize(
    "value", [{"SCRIPT_DIRS": "/somewhere"}, {"SCRIPTS": ["x"]}, {"SCRIPTS": 5}]
)
def test_settings_of_a_wrong_type_find_nothing_and_raise_nothing(value):
    with override_settings(REDIS_ATOMIC=value):
        assert list(Registry()) == []


def test_a_broken_script_harms_no_other_and_is_never_sent(with_files, server_client, tmp_path):
    with with_files(sound="return 1", lies="redis.call('SET', KEYS[1], 1)"):
        assert scripts["sound"]() == 1
        for _ in range(2):
            with pytest.raises(InvalidScript) as caught:
                scripts["lies"]()
        assert str(caught.value) == (
            f"{tmp_path / 'lies.lua'}:1: KEYS[1] is beyond the head, which declares none. "
            "Correct the number, or let the head say:\n-- keys: key1"
        )
        assert caught.value.__cause__ is None


def test_what_is_on_disk_is_what_is_sent(with_files, server_client):
    with with_files(crlf="-- é\r\nreturn 1"):
        assert scripts["crlf"]() == 1
        script = scripts["crlf"].script
        assert script.source == "-- é\r\nreturn 1".encode()
        assert server_client.script_exists(script.sha) == [True]


def test_an_error_of_a_script_shows_its_line(with_files, tmp_path):
    with with_files(fails="-- nothing\nlocal x\nreturn x.y\n"):
        with pytest.raises(ScriptError) as caught:
            scripts["fails"]()
        assert (caught.value.file, caught.value.line) == (str(tmp_path / "fails.lua"), 3)
        assert ">    3 return x.y" in str(caught.value)


def test_a_script_without_writes_is_refused_its_writes_by_the_server(with_files, server_client):
    name = server_client.info("server")
    if "valkey_version" not in name and name["redis_version"].startswith("6."):
        pytest.skip("Redis 6.2 has no EVALSHA_RO: the next test")
    text = "-- keys: k\n-- flags: no-writes\nlocal c = 'SET'\nreturn redis.call(c, KEYS[1], 1)"
    with with_files(sly=text), pytest.raises(ScriptError, match="not allowed from read-only"):
        scripts["sly"](k="k")


@pytest.mark.usefixtures("shelf")
def test_a_server_without_read_only_scripts_is_asked_once(server_client):
    client = client_for("default")
    assert LOOK(shelf="s") is None
    older = server_client.info("server")["redis_version"].startswith("6.")
    assert client.has_read_only_scripts is not older
    assert LOOK(shelf="s") is None


def test_the_package_has_its_scripts_from_the_start_without_redis():
    code = (
        "import django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['redis_atomic', 'tests.shelf'], CACHES={'default': "
        "{'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': 'redis://127.0.0.1:1/0'}});"
        "from redis_atomic.registry import scripts; look = scripts['shelf.look'];"
        "django.setup(); assert list(scripts) == ['shelf.look', 'shelf.take'];"
        "assert look.call(shelf='s').keys == ('s',)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
