"""What the shop does, in its own words; the scripts' arguments appear nowhere else."""

from __future__ import annotations

from django.core.cache import cache

from redis_atomic import redis_lock, scripts
from redis_atomic.operations import hash_get_or_create, transfer

ITEMS = {"tea": "Green tea", "mug": "Blue mug", "honey": "Forest honey"}
PRICES = {"tea": 450, "mug": 1200, "honey": 890}  # in cents

reserve_units = scripts["shop.reserve"]
empty_cart = scripts["shop.empty_cart"]
record_sale = scripts["shop.record_sale"]
inspect_cart = scripts["shop.inspect_cart"]


def stock(item: str) -> str:
    return f"stock:{item}"


def cart(owner: str) -> str:
    return f"cart:{owner}"


def wallet(owner: str) -> str:
    return f"wallet:{owner}"


def fill(units: int) -> None:
    """Put units of everything on the shelves. Integers are shared with the cache API."""
    cache.set_many({stock(item): units for item in ITEMS}, timeout=None)


def open_shop(units: int = 12) -> None:
    """Fill the shelves of a new shop; nothing where they have been filled before."""
    for item in ITEMS:
        cache.add(stock(item), units, timeout=None)


def left(item: str) -> int:
    units: int = cache.get(stock(item), 0)
    return units


def reserve(item: str, owner: str, amount: int = 1) -> bool:
    """Take units into the owner's cart; False when there are not enough."""
    applied: bool = reserve_units(
        stock=stock(item), cart=cart(owner), item=item, amount=amount
    ).applied
    return applied


def contents(owner: str) -> dict[str, int]:
    fields, _ = hash_get_or_create(cart(owner), dict.fromkeys(ITEMS, 0), ttl=3600)
    return {item: int(units) for item, units in fields.items()}


@redis_lock("cart:{owner}", wait=2)
def put_back(owner: str) -> int:
    """Empty the owner's cart into the stocks; the number of units."""
    units: int = empty_cart(
        cart=cart(owner), stocks=[stock(item) for item in ITEMS], items=list(ITEMS)
    )
    return units


def pay(owner: str, amount: int, order: str) -> bool:
    """Pay the shop. ``order`` makes it exactly once, however often it is asked."""
    return transfer(wallet(owner), wallet("shop"), amount, request_id=order).moved
