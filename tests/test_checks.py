import re
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View

from redis_atomic import FOREVER
from redis_atomic.checks import MEANINGS, limits
from redis_atomic.checks import settings as settings_checks
from redis_atomic.conf import Settings
from redis_atomic.decorators import rate_limit
from redis_atomic.operations import increment

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
OURS = "redis_atomic.middleware.RateLimitMiddleware"
JSON = "django_redis.serializers.json.JSONSerializer"
REDIS = "django_redis.cache.RedisCache"


@pytest.fixture(autouse=True)
def _apart():
    """The cache of the tests is also everybody's: only tests of that shall hear of it."""
    with override_settings(MIDDLEWARE=[AUTHENTICATION, OURS]):
        yield


def found(*, deploy=False, **conf):
    """Id, message and hint of all that our checks have to say about these settings."""
    with override_settings(REDIS_ATOMIC=conf):
        said = checks.run_checks(tags=["redis_atomic"], include_deployment_checks=deploy)
    return [(each.id.removeprefix("redis_atomic."), each.msg, each.hint) for each in said]


def scripts_in(folder, *, deploy=False, **files):
    for name, source in files.items():
        data = source if isinstance(source, bytes) else source.encode()
        (folder / f"{name}.lua").write_bytes(data)
    return found(deploy=deploy, SCRIPT_DIRS=[folder])


def limit(deploy=False, **entry):
    return found(deploy=deploy, RATE_LIMITS={"api": {"RATE": "5/m", **entry}})


def test_the_defaults_are_sound():
    assert found() == []


def test_every_id_has_a_meaning_and_a_test():
    ids = [name.removeprefix("redis_atomic.") for name in MEANINGS]
    assert all(re.fullmatch(r"[EW]\d{3}", name) for name in ids)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())
    tested = {name[5:9].upper() for name in globals() if re.match(r"test_[ew]\d{3}_", name)}
    assert tested == set(ids)


def test_the_command_check_runs_them():
    with override_settings(REDIS_ATOMIC={"LOCK_TLL": 3}), pytest.raises(SystemCheckError) as caught:
        call_command("check", stdout=StringIO(), stderr=StringIO())
    assert "(redis_atomic.E002) REDIS_ATOMIC has no setting 'LOCK_TLL'." in str(caught.value)
    assert "HINT: Did you mean 'LOCK_TTL'?" in str(caught.value)


# Settings


def test_e001_settings_that_are_no_dict():
    with override_settings(REDIS_ATOMIC=["x"]):
        (said,) = checks.run_checks(tags=["redis_atomic"])
    assert (said.id, said.msg) == ("redis_atomic.E001", "REDIS_ATOMIC is not a dict, but ['x'].")
    assert said.hint == "Write REDIS_ATOMIC = {'CACHE_ALIAS': 'default'}."


