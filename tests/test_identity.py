"""Who is asking, and where from."""

import logging
import threading
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncRequestFactory, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.ratelimit import addresses
from redis_atomic.ratelimit.addresses import client_address, parse_address, subscriber
from redis_atomic.ratelimit.identity import LONGEST_VALUE, identify, teller
from redis_atomic.ratelimit.limit import Limit
from redis_atomic.ratelimit.steps import awalk, walk

PROXY = "10.0.0.1"


@pytest.fixture(autouse=True)
def _nothing_warned(monkeypatch):
    monkeypatch.setattr(addresses, "_warned", set())


@pytest.fixture
def trust(settings):
    def trust(*networks):
        settings.REDIS_ATOMIC = {"TRUSTED_PROXIES": list(networks)}

    return trust


def get(path="/", *, address="192.0.2.1", forwarded=None, **meta):
    if forwarded is not None:
        meta["HTTP_X_FORWARDED_FOR"] = forwarded
    return RequestFactory().get(path, REMOTE_ADDR=address, **meta)


def post(data, content_type="application/x-www-form-urlencoded"):
    return RequestFactory().post("/", data, content_type=content_type)


def who(request, key="ip", missing=None, **kwargs):
    identity = walk(identify(request, key, kwargs, missing=missing))
    if Limit("5/m", key=key).fixed:
        assert teller(key, missing)(request, kwargs) == identity
    return identity


def where(request):
    return str(client_address(request))


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
    ],
)
def test_an_address_is_read_in_every_form_that_proxies_write(text, address):
    assert str(parse_address(text)) == address


NO_ADDRESS = ["", " ", "unknown", "_hidden", "localhost", "192.0.2", "192.0.2.256", "01.2.3.4"]
NO_ADDRESS += ["1", "::g", "[", "[]", ":", "%", "192.0.2.1, 192.0.2.2", "\x00", "\u0661.0.2.1"]
NO_ADDRESS += ["for=192.0.2.1", '"[2001:db8::1]"', "2001:db8::1/64"]


@pytest.mark.parametrize("text", [*NO_ADDRESS, pytest.param("1" * 10**5, id="long")])
def test_what_is_no_address_is_none(text):
    assert parse_address(text) is None


@given(st.text() | st.ip_addresses().map(str) | st.binary().map(lambda b: b.decode("latin-1")))
def test_no_text_makes_the_parser_raise(text):
    parse_address(text)


def test_an_ipv6_client_counts_by_its_network():
    assert who(get(address="2001:db8:1:2:3:4:5:6")) == "ip:2001:db8:1:2::/64"


def test_the_width_of_the_network_is_a_setting(settings):
    settings.REDIS_ATOMIC = {"IPV6_PREFIX": 48}
    assert who(get(address="2001:db8:1:2:3:4:5:6")) == "ip:2001:db8:1::/48"


def test_the_width_may_change_after_an_address_was_seen(settings):
    seen = get(address="2001:db8:1:2:3:4:5:6")
    for bits in (64, 48, 64):
        settings.REDIS_ATOMIC = {"IPV6_PREFIX": bits}
        assert who(seen).endswith(f"::/{bits}")
    for bits in (64.0, True, 0, 129, "64", [64]):
        settings.REDIS_ATOMIC = {"IPV6_PREFIX": bits}
        with pytest.raises(ImproperlyConfigured, match="IPV6_PREFIX"):
            who(seen)


@given(st.text(max_size=60) | st.ip_addresses().map(str))
def test_an_address_read_again_is_the_same(text):
    addresses._parsed.cache_clear()
    assert parse_address(text) == parse_address(f" {text} ") == parse_address(text)


def test_addresses_that_are_remembered_are_few_and_short():
    parse_address("x" * 10**5)
    for number in range(2 * addresses.REMEMBERED):
        who(get(address=f"2001:db8:0:{number:x}::1"))
    for remembered in (addresses._parsed, addresses._subscriber_at):
        assert remembered.cache_info().currsize == addresses.REMEMBERED
        remembered.cache_clear()
    assert who(get(address="x" * 10**5)) == "ip:"
    for remembered in (addresses._parsed, addresses._subscriber_at):
        assert remembered.cache_info().currsize == 0


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_all_addresses_of_one_network_are_one_client(one, other):
    addresses = [parse_address(f"2001:db8:7:8:{_colons(number)}") for number in (one, other)]
    assert {subscriber(address) for address in addresses} == {"2001:db8:7:8::/64"}


def _colons(number):
    text = f"{number:016x}"
    return ":".join(text[i : i + 4] for i in range(0, 16, 4))


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_mapped_addresses_are_as_different_as_the_ones_they_map(one, other):
    mapped = [subscriber(parse_address(f"::ffff:{address}")) for address in (one, other)]
    assert mapped == [str(one), str(other)]


# Proxies


def test_the_header_is_not_believed_without_trusted_proxies():
    assert where(get(forwarded="203.0.113.9")) == "192.0.2.1"


