import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_atomic.ratelimit.rate import MAX_AMOUNT, Rate

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


@pytest.mark.parametrize(
    ("text", "amount", "window"),
    [
        ("5/s", 5, 1_000_000),
        ("5/sec", 5, 1_000_000),
        ("5/30seconds", 5, 30_000_000),
        ("100/m", 100, MINUTE),
        ("100/min", 100, MINUTE),
        ("100/minute", 100, MINUTE),
        ("100/2m", 100, 2 * MINUTE),
        ("7/h", 7, HOUR),
        ("7/12hours", 7, 12 * HOUR),
        ("1/d", 1, DAY),
        ("1/30days", 1, 30 * DAY),
        ("2/w", 2, 7 * DAY),
        ("2/week", 2, 7 * DAY),
        ("999999999/w", MAX_AMOUNT, 7 * DAY),
    ],
)
def test_a_rate_is_read(text, amount, window):
    rate = Rate.parse(text)
    assert (rate.amount, rate.window, rate.seconds) == (amount, window, window / 1e6)


@pytest.mark.parametrize(
    "text",
    [
        *("5/month", "5/m extra", "0/0s", "-1/m", "1e3/s", "0/m", "5/0m", "5/M", "5/mm", "5/ss"),
        *("5", "/m", "5/", "5//m", "5 / m", " 5/m", "5/m ", "5/m\n", "5,000/m", "5.5/m", "5/1.5m"),
        *("\u0665/m", "5/\u0662m", "5/2fortnights", "1000000000/m", "5/367d", "5/999999999w", ""),
    ],
)
def test_anything_else_than_a_rate_is_an_error(text):
    with pytest.raises(ValueError, match=r"rate|Rate"):
        Rate.parse(text)


@pytest.mark.parametrize("value", [None, 5, b"5/m", ("5", "m")])
def test_what_is_not_text_is_no_rate(value):
    with pytest.raises(TypeError, match="100/m"):
        Rate.parse(value)


@pytest.mark.parametrize(
    ("amount", "window"), [(0, MINUTE), (-1, MINUTE), (5, 0), (5, 999), (5, 1500), (5, 367 * DAY)]
)
def test_a_rate_made_by_hand_is_checked(amount, window):
    with pytest.raises(ValueError, match="must be"):
        Rate(amount, window)


@pytest.mark.parametrize(("amount", "window"), [(True, MINUTE), (5.0, MINUTE), (5, 6e7), ("5", 1)])
def test_a_rate_made_by_hand_is_whole_numbers(amount, window):
    with pytest.raises(TypeError, match="must be an int"):
        Rate(amount, window)


@given(st.integers(1, MAX_AMOUNT), st.integers(1, 52), st.sampled_from("smhdw"))
def test_a_rate_writes_what_it_reads(amount, count, unit):
    rate = Rate.parse(f"{amount}/{count}{unit}")
    assert Rate.parse(str(rate)) == rate


def test_the_period_is_written_in_the_largest_unit():
    assert [Rate.parse(f"1/{text}").period for text in ("60s", "24h", "7d", "90s")] == [
        *("m", "d", "w", "90s")
    ]
    assert Rate(1, 1_500_000).period == "1500ms"


def test_an_amount_that_is_too_large_is_told_as_such():
    with pytest.raises(ValueError, match="must be 1 to 999,999,999"):
        Rate.parse("99999999999/d")