def test_e002_an_unknown_setting_names_the_nearest():
    assert found(CASHE_ALIAS="x") == [
        ("E002", "REDIS_ATOMIC has no setting 'CASHE_ALIAS'.", "Did you mean 'CACHE_ALIAS'?")
    ]
    ((_, _, hint),) = found(xyz=1)
    assert hint.startswith("The settings are: CACHE_ALIAS, SCRIPT_DIRS")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CACHE_ALIAS", 5, "the name of a cache in CACHES, such as 'default'"),
        ("SCRIPT_DIRS", "lua", "a list of folders, such as [BASE_DIR / 'lua']"),
        ("SCRIPTS", {"a": 5}, "a dict of names and files, such as {'shop.reserve': "),
        ("RATE_LIMITS", ["a"], "a dict of names and limits"),
        ("RATE_LIMIT_ENABLED", "yes", "True or False"),
        ("RATE_LIMIT_CACHE_ALIAS", "", "the name of a cache in CACHES, or None for that of "),
        ("RATE_LIMIT_ON_ERROR", "opne", "'local', 'open' or 'closed'"),
        ("RATE_LIMIT_TIMEOUT", 0, "a number of seconds above 0"),
        ("RATE_LIMIT_TIMEOUT", float("nan"), "a number of seconds above 0, at most 86400"),
        ("RATE_LIMIT_TIMEOUT", 1e300, "a number of seconds above 0, at most 86400"),
        ("RATE_LIMIT_HEADERS", True, "'draft', 'legacy' or None"),
        ("RATE_LIMIT_DENY_CACHE_SIZE", -1, "a number of entries, or 0 for none"),
        ("TRUSTED_PROXIES", "10.0.0.0/8", "a list of networks and addresses"),
        ("TRUSTED_PROXIES", ["10.0.0/8"], "a list of networks and addresses"),
        ("IPV6_PREFIX", 129, "a number of bits from 1 to 128"),
        ("LOCK_CACHE_ALIAS", ["x"], "the name of a cache in CACHES, or None for that of "),
        ("LOCK_TTL", "30", "a number of seconds from 0.1 to 9.0072e+12"),
        ("LOCK_TTL", True, "a number of seconds from 0.1 to 9.0072e+12"),
        ("LOCK_TTL", 0.05, "a number of seconds from 0.1 to 9.0072e+12"),
        ("LOCK_TTL", 1e300, "a number of seconds from 0.1 to 9.0072e+12"),
        ("LOCK_WAIT", 10**30, "a number of seconds, 0 for one try, or FOREVER"),
        ("LOCK_FENCE_MEMORY", 10**30, "a number of seconds above 0, at most 9.0072e+12"),
        ("LOCK_WAIT", -1, "a number of seconds, 0 for one try, or FOREVER"),
        ("LOCK_WAIT", None, "a number of seconds, 0 for one try, or FOREVER"),
        ("LOCK_WAITING", "blocking", "'block' or 'poll'"),
        ("LOCK_FENCE_MEMORY", float("inf"), "a number of seconds above 0"),
        ("LEAN_CALLS", 1, "True or False"),
    ],
)
def test_e003_a_wrong_value_of_each_setting(name, value, expected):
    ((number, message, hint),) = found(**{name: value})
    assert (number, message) == ("E003", f"REDIS_ATOMIC[{name!r}] cannot be {value!r}.")
    assert hint.startswith(f"Give it {expected}")


def test_every_setting_is_looked_at_and_may_keep_its_default():
    assert list(settings_checks.EXPECTED) == Settings.names()
    for name, (fits, _) in settings_checks.EXPECTED.items():
        assert fits(vars(Settings)[name].default), name


def test_good_values_are_good():
    assert found(TRUSTED_PROXIES=["unix", "10.1.2.3", "2001:db8::/32"], LOCK_WAIT=0) == []
    assert found(LOCK_WAIT=FOREVER, LOCK_TTL=timedelta(minutes=1)) == []
    assert found(RATE_LIMIT_TIMEOUT=timedelta(milliseconds=100)) == []


# Caches


def test_e004_an_alias_that_is_not_in_caches():
    assert found(LOCK_CACHE_ALIAS="defualt") == [
        (
            "E004",
            "REDIS_ATOMIC['LOCK_CACHE_ALIAS'] is 'defualt', and CACHES has no such alias.",
            "Did you mean 'default'?",
        )
    ]
    ((_, _, hint),) = found(CACHE_ALIAS="xyz")
    assert hint == "CACHES has: default, memory."


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (
            "django.core.cache.backends.redis.RedisCache",
            "CACHES['default'] is RedisCache, not django-redis's.",
        ),
        (
            "django_redis.cache.RedisCash",
            (
                "CACHES['default'] cannot be used: Could not find backend 'django_redis.cache."
                'RedisCash\': Module "django_redis.cache" does not define a "RedisCash" '
                "attribute/class"
            ),
        ),
    ],
)
def test_e005_a_cache_that_is_not_of_django_redis(backend, message):
    location = "redis://127.0.0.1:1/0"
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": location}}):
        assert found() == [
            (
                "E005",
                message,
                (
                    "Set CACHES['default']['BACKEND'] = 'django_redis.cache.RedisCache', with any "
                    "CLIENT_CLASS but ShardClient, or name another alias in "
                    "REDIS_ATOMIC['CACHE_ALIAS']."
                ),
            )
        ]


