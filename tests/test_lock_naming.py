import datetime
import enum
import functools
import subprocess
import sys
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, User
from django.db import models
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.views import View
from hypothesis import example, given
from hypothesis import strategies as st

from redis_atomic import current_lease, redis_lock
from redis_atomic.locks.naming import LONGEST_NAME, lock_name
from redis_atomic.locks.templates import bind_template


def charge(invoice, amount=1, *, note="", **kwargs):
    raise AssertionError("naming a lock calls nothing")


def name_of(template, *args, **kwargs):
    return bind_template(template, charge)(args, kwargs)


def saved(pk=7, model=User):
    """An instance as the database would have returned it."""
    instance = model(pk=pk)
    instance._state.adding = False
    return instance


class Colour(enum.Enum):
    RED = "r"


class Size(models.TextChoices):
    LARGE = "L"


# --- values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", "abc"),
        (12, "12"),
        (-1, "-1"),
        (True, "1"),
        (Colour.RED, "r"),
        (Size.LARGE, "L"),
        (enum.IntEnum("Number", {"FIVE": 5}).FIVE, "5"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (datetime.date(2026, 11, 23), "2026-11-23"),
        (mark_safe("a@b"), "a@b"),
        ("a:b/c {d}", "a%3Ab%2Fc%20%7Bd%7D"),
    ],
)
def test_a_plain_value_is_written_readably(value, text):
    assert name_of("x:{invoice}", value) == f"x:{text}"


def test_the_same_instant_names_one_lock_in_every_time_zone():
    utc = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
    east = utc.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    assert name_of("{invoice}", utc) == name_of("{invoice}", east)


def test_a_saved_instance_is_written_as_its_label_and_key():
    assert name_of("pay:{invoice}", saved()) == "pay:auth.user:7"
    assert name_of("pay:{invoice}", SimpleLazyObject(saved)) == "pay:auth.user:7"


def test_a_proxy_model_names_the_lock_of_its_row():
    class Clerk(User):
        class Meta:
            proxy = True
            app_label = "tests"

    assert name_of("{invoice}", saved(model=Clerk)) == name_of("{invoice}", saved())


@pytest.mark.parametrize("instance", [User(), User(pk=5), Group(name="x")])
def test_an_unsaved_instance_is_refused(instance):
    with pytest.raises(ValueError, match=r"\{invoice\} of the lock .* is an unsaved"):
        name_of("pay:{invoice}", instance)


@pytest.mark.parametrize("value", [None, 1.5, float("nan"), b"x", object(), [1], (1,), {"a": 1}])
def test_a_value_without_one_clear_text_is_refused(value):
    with pytest.raises(TypeError, match=r"\{invoice\} of the lock 'x:\{invoice\}' is"):
        name_of("x:{invoice}", value)


@pytest.mark.parametrize("value", ["x" * 10_000, "é" * 3000, "\ud800"])
def test_a_document_or_broken_text_is_refused(value):
    with pytest.raises(ValueError, match="of the lock"):
        name_of("x:{invoice}", value)


# --- arguments


def test_names_follow_the_call_however_its_arguments_are_passed():
    name = bind_template("{invoice}:{amount}:{kwargs[extra]}", charge)
    assert name(("a",), {"extra": "c"}) == name((), {"invoice": "a", "amount": 1, "extra": "c"})


def test_attributes_and_items_are_looked_up():
    request = type("Request", (), {"user": saved(), "path": ["a", "b"]})()
    assert name_of("{invoice.user.pk}:{invoice.path[1]}", request) == "7:b"


@pytest.mark.parametrize("path", ["invoice.missing", "kwargs[missing]", "invoice.args[3]"])
def test_a_path_that_leads_nowhere_is_an_error_that_shows_it(path):
    with pytest.raises(ValueError, match=r"cannot be looked up") as caught:
        name_of(f"x:{{{path}}}", ValueError("a"))
    assert path in str(caught.value)


def test_a_call_that_the_function_would_refuse_is_refused_in_its_name():
    with pytest.raises(TypeError, match=r"charge\(\): missing a required argument: 'invoice'"):
        name_of("x:{invoice}")


def test_a_method_is_named_by_its_arguments_in_each_way_to_decorate_it(rf):
    lock = redis_lock("view:{request.method}:{slug}")

    class Direct(View):
        @lock
        def get(self, request, slug):
            return current_lease().name

    @method_decorator(lock, name="dispatch")
    class Wrapped(View):
        def dispatch(self, request, slug):
            return current_lease().name

    class Asynchronous(View):
        @method_decorator(lock)
        async def get(self, request, slug):
            return current_lease().name

    assert Direct.as_view()(rf.get("/"), slug="a") == "view:GET:a"
    assert Wrapped.as_view()(rf.get("/"), slug="a") == "view:GET:a"
    assert async_to_sync(Asynchronous.as_view())(rf.get("/"), slug="a") == "view:GET:a"


def test_method_decorator_finds_the_parameters_of_the_method_it_names(rf):
    @method_decorator(redis_lock("cbv:{pk}"), name="get")
    class Page(View):
        def get(self, request, pk):
            return current_lease().name

    assert Page.as_view()(rf.get("/"), pk=7) == "cbv:7"
    assert Page().get(rf.get("/"), 7) == "cbv:7"


def test_the_dispatch_of_an_async_class_is_awaited_under_the_lock(rf):
    @method_decorator(redis_lock("cbv:{kwargs[pk]}"), name="dispatch")
    class Page(View):
        async def get(self, request, pk):
            return current_lease().name

    assert async_to_sync(Page.as_view())(rf.get("/"), pk=7) == "cbv:7"


