"""
A master that Sentinels watch over, and replace when it is gone.

Connecting finds the master (``sentinel_pools``). A call that met a failover, and was
certainly not executed, waits here for the new master, within its budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django_redis.pool import ConnectionFactory
from redis.exceptions import RedisError

from ..exceptions import NotExecuted
from ..scripting.script import Call
from .server import Server, netloc
from .trips import Command, Path, Patience, Trips, is_passing, may_pass

if TYPE_CHECKING:
    from .connections import Client

PLAIN_POOL = "redis.connection.ConnectionPool"


class Sentinel:
    """The topology of a client whose factory finds its master by Sentinels."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def path(self, keys: Sequence[bytes], call: Call[Any] | None = None) -> Path:
        """See Client.path."""
        return partial(self.deliver, patience=Patience(self._client.budget))

    def deliver(self, commands: Sequence[Command], patience: Patience) -> Trips[list[Any]]:
        """The master's replies; asked again only while nothing was executed."""
        delay = 0.0
        while True:
            try:
                replies = yield self._client, commands, delay
            except NotExecuted as error:
                if patience.is_over or not may_pass(error):
                    raise
            else:
                if patience.is_over or not _all_refused(commands, replies):
                    return replies
            delay = patience.pause()

    def servers(self) -> list[tuple[str, Server]]:
        """Role and server: the master, and the replicas that the Sentinels call alive."""
        pool = self._client.pool
        try:
            master = pool.sentinel_manager.discover_master(pool.service_name)
            replicas = pool.sentinel_manager.discover_slaves(pool.service_name)
        except (RedisError, OSError) as error:
            raise NotExecuted(f"The Sentinels of {self._client.where}: {error}") from error
        roles = [("master", master), *(("replica", address) for address in replicas)]
        return [(role, self._server(*address)) for role, address in roles]

    def _server(self, host: str, port: int) -> Server:
        """One of the servers, spoken to directly."""
        options = dict(self._client.factory.options, CONNECTION_POOL_CLASS=PLAIN_POOL)
        pool_kwargs = dict(options.get("CONNECTION_POOL_KWARGS", {}))
        scheme = "rediss" if pool_kwargs.pop("ssl", False) else "redis"
        known = self._client.pool.connection_kwargs
        # Those that LOCATION has are told to nobody but the pool.
        credentials = {name: known[name] for name in ("username", "password") if known.get(name)}
        options["CONNECTION_POOL_KWARGS"] = pool_kwargs | credentials
        url = f"{scheme}://{netloc(host, port)}/{known.get('db', 0)}"
        return Server(
            f"{self._client.where} at {netloc(host, port)}",
            partial(self._client.make_pool, url, ConnectionFactory(options)),
        )

    def close(self) -> None:
        """The Sentinels' own connections end with the pool's."""


def _all_refused(commands: Sequence[Command], replies: Sequence[Any]) -> bool:
    """Whether each command that could have done something was refused for now."""
    pairs = zip(commands, replies, strict=True)
    asked = [reply for command, reply in pairs if command[0] != "SCRIPT"]
    return all(map(is_passing, asked or replies))