def test_e005_a_cache_that_is_spread_over_several_servers():
    cache = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ["redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0"],
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"},
    }
    with override_settings(CACHES={"default": cache}):
        ((number, message, _),) = found()
        assert number == "E005"
        assert message.startswith("CACHES['default'] is sharded")
        with pytest.raises(ImproperlyConfigured, match="is sharded"):
            increment("n")


def test_e023_tells_what_keeps_a_dotted_path_from_being_imported(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('not today')")
    monkeypatch.syspath_prepend(tmp_path)
    ((number, message, _),) = limit(KEY="broken_module.key")
    assert (number, message.partition("']: ")[0]) == (number, message)
    assert message.endswith("cannot be 'broken_module.key': not today.")
    ((_, message, _),) = limit(PATH="api.v1")
    assert message.endswith("cannot be 'api.v1'.")


def test_w001_a_cache_without_a_server():
    ((number, message, hint),) = found(CACHE_ALIAS="memory")
    assert (number, message) == (
        "W001",
        (
            "CACHES['memory'] is LocMemCache: every call of redis_atomic will raise "
            "ImproperlyConfigured."
        ),
    )
    assert hint.startswith("Set CACHES['memory']['BACKEND'] = 'django_redis.cache.RedisCache';")


def caches(**locations):
    options = {name: {} for name in locations}
    for name, value in locations.items():
        if isinstance(value, tuple):
            locations[name], options[name] = value
    return override_settings(
        CACHES={
            name: {"BACKEND": REDIS, "LOCATION": location, "OPTIONS": options[name]}
            for name, location in locations.items()
        }
    )


def test_w101_locks_and_limits_where_clear_empties_them():
    with caches(default="redis://h:6379/0", own="redis://h/1", other="redis://H:6379/0"):
        assert found() == []
        assert found(deploy=True) == [
            (
                "W101",
                (
                    f"{purpose} are in the database of CACHES['default'], and its clear() empties "
                    "it (FLUSHDB)."
                ),
                (
                    "Give them an alias with a database of its own, such as redis://…/1, and name "
                    f"it in REDIS_ATOMIC['{setting}']."
                ),
            )
            for purpose, setting in [
                ("Locks", "LOCK_CACHE_ALIAS"),
                ("Rate limits", "RATE_LIMIT_CACHE_ALIAS"),
            ]
        ]
        apart = {"LOCK_CACHE_ALIAS": "own", "RATE_LIMIT_CACHE_ALIAS": "own"}
        assert found(deploy=True, **apart) == []
        shared = found(deploy=True, **{**apart, "LOCK_CACHE_ALIAS": "other"})
        assert [number for number, *_ in shared] == ["W101"]
    with caches(default="unix:///run/s?db=1,unix:///run/s?db=2", own=["unix:///run/s?db=2"]):
        ((number, message, _),) = found(
            deploy=True, LOCK_CACHE_ALIAS="own", RATE_LIMIT_ENABLED=False
        )
        assert (number, message[:36]) == ("W101", "Locks are in the database of CACHES[")


def test_w102_two_aliases_that_share_a_pool_against_their_options():
    apart = {"LOCK_CACHE_ALIAS": "own", "RATE_LIMIT_CACHE_ALIAS": "own", "deploy": True}
    one, two = {"SOCKET_TIMEOUT": 1, "SERIALIZER": JSON}, {"SOCKET_TIMEOUT": 2}
    with caches(default=("redis://h/0", one), b=("redis://h/0", two), own="redis://h/1"):
        ((number, message, hint),) = found(**apart)
    assert (number, message) == (
        "W102",
        (
            "CACHES['default'] and CACHES['b'] have one LOCATION and different "
            "OPTIONS['SOCKET_TIMEOUT']: django-redis keeps one pool for both, that of whichever "
            "is used first."
        ),
    )
    assert hint.startswith("Give both the same OPTIONS, or tell the addresses apart")
    with caches(default=("redis://h/0", {"SERIALIZER": JSON}), b="redis://h/0", own="redis://h/1"):
        assert found(**apart) == []


# Scripts


def test_e011_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "gone.lua"
    assert found(SCRIPTS={"gone": path}) == [
        (
            "E011",
            f"{path}: the file cannot be read: No such file or directory.",
            "Correct the path or permissions.",
        )
    ]


def test_e012_a_byte_order_mark(tmp_path):
    assert scripts_in(tmp_path, a=b"\xef\xbb\xbfreturn 1") == [
        (
            "E012",
            f"{tmp_path / 'a.lua'}:1: the file begins with a byte order mark, which Redis refuses.",
            "Save it as UTF-8 without BOM.",
        )
    ]


def test_e013_a_file_in_another_encoding(tmp_path):
    assert scripts_in(tmp_path, a=b"\n-- \xe9") == [
        (
            "E013",
            f"{tmp_path / 'a.lua'}:2: the file is not UTF-8: byte 0xe9.",
            "Save it as UTF-8.",
        )
    ]


def test_e014_a_name_that_nobody_could_call(tmp_path):
    ((number, message, hint),) = scripts_in(tmp_path, **{"my script": "return 1"})
    assert (number, message) == (
        "E014",
        f"{tmp_path / 'my script.lua'}: 'my script' is no name for a script.",
    )
    assert hint.startswith("Name it by letters, digits, '_' and '-'")


def test_e015_two_files_for_one_name(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.lua").write_text("return 1")
    one, two = (tmp_path / name / "a.lua" for name in ("one", "two"))
    assert found(SCRIPT_DIRS=[one.parent, two.parent]) == [
        (
            "E015",
            f"{one}: the name 'a' is taken by {two}, too.",
            f"Rename one, or choose in settings: REDIS_ATOMIC['SCRIPTS'] = {{'a': '{one}'}}.",
        )
    ]


def test_e016_a_head_that_cannot_be_understood(tmp_path):
    ((number, message, hint),) = scripts_in(tmp_path, a="-- x\n-- args: amount:itn\n")
    assert number == "E016"
    assert message.startswith(f"{tmp_path / 'a.lua'}:2: 'amount:itn': an argument is one of ")
    assert message.endswith("not 'itn'. Did you mean 'int'?")
    assert hint.startswith("A head reads: -- keys: stock")


def test_e017_a_use_beyond_the_head(tmp_path):
    source = "-- keys: a b\nredis.call('MGET', KEYS[1],\n KEYS[2], KEYS[3])"
    assert scripts_in(tmp_path, a=source) == [
        (
            "E017",
            f"{tmp_path / 'a.lua'}:3: KEYS[3] is beyond the head, which declares a b.",
            "Correct the number, or let the head say:\n-- keys: a b key3",
        )
    ]


def test_e018_a_write_without_writes(tmp_path):
    source = "-- keys: a\n-- flags: no-writes\nreturn redis.call('INCR', KEYS[1])"
    assert scripts_in(tmp_path, a=source) == [
        (
            "E018",
            f"{tmp_path / 'a.lua'}:3: its flags say no-writes, and it calls INCR.",
            "Take 'no-writes' out of the flags.",
        )
    ]


def test_e019_a_text_that_is_not_lua_5_1(tmp_path):
    assert scripts_in(tmp_path, a="local half = 7\nreturn half // 2\n") == [
        (
            "E019",
            (
                f"{tmp_path / 'a.lua'}:2: Lua 5.1 does not understand it: unexpected symbol near "
                "'/'."
            ),
            "Correct it; mind that Redis has Lua 5.1, without goto, //, & or <const>.",
        )
    ]


def test_e020_a_global_that_redis_does_not_have(tmp_path):
    source = "local current = 1\ncounter = curent\nreturn counter + redis.cal('TIME')[1]"
    path = tmp_path / "a.lua"
    assert scripts_in(tmp_path, a=source) == [
        (
            "E020",
            f"{path}:2: it assigns the global 'counter', and Redis allows none.",
            "Declare it: 'local counter'.",
        ),
        (
            "E020",
            f"{path}:2: there is no global 'curent': reading it is an error.",
            "Did you mean 'current'?",
        ),
        ("E020", f"{path}:3: no server has redis.cal.", "Did you mean 'redis.call'?"),
    ]


def test_w011_a_folder_that_does_not_exist(tmp_path):
    folder = tmp_path / "lau"
    assert found(SCRIPT_DIRS=[folder]) == [
        (
            "W011",
            f"REDIS_ATOMIC['SCRIPT_DIRS'] names {str(folder)!r}, which is no folder.",
            "Create it, or correct the path.",
        )
    ]


def test_w012_a_literal_or_derived_key(tmp_path):
    assert scripts_in(tmp_path, a="return redis.call('GET', 'hits')") == [
        (
            "W012",
            f"{tmp_path / 'a.lua'}:1: GET takes the literal key 'hits'.",
            "Declare it in '-- keys:' and pass it: a cluster and an ACL must know every key.",
        )
    ]


def test_w013_a_name_that_is_never_used(tmp_path):
    assert scripts_in(tmp_path, a="-- keys: a b\nreturn KEYS[1]") == [
        (
            "W013",
            f"{tmp_path / 'a.lua'}: 'b' is declared, and KEYS[2] is never used.",
            "Use it, or take 'b' out of the head.",
        )
    ]


def test_w014_carriage_returns(tmp_path):
    ((number, message, hint),) = scripts_in(tmp_path, a="return 1\r\n")
    assert (number, message) == (
        "W014",
        (
            f"{tmp_path / 'a.lua'}: its lines end with CR LF, so its SHA differs from the same "
            "file with LF."
        ),
    )
    assert hint == "Save it with LF, and add '*.lua text eol=lf' to .gitattributes."


def test_w015_a_flag_that_redis_will_not_see(tmp_path):
    said = scripts_in(tmp_path, a="-- flags: no-writes allow-oom\nreturn 1")
    assert said == [
        (
            "W015",
            (
                f"{tmp_path / 'a.lua'}: its flags say allow-oom, which Redis reads in a #!lua line "
                "only."
            ),
            "Begin the file with '#!lua flags=allow-oom,no-writes' (Redis 7 and later).",
        )
    ]
    both = "#!lua flags=allow-oom,no-writes\n-- flags: no-writes allow-oom\nreturn 1"
    assert scripts_in(tmp_path, a=both) == []


def test_w016_a_global_that_only_some_servers_have(tmp_path):
    assert scripts_in(tmp_path, a="local start = os.clock()\nreturn start < 1") == [
        (
            "W016",
            f"{tmp_path / 'a.lua'}:1: the global 'os' is there on Redis 8 and Valkey only.",
            "Do without it, or silence this where no other server is used.",
        )
    ]


def test_w017_a_reply_that_is_taken_for_a_number(tmp_path):
    source = "-- keys: a\n-- args: b:int\nlocal n = redis.call('GET', KEYS[1]) + 1\n"
    path = tmp_path / "a.lua"
    assert scripts_in(tmp_path, a=f"{source}return n > 5 and ARGV[1] > 5") == [
        (
            "W017",
            f"{path}:3: it reckons with the reply of GET, which may be missing.",
            "Write tonumber(redis.call('GET', …) or 0).",
        ),
        (
            "W017",
            f"{path}:4: it compares ARGV[1] with a number, which Lua refuses: it is text.",
            "Put tonumber(…) around it.",
        ),
    ]


def test_w103_a_key_in_a_local(tmp_path):
    source = "-- keys: a\nlocal key = KEYS[1]\nreturn redis.call('GET', key)"
    assert scripts_in(tmp_path, a=source) == []
    said = [each for each in scripts_in(tmp_path, deploy=True, a=source) if each[0] != "W101"]
    assert said == [
        (
            "W103",
            f"{tmp_path / 'a.lua'}:3: GET takes its key from the local 'key'.",
            "Write KEYS[n] in the call itself: some hosted clusters refuse anything else.",
        )
    ]


# Limits


def test_e021_an_unknown_word_of_a_limit():
    place = "REDIS_ATOMIC['RATE_LIMITS']['api']"
    assert limit(ALGORITM="x") == [
        ("E021", f"{place} cannot have 'ALGORITM'.", "Did you mean 'ALGORITHM'?")
    ]
    ((_, _, hint),) = limit(xyz=1)
    assert hint == f"Its keys are: {', '.join(['RATE', *limits.EXPECTED])}."


def test_e022_a_rate_that_cannot_be_read():
    place = "REDIS_ATOMIC['RATE_LIMITS']['api']"
    ((number, message, hint),) = limit(RATE=["5/m", "5/fortnight"])
    assert number == "E022"
    assert message.startswith(f"{place}['RATE']: '5/fortnight' is not a rate.")
    assert hint.startswith("Write '5/m' or '100/2h', a list of these, or a callable")
    for rate in (5, None, [], "os.path.nothing", "0/m"):
        assert [number for number, *_ in limit(RATE=rate)] == ["E022"], rate
    for rate in (("5/m", "50/h"), len, "os.path.join"):
        assert limit(RATE=rate) == []
    assert found(RATE_LIMITS={"api": {}}) == [
        ("E022", f"{place} has no 'RATE'.", "Give it one: 'RATE': '100/m'.")
    ]


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("KEY", "usr", "'ip', 'user', 'header:X-Name', "),
        ("KEY", ["ip", ["user"]], "'ip', 'user', "),
        ("KEY", "os.path.nothing", "'ip', 'user', "),
        ("ALGORITHM", "fixed_window", "'sliding_window' or 'token_bucket'"),
        ("COST", 0, "a number of units, 1 or more, or a callable or its dotted path"),
        ("EXEMPT", True, "a callable or its dotted path, or a list of networks such as "),
        ("EXEMPT", ["10.0.0.0/8", "10.0.0/8"], "a callable or its dotted path, or a list of "),
        ("EXEMPT", [len], "a callable or its dotted path, or a list of networks"),
        ("MISSING", "ip", "'skip', 'shared' or None"),
        ("COUNT_WHEN", "os.path.nothing", "a callable or its dotted path"),
        ("SHADOW", 1, "True or False"),
        ("PATH", "api/", "the beginning of a path by whole segments, such as '/api/', which is"),
        ("PATH_REGEX", "(", "a regular expression, such as r'^/api/v[12]/'; with PATH beside it"),
        ("KEY", "header:X Y", "'ip', 'user', 'header:X-Name', "),
        ("URL_NAMES", "shop:new", "a list of one or more URL names, such as ['shop:detail']"),
        ("URL_NAMES", [], "a list of one or more URL names, such as ['shop:detail']"),
        ("METHODS", "POST", "a list of one or more methods, such as ['POST']"),
        ("METHODS", [], "a list of one or more methods, such as ['POST']"),
        ("METHODS", [5], "a list of one or more methods, such as ['POST']"),
    ],
)
def test_e023_a_wrong_value_in_a_limit(word, value, expected):
    ((number, message, hint),) = limit(**{word: value})
    place = f"REDIS_ATOMIC['RATE_LIMITS']['api'][{word!r}]"
    reason = "" if value != "os.path.nothing" else ': Module "os.path" does not define a "nothing"'
    assert number == "E023"
    assert message.rstrip(".").startswith(f"{place} cannot be {value!r}{reason}")
    assert hint.startswith(f"Give it {expected}")


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("api", {"BURST": 5}, "burst belongs to algorithm='token_bucket'"),
        ("api", {"RATE": ["5/m", "6/m"]}, "REDIS_ATOMIC['RATE_LIMITS']['api']: "),
        ("api", {"RATE": "9999999/m"}, "use algorithm='token_bucket'"),
    ],
)
def test_e023_values_that_make_no_limit_together(name, entry, message):
    ((number, said, hint),) = found(RATE_LIMITS={name: {"RATE": "5/m", **entry}})
    assert (number, hint) == ("E023", "Correct this entry.")
    assert message in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Limit: name must be a text that is not empty, not ''."),
        (5, "Limit: name must be a text that is not empty, not 5."),
        ("5/m", "The name of a limit is a letter, then letters, digits, "),
    ],
)
def test_e023_a_name_that_is_none_is_told_once(name, message):
    ((number, said, hint),) = found(RATE_LIMITS={name: {"RATE": "5/m"}})
    assert (number, hint) == ("E023", "Correct the name of this entry.")
    assert said.startswith(f"REDIS_ATOMIC['RATE_LIMITS'][{name!r}]: {message}")


