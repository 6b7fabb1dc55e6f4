import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from redis_atomic.client import preload as preload_module
from redis_atomic.client.connections import client_for
from redis_atomic.client.preload import Node, nodes, preload
from redis_atomic.registry import scripts
from redis_atomic.scripting.builtin import builtins
from redis_atomic.scripting.script import Script
from redis_atomic.testing import embedded_server
from tests import settings as test_settings

REDIS = "django_redis.cache.RedisCache"


@pytest.fixture(autouse=True)
def folder(tmp_path, server_client):
    """A project with two sound scripts, on a server that knows none."""
    server_client.script_flush()
    (tmp_path / "one.lua").write_text("return 1")
    (tmp_path / "two.lua").write_text("-- keys: k\nreturn redis.call('GET', KEYS[1])")
    with override_settings(REDIS_ATOMIC={"SCRIPT_DIRS": [tmp_path]}):
        yield tmp_path


def states(report):
    return {each.script: each.state for node in report.nodes for each in node.outcomes}


def ran(*args):
    """Exit code, output and last message of the command."""
    out = StringIO()
    try:
        call_command("preload_scripts", *args, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), ""


def cache_at(location):
    return override_settings(CACHES={"default": {"BACKEND": REDIS, "LOCATION": location}})


def test_all_scripts_are_loaded_with_those_of_the_package(server_client):
    report = scripts.preload()
    expected = ["one", "two", *[script.name for script in builtins()]]
    assert states(report) == dict.fromkeys(expected, "loaded")
    assert report.exit_code == 0
    shas = [scripts["one"].script.sha, *[script.sha for script in builtins()]]
    assert all(server_client.script_exists(*shas))
    assert set(states(scripts.preload()).values()) == {"present"}


def test_a_look_loads_nothing_and_tells_what_is_missing(server_client):
    assert states(scripts.preload(["one"], load=False)) == {"one": "missing"}
    code, out, message = ran("one", "--check")
    assert (code, message) == (1, "1 script on 1 node: 1 missing.")
    assert "  one  missing\n" in out
    assert server_client.script_exists(scripts["one"].script.sha) == [False]
    assert ran("one")[0] == ran("one", "--check")[0] == 0


def test_only_the_named_scripts_are_loaded():
    code, out, _ = ran("two")
    assert (code, out.splitlines()[1:]) == (0, ["  two  loaded", "1 script on 1 node: 1 loaded."])
    code, _, message = ran("tow")
    assert (code, message) == (2, "No script is named 'tow'. Did you mean 'two'?")


def test_a_script_that_does_not_compile_shows_its_line_and_stops_no_other(folder):
    (folder / "bad.lua").write_text("-- nothing\nlocal x = = 1\nreturn x\n")
    scripts.reset()
    code, out, message = ran("bad", "one")
    assert (code, message) == (1, "2 scripts on 1 node: 1 not compiling, 1 loaded.")
    assert f"  bad  not compiling  {folder / 'bad.lua'}:2: unexpected symbol near '='" in out
    assert "\n      >    2 local x = = 1\n" in out
    assert "\n  one  loaded\n" in out


def test_a_file_that_cannot_be_used_is_told_and_stops_no_other(folder):
    (folder / "lies.lua").write_text("return KEYS[1]")
    scripts.reset()
    code, out, message = ran()
    assert code == 1
    assert message.endswith("loaded, 1 cannot be used.")
    assert f"cannot be used: {folder / 'lies.lua'}:1: KEYS[1] is beyond the head" in out
    assert states(scripts.preload())["one"] == "present"
    assert ran("lies")[::2] == (1, "0 scripts on 0 nodes: 1 cannot be used.")


def test_a_text_that_is_not_ours_is_told(monkeypatch):
    """A node that answers as one would whose scripts were tampered with."""

    def tampering(instead):
        (real,) = nodes(client_for("default"))

        def ask(commands):
            replies = real.ask(commands)
            word = commands[0][1]
            return [instead[word] for _ in replies] if word in instead else replies

        return lambda client: [Node("tampered", ask)]

    for instead, detail in [
        ({"LOAD": b"0" * 40}, f"the server says its SHA is {b'0' * 40!r}."),
        ({"SHOW": b"return 2"}, "the server holds another text under its SHA."),
    ]:
        monkeypatch.setattr(preload_module, "nodes", tampering(instead))
        code, out, message = ran("one")
        assert (code, message) == (1, "1 script on 1 node: 1 different.")
        assert f"  one  different  {detail}" in out