def test_the_header_is_not_believed_from_a_stranger(trust):
    trust("10.0.0.0/8")
    assert where(get(forwarded="203.0.113.9")) == "192.0.2.1"


def test_a_trusted_proxy_says_who_asked_it(trust):
    trust("10.0.0.0/8")
    assert where(get(address=PROXY, forwarded="203.0.113.9")) == "203.0.113.9"


def test_only_the_last_stranger_is_believed(trust):
    trust("10.0.0.0/8")
    request = get(address=PROXY, forwarded="10.9.9.9, 1.1.1.1, 203.0.113.9, 10.0.0.2")
    assert where(request) == "203.0.113.9"


@pytest.mark.parametrize(
    "invented",
    ["", "127.0.0.1", "10.0.0.3", pytest.param("x" * 100_000, id="long"), ",,,", "[::1]:1"],
)
def test_what_a_client_writes_into_the_header_changes_nothing(trust, invented):
    trust("10.0.0.0/8")
    request = get(address=PROXY, forwarded=f"{invented}, 203.0.113.9, 10.0.0.2")
    assert where(request) == "203.0.113.9"


@pytest.mark.parametrize("garbage", ["unknown", "", "_x", "300.1.1.1", "{}", "a:b:c", "\x00"])
def test_garbage_counts_as_the_proxy_that_reported_it(trust, garbage):
    trust("10.0.0.0/8")
    request = get(address=PROXY, forwarded=f"1.1.1.1, {garbage}, 10.0.0.2")
    assert where(request) == "10.0.0.2"


def test_behind_proxies_alone_the_farthest_one_counts(trust):
    trust("10.0.0.0/8")
    assert where(get(address=PROXY, forwarded="10.0.0.3, 10.0.0.2")) == "10.0.0.3"


def test_a_proxy_that_reports_nobody_counts_itself(trust):
    trust("10.0.0.0/8")
    assert where(get(address=PROXY)) == PROXY


def test_a_mapped_proxy_is_trusted_as_its_address(trust):
    trust("10.0.0.0/8")
    assert where(get(address="::ffff:10.0.0.1", forwarded="203.0.113.9")) == "203.0.113.9"


def test_a_proxy_on_a_unix_socket_is_trusted_by_that_word(trust):
    request = get(address="", forwarded="203.0.113.9")
    trust("10.0.0.0/8")
    assert client_address(request) is None
    trust("unix")
    assert where(request) == "203.0.113.9"


def test_a_trusted_network_that_is_none_is_named(trust):
    trust("10.0.0.0/8", "10.0.0.0/99")
    with pytest.raises(ImproperlyConfigured, match=r"TRUSTED_PROXIES.*10\.0\.0\.0/99"):
        client_address(get())


@given(st.lists(st.text() | st.ip_addresses().map(str)).map(",".join))
def test_no_header_makes_a_fresh_client(forwarded):
    """Whatever a client sends: the proxy appends its address, and that is who it is."""
    request = get(address=PROXY, forwarded=f"{forwarded},203.0.113.9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redis_atomic.conf.Settings.TRUSTED_PROXIES", ["10.0.0.0/8"])
        assert where(request) == "203.0.113.9"


@pytest.mark.parametrize("networks", [[], ["172.16.0.0/12"]])
def test_a_proxy_that_nobody_told_us_of_is_warned_about_once(caplog, trust, networks):
    trust(*networks)
    with caplog.at_level(logging.WARNING, "redis_atomic.rate_limits"):
        for _ in range(3):
            who(get(address=PROXY, forwarded="203.0.113.9"))
    (record,) = caplog.records
    assert record.name == "redis_atomic.rate_limits"
    assert "TRUSTED_PROXIES" in record.message
    assert PROXY in record.message


def test_a_client_cannot_cause_that_warning(caplog):
    who(get(address="8.8.8.8", forwarded="203.0.113.9"))
    assert not caplog.records


@pytest.mark.parametrize("address", ["", "unix:", "garbage", None])
def test_clients_without_address_share_a_bucket_and_a_warning(caplog, address):
    request = get()
    request.META["REMOTE_ADDR"] = address
    with caplog.at_level(logging.WARNING, "redis_atomic.rate_limits"):
        assert [who(request), who(request)] == ["ip:", "ip:"]
    (record,) = caplog.records
    assert "unix" in record.message


def test_a_request_without_remote_addr_has_no_address():
    request = get()
    del request.META["REMOTE_ADDR"]
    assert who(request) == "ip:"
    assert who(request, missing="skip") is None


# Kinds


def test_a_user_counts_by_primary_key():
    request = get()
    request.user = User(pk=7)
    assert who(request, "user") == "user:7"


async def test_a_user_counts_by_primary_key_in_async_code():
    async def auser():
        return User(pk=7)

    request = AsyncRequestFactory().get("/")
    request.auser = auser
    assert await awalk(identify(request, "user", {})) == "user:7"