def test_e023_names_the_entry_that_is_no_dict():
    assert found(RATE_LIMITS={"api": {"RATE": "5/m"}, "login": "5/m"}) == [
        (
            "E023",
            "REDIS_ATOMIC['RATE_LIMITS']['login'] cannot be '5/m'.",
            "Give it a dict, such as {'RATE': '5/m'}.",
        )
    ]


@pytest.mark.parametrize("huge", [10**400, 10**5000], ids=["long", "too long for Python"])
def test_huge_values_are_not_printed_whole(huge):
    said = [
        *found(IPV6_PREFIX=huge),
        *found(TRUSTED_PROXIES=[huge]),
        *found(RATE_LIMITS=huge),
        *found(RATE_LIMITS={"api": huge}),
        *limit(RATE=huge),
        *limit(COST=huge),
        *limit(PATH=huge),
        *limit(BURST=huge, ALGORITHM="token_bucket"),
    ]
    assert len(said) == 8
    assert max(len(message) for _, message, _ in said) < 250


def test_good_limits_are_good():
    assert limit(KEY=("ip", "header:X-Key", len), COST="os.path.join", EXEMPT=len, MISSING=None,
                 COUNT_WHEN=len, SHADOW=True, PATH="/", PATH_REGEX="^/x",
                 METHODS=["POST"]) == []  # fmt: skip
    assert limit(EXEMPT=["192.0.2.7", "2001:db8::/32"]) == []


