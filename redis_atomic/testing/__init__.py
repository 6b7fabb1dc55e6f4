"""Test against a real server: yours, and your scripts' behaviour on it."""

from .harness import ScriptTester
from .limits import exhaust, rate_limits_disabled, reset_rate_limits
from .probes import all_probes, declared_keys_only, no_partial_effect, survives_script_flush
from .proxy import LostReplyProxy, lost_reply_proxy
from .server import EmbeddedServer, embedded_server
from .server_log import ServerLog, server_log
from .settings import override
from .values import Expiring, SortedSet

__all__ = [
    "EmbeddedServer",
    "Expiring",
    "LostReplyProxy",
    "ScriptTester",
    "ServerLog",
    "SortedSet",
    "all_probes",
    "declared_keys_only",
    "embedded_server",
    "exhaust",
    "lost_reply_proxy",
    "no_partial_effect",
    "override",
    "rate_limits_disabled",
    "reset_rate_limits",
    "server_log",
    "survives_script_flush",
]
