"""TLS: one server, a cluster, Sentinels; sync and asyncio; certificates are checked."""

import asyncio
import os
import shutil
import subprocess

import pytest

from redis_atomic import Call
from redis_atomic.client.connections import Client, close_clients
from redis_atomic.client.execution import arun, run
from redis_atomic.exceptions import NotExecuted
from redis_atomic.scripting.script import Script
from redis_atomic.testing import EmbeddedServer
from redis_atomic.testing.cluster import embedded_cluster
from redis_atomic.testing.sentinels import embedded_sentinels
from redis_atomic.testing.topology import ask, wait_until
from tests.test_sentinel import OPTIONS

INCR = Script("incr", b"return redis.call('INCR', KEYS[1])")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with a certificate authority, and a server's certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    openssl(
        *("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2"),
        *("-subj", "/CN=redis_atomic tests", "-addext", "keyUsage=critical,keyCertSign"),
    )
    openssl(
        *("req", "-x509", *key, "-keyout", "server.key", "-out", "server.crt", "-days", "2"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.crt", "-CAkey", "ca.key"),
    )
    return folder


@pytest.fixture(scope="module")
def binary(certificates):
    """A server's binary that knows TLS; the bundled one does not."""
    for candidate in (os.environ.get("REDIS_SERVER"), shutil.which("redis-server")):
        if candidate:
            server = EmbeddedServer(binary=candidate, tcp=True, tls=certificates)
            try:
                server.start()
                return candidate
            except RuntimeError:
                continue
            finally:
                server.stop()
    pytest.skip("no server here knows TLS")


@pytest.fixture(params=["sync", "asyncio"])
def execute(request):
    if request.param == "sync":
        return run
    return lambda client, call: asyncio.run(arun(client, call))


def use(settings, location, **options):
    cache = {**settings.CACHES["default"], "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {"default": cache}
    return Client("default")


def test_one_server(settings, certificates, binary, execute):
    with EmbeddedServer(binary=binary, tcp=True, tls=certificates) as server:
        location = f"{server.tcp_url}?ssl_ca_certs={certificates / 'ca.crt'}"
        assert execute(use(settings, location), Call(INCR, ("n",))) == 1
        untrusting = use(settings, server.tcp_url)
        with pytest.raises(NotExecuted, match=r"(?i)certificate verify failed"):
            execute(untrusting, Call(INCR, ("n",)))
        close_clients()


@pytest.fixture(scope="module")
def cluster(certificates, binary):
    with embedded_cluster(binary=binary, tls=certificates, replicas=0) as cluster:
        yield cluster


@pytest.mark.parametrize("where", ["in the URL", "in OPTIONS"])
def test_a_cluster(settings, certificates, cluster, execute, where):
    authority = str(certificates / "ca.crt")
    factory = {"CONNECTION_FACTORY": "redis_atomic.cluster.ClusterConnectionFactory"}
    if where == "in the URL":
        location = [f"{url}?ssl_ca_certs={authority}" for url in cluster.urls]
        client = use(settings, location, **factory)
    else:
        trust = {"CONNECTION_POOL_KWARGS": {"ssl_ca_certs": authority}}
        client = use(settings, cluster.urls, **factory, **trust)
    key = f"{where} {execute}"
    assert [execute(client, Call(INCR, (f"{key} {n}",))) for n in range(9)] == [1] * 9
    close_clients()


@pytest.fixture
def sentinels(certificates, binary):
    with embedded_sentinels(binary=binary, tls=certificates) as sentinels:
        yield sentinels


@pytest.mark.stress
def test_sentinels_and_the_master_they_replace(settings, certificates, sentinels, execute):
    trust = {"ssl": True, "ssl_ca_certs": str(certificates / "ca.crt")}
    blind = {"ssl": True}

    def use_them(pool, sentinel, timeout):
        options = {"CONNECTION_POOL_KWARGS": pool, "SENTINEL_KWARGS": sentinel}
        options |= {"SENTINELS": sentinels.addresses, "SOCKET_TIMEOUT": timeout}
        return use(settings, sentinels.url, **OPTIONS, **options)

    client = use_them(trust, trust, timeout=15)
    assert execute(client, Call(INCR, ("n",))) == 1
    wait_until(lambda: ask(sentinels.servers[1], "DBSIZE") == 1)
    sentinels.master.kill()
    assert [execute(client, Call(INCR, ("n",))) for _ in range(2)] == [2, 3]
    with pytest.raises(NotExecuted, match=r"(?i)certificate verify failed"):
        execute(use_them(blind, trust, timeout=0.2), Call(INCR, ("n",)))
    with pytest.raises(NotExecuted, match="No master found for 'atomic'"):
        execute(use_them(trust, blind, timeout=0.2), Call(INCR, ("n",)))
    close_clients()