def test_e026_a_cost_that_is_never_let_in():
    place = "REDIS_ATOMIC['RATE_LIMITS']['api']['COST']"
    assert limit(COST=6, RATE=["5/m", "6/h"]) == [
        (
            "E026",
            f"{place} is 6, and 5/m lets 5 pass at once: all requests are refused.",
            "Give it a smaller COST or a larger RATE.",
        )
    ]
    assert limit(COST=5) == limit(COST=len) == limit(COST=9, RATE=len) == []
    assert limit(COST=6, ALGORITHM="token_bucket", BURST=6) == []


def test_w022_a_method_that_http_does_not_have():
    assert limit(METHODS=["PSOT", "get"]) == [
        (
            "W022",
            "REDIS_ATOMIC['RATE_LIMITS']['api']['METHODS'] has 'PSOT', which is no method of HTTP.",
            "Did you mean 'POST'?",
        )
    ]
    ((_, _, hint),) = limit(METHODS=["x"])
    assert hint.startswith("They are: CONNECT, DELETE, GET")


def test_w023_a_url_name_that_is_not_in_the_urlconf():
    place = "REDIS_ATOMIC['RATE_LIMITS']['login']['URL_NAMES']"
    limits = {
        "login": {"RATE": "5/m", "URL_NAMES": ["login", "new", "shop:nwe"]},
        "logn": {"RATE": "5/m", "URL_NAMES": {"shop:new", f"{__name__}.Throttled"}},
    }
    with override_settings(ROOT_URLCONF=__name__):
        said = found(RATE_LIMITS=limits)
    assert [(number, message) for number, message, _ in said] == [
        ("W023", f"{place} has {name!r}, and no URL pattern has this name.")
        for name in ("new", "shop:nwe")
    ]
    assert [hint for *_, hint in said] == [
        "Write it with its namespaces, as reverse() takes it.",
        "Did you mean 'shop:new'?",
    ]


