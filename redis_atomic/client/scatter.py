"""
The calls of one pipeline over the nodes of a cluster.

One trip to each node, with all its calls. What the node refused (its slot has moved,
or is moving) was not executed, and goes once more, by itself, to where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..exceptions import IndeterminateResult, NotExecuted, RedisAtomicError
from .cluster import Cluster, Node, refuses
from .connections import Client
from .execution import attempts_on
from .results import Queued, as_commands
from .slots import slot_of
from .trips import Patience, Trips, may_pass


def scatter(client: Client, cluster: Cluster, queue: Sequence[Queued]) -> Trips[None]:
    """Settle every result; raises the first NotExecuted or IndeterminateResult of a trip."""
    patience = Patience(client.budget)
    groups: dict[Node, list[Queued]] = {}
    refused: list[Queued] = []
    for queued in queue:
        try:
            node = yield from cluster.node_of(_slot(queued))
        except NotExecuted:
            refused.append(queued)
        else:
            groups.setdefault(node, []).append(queued)
    failures: list[RedisAtomicError] = []
    for node, group in groups.items():
        refused += yield from _to_node(cluster, node, group, failures)
    for queued in refused:
        yield from _by_itself(client, cluster, queued, patience, failures)
    if failures:
        raise failures[0]


def _to_node(
    cluster: Cluster, node: Node, group: list[Queued], failures: list[RedisAtomicError]
) -> Trips[list[Queued]]:
    """One trip; returns the calls that were certainly not executed, and may be elsewhere."""
    try:
        replies = yield node, as_commands(group), 0.0
    except NotExecuted as error:
        cluster.doubt(node)
        if may_pass(error):
            return group
        return _fail(group, error, failures)
    except IndeterminateResult as error:
        cluster.doubt(node)
        return _fail(group, error, failures)
    refused = []
    for queued, reply in zip(group, replies, strict=True):
        if refuses(reply, _slot(queued)):
            refused.append(queued)
        else:
            queued.result.settle(reply, queued.keys)
    return refused


def _by_itself(
    client: Client,
    cluster: Cluster,
    queued: Queued,
    patience: Patience,
    failures: list[RedisAtomicError],
) -> Trips[None]:
    """A refused call on its own, as run() would have it."""
    path = cluster.path_to(_slot(queued), patience)
    try:
        reply = yield from attempts_on(path, client, queued.call, queued.keys)
    except (NotExecuted, IndeterminateResult) as error:
        _fail([queued], error, failures)
    except RedisAtomicError as error:
        queued.result.fail(error)
    else:
        queued.result.settle(reply, queued.keys)


def _fail(
    group: list[Queued], error: RedisAtomicError, failures: list[RedisAtomicError]
) -> list[Queued]:
    failures.append(error)
    for queued in group:
        queued.result.fail(error)
    return []


def _slot(queued: Queued) -> int | None:
    return slot_of(queued.keys, queued.call)
