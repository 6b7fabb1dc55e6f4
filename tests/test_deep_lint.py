"""The deeper lint, held against the server's compiler, Lua's byte code and the server's globals."""

import re
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lupa import lua51

from redis_atomic.scripting.builtin import FOLDER
from redis_atomic.scripting.deep import findings, rules
from redis_atomic.scripting.deep.compiler import syntax_faults
from redis_atomic.scripting.deep.names import global_names
from redis_atomic.scripting.deep.sandbox import ELSEWHERE, FIELDS, GLOBALS
from redis_atomic.scripting.deep.tree import Tree
from redis_atomic.scripting.script import Script
from redis_atomic.scripting.signature import read_signature
from tests.bytecode import globals_of
from tests.settings import REDIS_URL

HERE = Path(__file__).parent
CORPUS = [path.read_bytes() for path in [*FOLDER.glob("*.lua"), *HERE.glob("bad_scripts/*.lua")]]
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORD = re.compile(rb"\w+|\s+|[^\w\s]")
#: What is put in, or in the place of something: much of it makes a script fail, some does not.
PIECES = [
    *b"( ) { } [ ] = == ~= .. ... . , ; : + - * / % ^ # & | ~ < > // >> \\ ' \" @".split(),
    *b"if then else end do while repeat until for in function local return break goto".split(),
    *b"nil true not and or x KEYS[1] 1 0x1f 1e5 3x 'a' [[b]] [==[ ]==] -- ::a::".split(),
    *b"--[[ ]] ---[[ ----[[ --]] --[==[ '--[[' '\\\\:' '\\x1'".split(),
    *[b"\n", b"\r", b"\0", b"\xff", "é".encode(), b" <const> ", b"local y = 1 ", b"\\300", b"\\9"],
]


@st.composite
def mutated(draw):
    """A script with some of its words left out, changed, doubled or exchanged."""
    words = WORD.findall(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(words)))
        other = draw(st.integers(0, len(words)))
        match draw(st.sampled_from(["insert", "replace", "remove", "move", "cut"])):
            case "insert":
                words.insert(at, draw(st.sampled_from(PIECES)))
            case "replace":
                words[at : at + 1] = [draw(st.sampled_from(PIECES))]
            case "remove":
                del words[at : at + 1]
            case "move":
                words[at:at] = words[other : other + 5]
            case "cut":
                del words[min(at, other) : max(at, other)]
    return b"".join(words)


@pytest.fixture(scope="module")
def server():
    with redis.Redis.from_url(REDIS_URL) as client:
        yield client


def refusal_of(server, source):
    """What the server says against loading a script."""
    try:
        server.script_load(source)
    except redis.ResponseError as error:
        return str(error)
    return None


@settings(FUZZ, max_examples=400)
@given(source=mutated() | st.binary(max_size=40))
def test_a_text_has_a_fault_of_syntax_exactly_where_the_server_refuses_it(server, source):
    faults, refusal = syntax_faults(source), refusal_of(server, source)
    told = [each.rule for each in faults]
    if "some-servers" not in told and not source.startswith(b"#!"):
        assert (told == []) == (refusal is None), (faults, refusal)
        if faults and (place := re.search(r"user_script:(\d+):", refusal)):
            assert int(place[1]) == faults[0].line


def test_long_brackets_within_each_other_are_told_as_what_some_servers_refuse(server):
    source = "return [[ a\n[[ b ]]"
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    ((rule, line),) = [(each.rule, each.line) for each in findings(script)]
    assert (rule, line) == ("some-servers", 2)
    refusal = refusal_of(server, source)
    assert refusal is None or "nesting of [[...]] is deprecated" in refusal
    script = Script("s", b"return [[ [[ ]] +", signature=read_signature("", "s"))
    assert [each.rule for each in findings(script)] == ["some-servers", "syntax"]


@settings(FUZZ, max_examples=200)
@given(source=mutated())
def test_the_globals_are_those_of_the_byte_code(source):
    try:
        read, assigned = globals_of(source)
    except lua51.LuaError:
        return
    tree = Tree(source)
    if not tree.root.has_error:
        assert global_names(tree) == (read, assigned)


@settings(FUZZ, max_examples=150)
@given(source=mutated() | st.binary(max_size=60))
def test_nothing_that_can_be_written_stops_the_rules(source):
    text = source.decode("utf-8", "replace")
    script = Script("s", text.encode(), signature=read_signature("", "s"))
    lines = range(1, len(re.findall("[\r\n]", text)) + 2)
    for finding in [*findings(script), *rules(script)]:  # rules also of what does not compile
        assert finding.line is None or finding.line in lines
        assert finding.message
        assert finding.hint


