from pathlib import Path

import pytest

from redis_atomic.exceptions import InvalidScript
from redis_atomic.scripting.discovery import discover, read_entry, read_script

SOUND = "-- keys: k\nreturn redis.call('GET', KEYS[1])\n"


def write(folder, *names, text=SOUND):
    for name in names:
        path = folder / f"{name}.lua"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def fault_of(path, name="broken"):
    entry = read_entry(name, path)
    with pytest.raises(InvalidScript) as caught:
        entry.usable()
    assert caught.value.file == str(path)
    return entry.fault.rule, str(caught.value).removeprefix(str(path))


def test_files_are_named_by_app_and_folder(tmp_path):
    app = write(tmp_path / "app", "reserve", "deeper/not_found")
    shared = write(tmp_path / "shared", "plain", "shop/release", "shop/deeper/not_found")
    (shared / "shop" / "note.txt").write_text("not a script")
    (shared / ".#plain.lua").symlink_to("somebody@host:1")  # an editor's lock
    found = discover([("shop", app), (None, shared), ("none", tmp_path / "missing")], {})
    assert list(found) == ["plain", "shop.release", "shop.reserve"]
    assert found["shop.reserve"].path == str(app.resolve() / "reserve.lua")
    assert all(entry.usable().source == SOUND.encode() for entry in found.values())


def test_the_flags_of_a_head_become_the_scripts(tmp_path):
    path = write(tmp_path, "peek", text=f"-- flags: no-writes idempotent\n{SOUND}") / "peek.lua"
    script = read_script("peek", path, builtin=True)
    assert (script.read_only, script.idempotent, script.builtin) == (True, True, True)
    script = read_script("plain", write(tmp_path, "plain") / "plain.lua")
    assert (script.read_only, script.idempotent, script.builtin) == (False, False, False)
    assert script.signature.usage == "k"


def test_two_files_for_one_name_are_a_fault_of_that_name_alone(tmp_path):
    one, two = write(tmp_path / "one", "a", "b"), write(tmp_path / "two", "a")
    found = discover([("shop", one), ("shop", two), ("shop", one)], {})
    assert found["shop.b"].fault is None
    with pytest.raises(InvalidScript) as caught:
        found["shop.a"].usable()
    assert f"the name 'shop.a' is taken by {two.resolve() / 'a.lua'}, too." in str(caught.value)
    assert "REDIS_ATOMIC['SCRIPTS'] = {'shop.a': " in str(caught.value)


def test_an_override_wins_over_every_folder(tmp_path):
    one, two = write(tmp_path / "one", "a"), write(tmp_path / "two", "a")
    mine = write(tmp_path, "mine", text="return 1") / "mine.lua"
    found = discover([("shop", one), ("shop", two)], {"shop.a": mine, "extra": str(mine)})
    assert found["shop.a"].usable().source == found["extra"].usable().source == b"return 1"


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    rule, message = fault_of(tmp_path / "gone.lua")
    assert (rule, message) == (
        "unreadable",
        ": the file cannot be read: No such file or directory. Correct the path or permissions.",
    )
    (tmp_path / "folder.lua").mkdir()
    assert fault_of(tmp_path / "folder.lua")[0] == "unreadable"


@pytest.mark.parametrize(
    ("source", "rule", "message"),
    [
        (
            b"\xef\xbb\xbfreturn 1",
            "bom",
            ":1: the file begins with a byte order mark, which Redis refuses. Save it as ",
        ),
        (b"\n-- \xe9\n", "encoding", ":2: the file is not UTF-8: byte 0xe9. Save it as UTF-8."),
        (b"-- args: a:itn\n", "head", ":1: 'a:itn': an argument is one of "),
        (
            b"-- keys: a\n\nreturn KEYS[3]",
            "beyond-head",
            ":3: KEYS[3] is beyond the head, which declares a. Correct the number, or",
        ),
        (
            b"-- keys: a\n-- flags: no-writes\nreturn redis.call('DEL', KEYS[1])",
            "writes",
            ":3: its flags say no-writes, and it calls DEL. Take 'no-writes' out of the flags.",
        ),
    ],
)
def test_a_broken_or_lying_file_is_a_fault_with_its_line(tmp_path, source, rule, message):
    path = tmp_path / "broken.lua"
    path.write_bytes(source)
    assert fault_of(path)[0] == rule
    assert fault_of(path)[1].startswith(message)
    with pytest.raises(InvalidScript):
        read_script("broken", path)


@pytest.mark.parametrize(
    "source",
    [
        f"-- keys: a\nreturn KEYS[{'9' * 5000}]",
        f"-- args: n:int(1..{'9' * 5000})",
        f"-- keys: a\nreturn redis.call('ZUNION', '{'9' * 5000}', KEYS[1])",
    ],
)
def test_numbers_of_thousands_of_digits_are_a_fault_and_raise_nothing(tmp_path, source):
    (tmp_path / "odd.lua").write_text(source)
    assert discover([("shop", tmp_path)], {})["shop.odd"].fault is not None


def test_a_script_may_be_named_by_a_word_of_python(tmp_path):
    (tmp_path / "none.lua").write_text("-- returns: a:int b:int\nreturn {1, 2}")
    script = discover([("shop", tmp_path)], {})["shop.none"].usable()
    assert script.signature.parse([1, 2]) == (1, 2)


def test_a_name_that_nobody_could_call_is_a_fault(tmp_path):
    found = discover([(None, write(tmp_path, "a.b.c", "my script", "x/fine-1"))], {})
    assert found["x.fine-1"].fault is None
    assert found["a.b.c"].fault.message == "'a.b.c' is no name for a script."
    assert found["my script"].fault.rule == "name"


def test_paths_that_lead_nowhere_raise_nothing(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "file").write_text("")
    folders = [(None, each) for each in (loop, tmp_path / "file", "null\0byte", "")]
    found = discover(folders, {"a": loop, "b": "null\0byte.lua"})
    assert [found[name].fault.rule for name in "ab"] == ["unreadable", "unreadable"]


def test_our_own_scripts_are_sound():
    folder = Path(__file__).parent.parent / "redis_atomic" / "lua"
    faults = [str(entry.fault) for entry in discover([(None, folder)], {}).values() if entry.fault]
    assert faults == []
