"""
Writing under a fence: the database refuses what a later holder has overtaken.

A lock that was lost cannot stop the one who has not noticed it yet. The row can:
it remembers the highest fence that wrote it, and takes no write with a lower one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import BigIntegerField, Model, Q, QuerySet

from .lease import Lease


def fenced_update(
    queryset: QuerySet[Any], lease: Lease, /, *, fence_field: str = "fence", **values: Any
) -> int:
    """
    Update the rows that no later lease has written, and remember this lease's fence there.

    Like ``queryset.update(**values)``, but it leaves out rows whose ``fence_field``
    is above ``lease.fence``. The same lease may write a row as often as it likes; a
    call without values only marks it: from then on no earlier holder can write.
    The field is a BigIntegerField with ``default=0``, or nullable; a row that was
    never written under a lock is free to be.

    Returns the number of rows written. Less than expected means that the lock was
    lost and somebody else has written since (or that the row is not there): look at
    it, as nothing is raised. Whether the lease is still valid is not asked: it could
    change before the write arrives, and it is the fence that decides.

    Raises TypeError for a field of another type, for a value given to the field
    itself or to a parent model's field, and where ``lease`` is no Lease; ValueError
    for a semaphore's lease, as several of them are valid at once; and what
    ``QuerySet.update`` raises.
    """
    rows = _unfenced(queryset, lease, fence_field, values)
    return rows.update(**{fence_field: lease.fence}, **values)


async def afenced_update(
    queryset: QuerySet[Any], lease: Lease, /, *, fence_field: str = "fence", **values: Any
) -> int:
    """See fenced_update()."""
    rows = _unfenced(queryset, lease, fence_field, values)
    return await rows.aupdate(**{fence_field: lease.fence}, **values)


def _unfenced(
    queryset: QuerySet[Any], lease: Lease, fence_field: str, values: dict[str, Any]
) -> QuerySet[Any]:
    """The rows that this lease may write."""
    _check_lease(lease)
    if fence_field in values:
        raise TypeError(f"{fence_field!r} is set to the lease's fence: give it no value.")
    _check_fields(queryset.model, fence_field, values)
    if len(queryset.query.alias_map) > 1:
        # The condition has to stand in the UPDATE itself, where it is looked at once more
        # when another writer had to be waited for; Django moves joins into a subquery.
        every = queryset.model._base_manager.using(queryset._db)  # type: ignore[attr-defined]
        queryset = every.filter(pk__in=queryset.values("pk"))
    never_written = Q(**{f"{fence_field}__isnull": True})
    return queryset.filter(Q(**{f"{fence_field}__lte": lease.fence}) | never_written)


def _check_lease(lease: Lease) -> None:
    if not isinstance(lease, Lease):
        raise TypeError(f"fenced_update() takes a Lease, not {type(lease).__name__}.")
    limit = lease.ticket.keys.limit
    if limit > 1:
        raise ValueError(
            f"{lease.name!r} is a semaphore: {limit} of its leases are valid at once, so their "
            "fences keep nobody out. Use a redis_lock."
        )


def _check_fields(model: type[Model], fence_field: str, values: Iterable[str]) -> None:
    fence = model._meta.get_field(fence_field)
    if not isinstance(fence, BigIntegerField):
        raise TypeError(
            f"{model._meta.label}.{fence_field} cannot hold a fence: "
            "make it models.BigIntegerField(default=0, editable=False)."
        )
    for name in values:
        if model._meta.get_field(name).model._meta.db_table != fence.model._meta.db_table:
            raise TypeError(
                f"{model._meta.label}.{name} and {fence_field} lie in two tables. A fence guards "
                "the table that it is in: update each model by itself."
            )
