"""Operations: which cache and which version a call is for."""

from redis_atomic import Call, operation


@operation
def bump(key: str) -> Call[int]:
    return Call("INCR", (key,), version=7)


def test_the_builder_s_own_version_stays_where_none_is_given(server_client):
    assert bump("k") == 1
    assert bump.using(cache="default")("k") == 2
    assert server_client.get("tests:7:k") == b"2"
    assert bump.using(version=8)("k") == 1


def test_the_builder_s_own_cache_is_the_one_that_is_asked(settings, server_client):
    other = {**settings.CACHES["default"], "KEY_PREFIX": "other"}
    settings.CACHES = {**settings.CACHES, "other": other}

    @operation
    def elsewhere(key: str) -> Call[int]:
        return Call("INCR", (key,), cache="other")

    assert elsewhere("k") == 1
    assert server_client.get("other:1:k") == b"1"
    assert elsewhere.using(cache="default")("k") == 1
    assert server_client.get("tests:1:k") == b"1"