def test_what_a_dispatch_passes_on_by_name_is_pointed_to(rf):
    @method_decorator(redis_lock("cbv:{pk}"), name="dispatch")
    class Page(View):
        pass

    with pytest.raises(ValueError, match=r"is \{kwargs\[pk\]\}\.$"):
        Page.as_view()(rf.get("/"), pk=7)


def test_what_method_decorator_cannot_show_us_says_where_to_stand():
    with pytest.raises(TypeError, match="on the async method itself"):
        method_decorator(redis_lock("cbv", cancel_on_lost=True))(_coroutine)
    with pytest.raises(TypeError, match="on the async method itself"):
        method_decorator(redis_lock("cbv", on_busy=_coroutine))(_coroutine)


async def _coroutine(*args, **kwargs):
    pass


def test_a_decorator_between_hides_no_parameter():
    @functools.wraps(charge)
    def between(*args, **kwargs):
        raise AssertionError("naming a lock calls nothing")

    assert bind_template("{invoice}", between)(("a",), {}) == "a"


def test_a_wrapper_that_hides_its_parameters_is_named_by_what_is_passed_by_name():
    name = bind_template("{invoice}", lambda *args, **kwargs: None)
    assert name((), {"invoice": "a"}) == "a"
    with pytest.raises(ValueError, match=r"\{invoice\} of the lock .* was not passed by name"):
        name(("a",), {})


# --- templates


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{other}", "has no parameter 'other'; it has: invoice, amount, note, kwargs"),
        ("{0}", "must start with the name of a parameter"),
        ("{}", "must start with the name of a parameter"),
        ("{ invoice}", "must start with the name of a parameter"),
        ("{invoice.}", "must start with the name of a parameter"),
        ("{invoice.pk()}", "must start with the name of a parameter"),
        ("{invoice!r}", "neither a format nor a conversion"),
        ("{amount:>5}", "neither a format nor a conversion"),
        ("{invoice._state}", "private"),
        ("{invoice.user.__class__}", "private"),
        ("{invoice}{amount}", "Put a ':' between"),
        ("{invoice}-{amount}", "Put a ':' between"),
        ("{{invoice}}", "must not contain braces"),
        ("{invoice", "expected '}'"),
        ("invoice}", "Single '}'"),
        ("", "must not be empty"),
        ("\ud800:{invoice}", "is not valid Unicode"),
        ("x" * 5000 + "{invoice}", "is 5000 bytes long"),
    ],
)
def test_a_template_that_cannot_work_fails_when_the_function_is_decorated(template, reason):
    with pytest.raises(ValueError, match="lock") as caught:
        bind_template(template, charge)
    assert reason in str(caught.value)


def test_a_template_is_a_string():
    with pytest.raises(TypeError, match="is a str, not int"):
        bind_template(5, charge)


def test_a_template_without_fields_names_one_lock():
    assert name_of("report", 1) == name_of("report", 2) == "report"


def test_empty_values_may_not_leave_an_empty_name():
    assert name_of("x:{note}", 1) == "x:"
    with pytest.raises(ValueError, match="empty"):
        name_of("{note}", 1)


# --- the promise: different arguments, different locks

texts = st.one_of(
    st.text(alphabet=":%{}/.a1@-", max_size=6),
    st.text(max_size=300),
    st.sampled_from(["auth.user", "auth.user:1", "auth.group", "1", ""]),
)
instances = st.builds(saved, st.integers(0, 12) | texts, st.sampled_from([User, Group]))
arguments = st.tuples(texts | instances, texts | instances)
TEMPLATES = ["{invoice}:{amount}", "a:{invoice}/.{amount}.b", "{invoice}: {amount}"]


@given(arguments, arguments, st.sampled_from(TEMPLATES))
@example(("auth.user", saved(3, Group)), (saved("auth.group"), "3"), TEMPLATES[0])
def test_different_arguments_never_name_one_lock(one, other, template):
    def same(a, b):
        if isinstance(a, str) or isinstance(b, str):
            return a == b
        return type(a) is type(b) and str(a.pk) == str(b.pk)

    alike = all(map(same, one, other))
    assert (name_of(template, *one) == name_of(template, *other)) is alike


@given(st.tuples(texts, texts))
def test_a_name_made_from_arguments_has_no_braces_and_a_bounded_length(pair):
    name = name_of("x:{invoice}:{amount}", *pair)
    assert "{" not in name
    assert "}" not in name
    assert len(name.encode()) <= LONGEST_NAME + 4


# --- names written out


@pytest.mark.parametrize("name", ["report", "a b:c/ü", "x" * LONGEST_NAME])
def test_a_name_written_out_stands_as_it_is(name):
    assert lock_name(name) == name


@pytest.mark.parametrize("name", [b"abc", 5, None, saved(), ["a"]])
def test_a_name_that_is_not_text_is_refused(name):
    with pytest.raises(TypeError, match="is a str, not"):
        lock_name(name)


@pytest.mark.parametrize("name", ["", "a{b}", "}", "{", "x" * 10_000, "\ud800"])
def test_a_name_that_is_empty_braced_huge_or_broken_is_refused(name):
    with pytest.raises(ValueError, match="lock"):
        lock_name(name)


@given(st.text(alphabet="aé", min_size=100, max_size=400), st.text(alphabet="aé", max_size=9))
def test_a_long_name_is_shortened_and_never_meets_another(name, tail):
    short = lock_name(name)
    assert short[:60] == name[:60]
    assert (lock_name(name + tail) == short) is (tail == "")
    assert len(name.encode()) <= LONGEST_NAME or len(short.encode()) > LONGEST_NAME


def test_naming_needs_no_configured_settings():
    code = "from redis_atomic.locks.naming import lock_name; print(lock_name('a'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a\n"