async def test_a_user_put_there_by_hand_is_enough_in_async_code():
    request = AsyncRequestFactory().get("/")
    request.user = User(pk=7)
    assert await awalk(identify(request, "user", {})) == "user:7"


def test_nobody_counts_by_address():
    request = get()
    request.user = AnonymousUser()
    assert who(request, "user") == "ip:192.0.2.1"


def test_a_user_needs_the_middleware():
    with pytest.raises(ImproperlyConfigured, match="AuthenticationMiddleware"):
        who(get(), "user")


def test_a_header_is_a_client():
    assert who(get(HTTP_X_API_KEY=" Abc "), "header:X-Api-Key") == "header:X-Api-Key:Abc"


def test_a_header_without_prefix_is_found():
    request = get(CONTENT_TYPE="text/x-thing")
    assert who(request, "header:Content-Type") == "header:Content-Type:text/x-thing"


def test_a_query_field_is_a_client():
    assert who(get("/?q=%7Ba:b%7D"), "get:q") == "get:q:{a:b}"


def test_a_long_value_is_stripped_but_not_folded():
    """A field is stripped before its length is looked at; folding could make it longer."""
    assert who(post(urlencode({"name": "ann" + " " * 2000})), "post:name") == "post:name:ann"
    one, other = (who(post(urlencode({"name": letter * 2000})), "post:name") for letter in "aA")
    assert one != other


def test_a_form_field_is_a_client():
    assert who(post("name=ann"), "post:name") == "post:name:ann"


@pytest.mark.parametrize("value", ["Ann", " ann ", "ANN", "\uff21\uff2e\uff2e"])
def test_spellings_of_one_user_name_are_one_client(value):
    assert who(get(f"/?{urlencode({'name': value})}"), "get:name") == "get:name:ann"


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "application/json"])
def test_other_bodies_are_left_to_the_view(content_type):
    request = post(b'{"name": "ann"}', content_type)
    assert who(request, "post:name") == "ip:127.0.0.1"
    assert request.read() == b'{"name": "ann"}'


def test_an_argument_of_the_url_is_a_client():
    assert who(get(), "path:shop", shop=12) == "path:shop:12"


def test_a_callable_is_a_client():
    assert who(get(), lambda request: request.path) == "callable:/"


async def test_an_async_callable_is_a_client():
    async def tenant(request):
        return "acme"

    assert await awalk(identify(AsyncRequestFactory().get("/"), tenant, {})) == "callable:acme"


def test_an_async_callable_works_in_sync_code():
    async def tenant(request):
        return "acme"

    assert who(get(), tenant) == "callable:acme"


async def test_a_sync_callable_is_called_directly_in_async_code():
    request = AsyncRequestFactory().get("/")
    identity = await awalk(identify(request, lambda request: threading.get_ident(), {}))
    assert identity == f"callable:{threading.get_ident()}"


def test_a_tuple_is_a_tuple():
    request = post("name=ann")
    assert who(request, ("ip", "post:name")) == ("ip:127.0.0.1", "post:name:ann")


@pytest.mark.parametrize(
    "key",
    ["header:X-Key", "get:q", "post:q", "path:q"]
    + [pytest.param(lambda request, none=none: none, id=repr(none)) for none in (None, "", False)],
)
def test_a_missing_value_counts_by_address_unless_told_otherwise(key):
    request = get()
    kind = "callable" if callable(key) else key
    assert who(request, key) == "ip:192.0.2.1"
    assert who(request, key, missing="shared") == f"{kind}:"
    assert who(request, key, missing="skip") is None


def test_one_missing_part_skips_the_tuple():
    assert who(get(), ("ip", "header:X-Key"), missing="skip") is None
    assert who(get(), ("ip", "header:X-Key"), missing="shared") == ("ip:192.0.2.1", "header:X-Key:")


# Callables that misbehave


def test_what_a_key_callable_raises_is_raised():
    def key(request):
        raise LookupError("no tenant")

    with pytest.raises(LookupError, match="no tenant"):
        who(get(), key)


@pytest.mark.parametrize("result", [True, 1.5, b"x", object(), ["x"]])
def test_a_key_callable_must_return_text(result):
    with pytest.raises(TypeError, match=r"key callable .* returned"):
        who(get(), lambda request: result)


def test_zero_is_a_value():
    assert who(get(), lambda request: 0) == "callable:0"


def test_a_megabyte_is_a_client_of_its_own_and_short():
    one, same, other = (
        who(get(), lambda request, text=text: text * 500_000) for text in ("ab", "ab", "ac")
    )
    assert one == same != other
    assert len(one) < LONGEST_VALUE


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_values_are_different_clients(one, other):
    keys = [who(get(), lambda request, text=text: text) for text in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize("bits", [500, 0, "64", None, True])
def test_a_wrong_ipv6_prefix_is_named(settings, bits):
    settings.REDIS_ATOMIC = {"IPV6_PREFIX": bits}
    with pytest.raises(ImproperlyConfigured, match=r"IPV6_PREFIX'\] must be a number of bits"):
        subscriber(parse_address("2001:db8::1"))