def test_a_stopped_server_is_one_clear_message():
    with cache_at("unix:///nowhere/s"):
        code, out, message = ran()
    assert (code, message) == (3, "0 scripts on 1 node: 1 of the nodes could not be asked.")
    name, error, summary = out.splitlines()
    assert (name, summary) == ("default  /nowhere/s", message)
    assert error.startswith(
        "  Redis of the cache 'default' could not be reached: Error 2 connecting"
    )
    assert error.endswith("Nothing was sent. Check its LOCATION and that the server is running.")


def test_a_cache_that_is_none_of_ours_is_one_clear_message():
    for args, message in [
        (["--cache", "memory"], "CACHES['memory'] is not a django-redis cache"),
        (["--cache", "nothing"], "The connection 'nothing' doesn't exist."),
    ]:
        assert ran(*args)[0] == 2
        assert ran(*args)[2].startswith(message)


def test_every_alias_in_use_is_visited():
    caches = {**test_settings.CACHES, "locks": test_settings.CACHES["default"]}
    conf = {"LOCK_CACHE_ALIAS": "locks", "RATE_LIMIT_CACHE_ALIAS": "default"}
    with override_settings(CACHES=caches, REDIS_ATOMIC=conf):
        assert [node.cache for node in scripts.preload().nodes] == ["default", "locks"]
        assert [node.cache for node in scripts.preload(cache="locks").nodes] == ["locks"]


# Users who may not do everything


@pytest.fixture
def as_user():
    """The report of a user with these rules, on a server of its own."""
    with embedded_server() as server:

        def run(*rules, password="right"):
            import redis

            with redis.Redis.from_url(server.url) as admin:
                admin.execute_command(
                    "ACL", "SETUSER", "app", "reset", "on", ">right", "~*", "+@all", *rules
                )
            with cache_at(f"unix://app@{server.socket_path}?password={password}"):
                return scripts.preload(["one"])

        yield run


def test_a_user_who_may_not_load_scripts_is_told(as_user):
    report = as_user("-script", "+script|exists")
    assert (report.exit_code, states(report)) == (4, {"one": "no permission"})
    report = as_user("-script")
    assert (report.exit_code, states(report)) == (4, {})
    assert "no permissions to run the 'script" in report.as_text()


def test_a_wrong_password_is_no_permission(as_user):
    report = as_user(password="wrong")
    assert report.exit_code == 4
    assert "refused the connection: " in report.as_text()


def test_commands_that_the_application_will_lack_are_warned_of(as_user):
    report = as_user("-evalsha", "-eval", "-blpop")
    assert report.exit_code == 0
    (node,) = report.nodes
    assert node.warnings == (
        "This user may not run EVALSHA, which is needed for every script.",
        "This user may not run EVAL, which is needed for pipelines.",
        "This user may not run BLPOP, which is needed for waiting for locks.",
    )
    assert f"  warning: {node.warnings[0]}\n" in report.as_text()
    assert as_user().nodes[0].warnings == ()
    assert as_user("-info").nodes[0].warnings == ()


def test_a_server_that_evicts_keys_is_warned_of():
    options = {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}
    with embedded_server(**options) as server, cache_at(server.url):
        report = scripts.preload()
    assert report.exit_code == 0
    assert report.nodes[0].warnings == (
        (
            "maxmemory-policy is allkeys-lru: when memory is short, the server drops locks and "
            "limits that are in use. Keep them on a server with noeviction."
        ),
    )


def test_probing_leaves_nothing_behind(server_client):
    preload(client_for("default"), [Script("x", b"return 5")])
    assert server_client.keys() == []
    assert server_client.info("memory")["number_of_cached_scripts"] == 1


# The command


def test_the_report_as_json():
    code, out, _ = ran("one", "--format", "json")
    report = json.loads(out)
    assert (code, report["exit_code"], report["faults"]) == (0, 0, [])
    (node,) = report["nodes"]
    assert node["outcomes"] == [{"script": "one", "state": "loaded", "detail": "", "context": ""}]
    assert (node["cache"], node["error"], node["warnings"]) == ("default", None, [])


@pytest.mark.parametrize(
    ("url", "arguments", "code", "said"),
    [
        (test_settings.REDIS_URL, [], 0, ""),
        ("redis://127.0.0.1:1/0", [], 3, "could not be asked"),
        (test_settings.REDIS_URL, ["--unknown"], 2, "unrecognized arguments"),
    ],
    ids=["all well", "no server", "no such option"],
)
def test_a_shell_sees_the_exit_code(url, arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "django", "preload_scripts", *arguments],
        env={**os.environ, "REDIS_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (code, True)
    assert "Traceback" not in done.stderr