@rate_limit("login")
def login(request):
    """A view whose limit is there or not, as the settings of a test have it."""


@method_decorator(rate_limit("5/m", "logn"), name="post")
class Register(View):
    def post(self, request):
        pass


class Throttle:
    """A throttle as those of REST framework are: its limits may need a request."""

    def get_limits(self, view):
        return view.request.plan


class Throttled(View):
    throttle_classes = (Throttle,)


urlpatterns = [
    path("login/", login, name="login"),
    path("shop/", include(([path("new/", Register.as_view(), name="new")], "shop"))),
    path("throttled/", Throttled.as_view()),
]


def test_e025_a_view_whose_limit_is_not_in_the_settings():
    with override_settings(ROOT_URLCONF=__name__):
        assert found(RATE_LIMITS={"login": {"RATE": "5/m"}}) == [
            (
                "E025",
                (
                    "REDIS_ATOMIC['RATE_LIMITS'] has no limit named 'logn'. Did you mean 'login'? "
                    "Every request to /shop/new/ (tests.test_checks.Register) will fail."
                ),
                "Correct it there, or in REDIS_ATOMIC['RATE_LIMITS'].",
            )
        ]
        assert found(RATE_LIMITS={"login": {"RATE": "5/m"}, "logn": {"RATE": "5/h"}}) == []


