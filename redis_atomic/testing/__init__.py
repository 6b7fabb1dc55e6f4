"""Test against a real server: yours, and your scripts' behaviour on it."""

from .proxy import LostReplyProxy, lost_reply_proxy
from .server import EmbeddedServer, embedded_server

__all__ = ["EmbeddedServer", "LostReplyProxy", "embedded_server", "lost_reply_proxy"]