@pytest.mark.parametrize(
    "source",
    [
        "return " + "1 + " * 10_000 + "1",
        "return " + "x" + ".y" * 5_000,
        "local a = 1 " + "a = a " * 1_000 + "return redis.call('GET', a)",
        "local f = function(k) return redis.call('GET', k) end " + "f('a') " * 500,
        "local function f(k) return f(k) end return redis.call('GET', f(f))",
        "local function f(...) return redis.call(...) end return f(f(...), ...)",
        "local t = {} t.x = t t.y = t.x return redis.call('GET', t.x)",
        "local a a = KEYS[a] return redis.call('GET', a)",
        "local f f = f() return redis.call('GET', f())",
        "local t = {} return redis.call('GET', " + "t[" * 180 + "1" + "]" * 180 + ")",
        "local x, t = 'a', {} " + "x = t[x] or t[x .. x] " * 90 + "return redis.call('GET', x)",
        "local a = {} "
        + "".join(f"local x{n + 1} = a[x{n}] or KEYS[x{n}] " for n in range(150))
        + "return redis.call('GET', x150)",
        "return " + "(" * 190 + "1" + ")" * 190,
    ],
    ids=lambda source: source[:40],
)
def test_long_and_circular_scripts_come_to_an_end(source):
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    assert isinstance(findings(script), list)


SOUND = {
    "another table of that name": """
        local redis = { call = function(command, key) return command .. key end }
        return redis.call('GET', 'hits')""",
    "a local that hides a global": "local os = { time = 1 } return os.time",
    "a loop's own names": "for i = 1, 3 do local j = i end for k, v in pairs({}) do k = v end",
    "seen by until": "repeat local done = true until done",
    "itself, in a function": "local function f(n) return n < 1 and n or f(n - 1) end return f(2)",
    "fields and methods": """
        local t = { x = 1, ['y'] = 2 }
        t.z = t.x
        return t:method(t.y), ('a'):rep(2)""",
    "a key of a table only": "return { redis = 1, missing = 2 }",
    "what is asked for": "return redis.acl_check_cmd and redis.REDIS_VERSION_NUM or redis.log",
    "a number by then": "local n = ARGV[1] n = tonumber(n) if n > 5 then return n end",
    "looked at before": """
        local n = redis.call('GET', KEYS[1])
        if not n then return 0 end
        return n + 1""",
    "a default": "return (redis.call('GET', KEYS[1]) or 0) + 1",
    "numbers of Redis": "return redis.call('STRLEN', KEYS[1]) + 1 > 5",
    "texts among themselves": "return ARGV[1] < ARGV[2]",
    "a shadowed parameter": """
        local function get(key)
          local key = KEYS[1]
          return redis.call('STRLEN', KEYS[1]), key
        end
        return get('hits')""",
    "a name that means something else within": """
        local call = redis.call
        do
          local call = tostring
          call('GET', 'hits')
        end
        return call('TIME')""",
    "what else a call returns": """
        local fine, n = true, ARGV[1]
        fine, n = pcall(tonumber, n)
        return fine and n > 5""",
    "a helper that is not called so": """
        local function name(id) return 'user:' .. id end
        return name(redis.call('GET', KEYS[1]))""",
    "an unknown command": "return redis.call(ARGV[1], KEYS[1])",
    "a text that looks like code": "return \"redis.call('SET', 'a', 1)\" .. [[ goto x ]]",
    "comments that look like longer ones": "-- --[[\nlocal x = 1\n--]]\n----[[\nreturn x\n--]]",
}


@pytest.mark.parametrize("source", SOUND.values(), ids=SOUND)
def test_what_is_right_is_not_complained_of(source):
    head = "-- keys: *keys\n-- args: *args:str\nlocal all = { unpack(KEYS), unpack(ARGV) }\n"
    source = head + source
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    assert [each.told("s") for each in findings(script)] == []


@pytest.mark.parametrize(
    "source",
    [
        "return #KEYS",
        "local keys = KEYS return #keys",
        "local function count(keys) return #keys end return count(KEYS)",
    ],
)
def test_counting_needs_no_head(source):
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    assert findings(script) == []


@pytest.mark.parametrize(
    "source",
    [
        "local a = '--[[ '\nreturn missing -- ]]",
        "----[[\nreturn missing\n--]]",
        "local a = '\\. \\x1'\nreturn missing",
        "local a = '\0'\nreturn missing",
        "--[==[ ]] ]==]\nreturn missing +\n  missing",
    ],
)
def test_no_text_and_no_comment_hides_code(source):
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    assert [(each.rule, each.line) for each in findings(script)] == [("unknown-name", 2)]


WALK = """
local found = {}
for name, value in pairs(_G) do
  found[#found + 1] = name
  if type(value) == 'table' and name ~= '_G' then
    for field in pairs(value) do found[#found + 1] = name .. '.' .. tostring(field) end
  end
end
return found
"""


def test_the_known_globals_are_the_server_s(server):
    names = {name.decode() for name in server.eval(WALK, 0)}
    there = {name for name in names if "." not in name and not name.startswith("__")}
    assert there >= GLOBALS
    assert there - GLOBALS <= ELSEWHERE.keys()
    assert {name for name in names if "." in name} <= FIELDS


@pytest.mark.parametrize("source", ["return curent", "counter = 1", "return redis.cal('TIME')"])
def test_what_is_called_an_unknown_name_fails_on_the_server(server, source):
    script = Script("s", source.encode(), signature=read_signature(source, "s"))
    assert [each.rule for each in findings(script)] == ["unknown-name"]
    with pytest.raises(redis.ResponseError):
        server.eval(source, 0)