def test_e025_names_all_views_of_a_missing_limit_at_once():
    with override_settings(ROOT_URLCONF=tuple(urlpatterns[:1]) * 5):
        ((number, message, _),) = found()
    place = "/login/ (tests.test_checks.login)"
    assert number == "E025"
    assert message.endswith(f"Every request to {', '.join([place] * 3)} and 2 more will fail.")


def test_without_a_urlconf_there_is_nothing_to_check():
    with override_settings(ROOT_URLCONF=None):
        assert found() == []


class OwnAuthentication:
    """Not the real one, though it has a name like it."""


def test_e024_a_rule_by_user_before_anybody_is_logged_in():
    rule = {"PATH": "/api/", "KEY": ("user", "ip")}
    assert limit(**rule) == []
    for middleware in ([OURS, AUTHENTICATION], [OURS], [f"{__name__}.OwnAuthentication", OURS]):
        with override_settings(MIDDLEWARE=middleware):
            assert limit(**rule) == [
                (
                    "E024",
                    (
                        "REDIS_ATOMIC['RATE_LIMITS']['api'] counts by user, and nobody is logged "
                        "in yet where RateLimitMiddleware stands in MIDDLEWARE."
                    ),
                    f"Put {OURS!r} directly after {AUTHENTICATION!r}.",
                )
            ]
            assert limit(PATH="/api/") == limit(KEY="user") == []


def test_w021_rules_that_nobody_applies():
    with override_settings(MIDDLEWARE=[AUTHENTICATION]):
        assert limit(KEY="user") == []
        assert limit(PATH="/") == [
            (
                "W021",
                (
                    "Nobody applies REDIS_ATOMIC['RATE_LIMITS']['api']: MIDDLEWARE has no "
                    "RateLimitMiddleware."
                ),
                f"Put {OURS!r} into MIDDLEWARE, directly after {AUTHENTICATION!r}.",
            )
        ]
    assert settings.MIDDLEWARE == [AUTHENTICATION, OURS]


def test_a_subclass_of_the_authentication_middleware_counts_as_it():
    path = "django.contrib.auth.middleware.RemoteUserMiddleware"  # not a subclass
    with override_settings(MIDDLEWARE=[path, OURS]):
        assert [number for number, *_ in limit(PATH="/", KEY="user")] == ["E024"]
    from django.contrib.auth import middleware

    class Own(middleware.AuthenticationMiddleware):
        pass

    middleware.Own = Own
    try:
        with override_settings(MIDDLEWARE=["django.contrib.auth.middleware.Own", OURS]):
            assert limit(PATH="/", KEY="user") == []
    finally:
        del middleware.Own
