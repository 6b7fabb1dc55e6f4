"""The scripts, as clients call them that repeat themselves, come late, or die."""

import dataclasses
import itertools
import re
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redis_atomic.client.connections import client_for
from redis_atomic.client.execution import run
from redis_atomic.exceptions import NotExecuted
from redis_atomic.locks import protocol
from redis_atomic.locks.keys import Keys
from redis_atomic.locks.protocol import BUSY, GRANT, HELD, Terms, Ticket
from redis_atomic.locks.tokens import new_token, owner_of
from redis_atomic.scripting.builtin import builtin
from tests.servers import PRIMARIES

TTL = 60.0
_numbers = itertools.count()


def ask(call):
    return run(client_for("default"), call)


def ticket(name="a", token=None, limit=1, **terms):
    return Ticket(Keys(name, limit), Terms(**terms), token or new_token())


def acquire(who, ttl=TTL, *, queueing=True):
    answer = ask(who.acquire(ttl, queueing=queueing))
    who.queued |= queueing and answer.state == BUSY
    return answer


class LockMachine(RuleBasedStateMachine):
    """
    Any order of any calls of five clients, against a model in a few lines.

    Time does not pass by itself: a TTL ends when we delete its key, a waiter dies
    when we date it back.
    """

    TOKENS = st.sampled_from("abcde")

    @initialize(limit=st.integers(1, 3))
    def start(self, limit):
        self.keys = Keys(f"model{next(_numbers)}", limit)
        self.redis = client_for("default")
        self.slots = [None] * limit
        self.queue, self.dead, self.finished = [], set(), set()
        self.fences = [0]

    def ticket(self, token, **known):
        return Ticket(self.keys, Terms(), token, **known)

    def mint(self, slot, token, fence=None):
        if fence is None:  # the model cannot know the server's clock; the slot has the fence
            value = ask(protocol.inspect(self.keys)).holders
            fence = next(holder.fence for holder in value if holder.token == token)
        assert fence > max(self.fences), "fences grow in the order of grants"
        self.fences.append(fence)
        self.slots[slot] = (fence, token)

    def settle(self, slot, me=None):
        while self.queue:
            head = self.queue.pop(0)
            dead = head in self.dead
            self.dead.discard(head)
            if head == me or not dead:
                return head
        return None

    @rule(token=TOKENS, queueing=st.booleans())
    def acquire(self, token, queueing):
        answer = ask(self.ticket(token).acquire(TTL, queueing=queueing))
        if token in self.finished:
            assert answer.state == "FINISHED"
            return
        for number, slot in enumerate(self.slots):
            if slot and slot[1] == token:
                assert answer == (HELD, slot[0], number + 1), "the same slot and the same fence"
                return
        free = [number for number, slot in enumerate(self.slots) if slot is None]
        if queueing and not (free and not self.queue):
            if token not in self.queue:
                self.queue.append(token)
            self.dead.discard(token)
        granted = []
        for number in free:
            owner = self.settle(number, token)
            granted.append((number, owner or token))
            if owner in (token, None):
                break
        for number, owner in granted:
            self.mint(number, owner)
        mine = [number for number, owner in granted if owner == token]
        if mine:
            assert answer == (HELD, self.slots[mine[0]][0], mine[0] + 1)
        else:
            place = self.queue.index(token) if token in self.queue else -1
            assert (answer.state, answer.place) == (BUSY, place)

    @rule(token=TOKENS, leave=st.booleans(), doubt=st.booleans())
    def finish(self, token, leave, doubt):
        freed = ask(self.ticket(token, queued=leave, doubt=doubt).finish(TTL))
        if leave or doubt:
            self.queue = [each for each in self.queue if each != token]
            self.dead.discard(token)
            self.finished.discard(token)
        assert freed == self.free(token)
        if doubt:
            self.finished.add(token)

    @rule(token=TOKENS)
    def force(self, token):
        assert ask(protocol.force(self.keys, token, Terms())) == self.free(token)

    def free(self, token):
        for number, slot in enumerate(self.slots):
            if slot and slot[1] == token:
                self.slots[number] = None
                if (owner := self.settle(number)) is not None:
                    self.mint(number, owner)
                return True
        return False

    @rule(token=TOKENS, number=st.integers(0, 2), back=st.integers(0, 3))
    def extend(self, token, number, back):
        number %= len(self.slots)
        fence = self.fences[-1 - min(back, len(self.fences) - 1)]
        extended = ask(self.ticket(token).extend(fence, number + 1, TTL))
        assert extended == (self.slots[number] == (fence, token))

    @rule(number=st.integers(0, 2))
    def a_ttl_ends(self, number):
        number %= len(self.slots)
        self.slots[number] = None
        ask(delete(self.keys.slots[number]))

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def a_waiter_dies(self, data):
        token = data.draw(st.sampled_from(self.queue))
        self.dead.add(token)
        ask(protocol.Call("HSET", (self.keys.of(token)[3],), (token, 1)))

    @rule()
    def who_is_alive_is_forgotten(self):
        self.dead.clear()
        ask(delete(self.keys.of("")[3]))

    @rule()
    def the_fence_is_forgotten(self):
        ask(delete(self.keys.of("")[1]))

    @invariant()
    def the_server_agrees(self):
        if not hasattr(self, "keys"):
            return
        info = ask(protocol.inspect(self.keys, waiters=10))
        held = {(holder.fence, holder.token) for holder in info.holders}
        assert held == {slot for slot in self.slots if slot}
        assert info.waiters == tuple(self.queue)
        assert len({token for _, token in held}) == len(held), "one token, one slot"


def delete(key):
    return protocol.Call("DEL", (key,))


TestLockMachine = LockMachine.TestCase
TestLockMachine.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_lock_is_one_readable_key_and_a_fence_that_outlives_it(server_client):
    me = ticket("invoice:5", "host:1:abc")
    assert acquire(me).state == HELD
    fence, token = server_client.get("tests:lock:{invoice:5}").split(b":", 1)
    assert token == b"host:1:abc"
    assert 59_000 < server_client.pttl("tests:lock:{invoice:5}") <= 60_000
    assert ask(me.finish(TTL))
    assert server_client.keys() == [b"tests:lock:{invoice:5}:fence"]
    assert server_client.get("tests:lock:{invoice:5}:fence") == fence
    assert 3590 < server_client.ttl("tests:lock:{invoice:5}:fence") <= 3600


def test_the_version_of_the_cache_is_no_part_of_the_name(server_client):
    acquire(ticket("x"))
    assert server_client.exists("tests:lock:{x}")


def test_asked_again_it_raises_a_short_ttl_and_never_lowers_a_long_one(server_client):
    me = ticket()
    acquire(me, ttl=20)
    acquire(me, ttl=40)
    assert server_client.pttl("tests:lock:{a}") > 39_000
    acquire(me, ttl=10)
    assert server_client.pttl("tests:lock:{a}") > 39_000


def test_an_extension_raises_and_never_lowers(server_client):
    me = ticket()
    fence = acquire(me, ttl=20).number
    assert ask(me.extend(fence, 1, 40))
    assert server_client.pttl("tests:lock:{a}") > 39_000
    assert ask(me.extend(fence, 1, 10))
    assert server_client.pttl("tests:lock:{a}") > 39_000


def test_the_head_gets_a_short_grant_and_a_wake_up_and_confirms_it(server_client):
    holder, first, second = ticket(), ticket(), ticket()
    fence = acquire(holder).number
    assert acquire(first)[0::2] == (BUSY, 0)
    assert acquire(second)[0::2] == (BUSY, 1)
    assert ask(holder.finish(TTL))
    assert 0 < server_client.pttl("tests:lock:{a}") <= GRANT * 1000
    wake = f"tests:lock:{{a}}:wake:{first.token}"
    assert server_client.llen(wake) == 1
    assert 0 < server_client.pttl(wake) <= GRANT * 1000
    assert ask(first.listen(1)) is not None
    assert acquire(second)[0::2] == (BUSY, 0)
    confirmed = acquire(first)
    assert confirmed.state == HELD
    assert confirmed.number > fence
    assert server_client.pttl("tests:lock:{a}") > 59_000


def test_the_first_caller_after_a_holders_death_settles_for_the_head(server_client):
    dead, first, second = ticket(), ticket(), ticket()
    acquire(dead)
    acquire(first)
    acquire(second)
    server_client.delete("tests:lock:{a}")  # the TTL ends
    assert acquire(second).state == BUSY
    assert server_client.llen(f"tests:lock:{{a}}:wake:{first.token}") == 1
    assert acquire(first).state == HELD


def test_a_client_without_a_place_never_overtakes_the_queue():
    holder, waiter, passer = ticket(), ticket(), ticket()
    acquire(holder)
    acquire(waiter)
    ask(holder.finish(TTL))
    assert acquire(passer, queueing=False).state == BUSY
    assert acquire(waiter).state == HELD


def test_a_queue_of_dead_waiters_costs_no_time(server_client):
    holder, others, live = ticket(), [ticket() for _ in range(20)], ticket()
    acquire(holder)
    for each in others:
        acquire(each)
        server_client.hset("tests:lock:{a}:alive", each.token, 1)
    acquire(live)
    ask(holder.finish(TTL))
    assert acquire(live).state == HELD


def test_the_fence_grows_after_a_flush_and_after_a_step_of_the_clock(server_client):
    me = ticket()
    before = acquire(me).number
    server_client.flushall()
    after_flush = acquire(ticket()).number
    assert after_flush > before
    future = int(time.time() * 1e6) + 3_600_000_000  # the clock was an hour ahead
    server_client.set("tests:lock:{a}:fence", future)
    server_client.delete("tests:lock:{a}")
    assert acquire(ticket()).number == future + 1


def test_the_fence_grows_over_one_that_a_late_replica_has_forgotten(server_client):
    holder, waiter = ticket(), ticket()
    before = acquire(holder).number
    acquire(waiter)
    server_client.set("tests:lock:{a}:fence", 5)  # promoted, and far behind
    ask(holder.finish(TTL))
    granted = acquire(waiter).number
    assert granted > before
    server_client.set("tests:lock:{a}:fence", 5)
    ask(waiter.finish(TTL))
    assert acquire(ticket()).number > granted


def test_a_waiter_of_whom_nothing_is_known_counts_as_alive(server_client):
    holder, waiter, other = ticket(), ticket(), ticket()
    acquire(holder)
    acquire(waiter)
    server_client.delete("tests:lock:{a}:alive")
    ask(holder.finish(TTL))
    assert acquire(other).state == BUSY
    server_client.delete("tests:lock:{a}", "tests:lock:{a}:queue")
    acquire(holder)
    acquire(waiter)
    server_client.delete("tests:lock:{a}:alive", "tests:lock:{a}")
    assert acquire(other).state == BUSY
    assert acquire(waiter).state == HELD


def test_a_grant_at_hand_over_is_a_fence_of_its_own(server_client):
    server_client.set("tests:lock:{a}:fence", 10**15 * 3)
    fences = []
    tickets = [ticket() for _ in range(4)]
    for each in tickets:
        acquire(each)
    for each in tickets:
        fences.append(acquire(each).number)
        ask(each.finish(TTL))
    assert fences == [3 * 10**15 + n for n in range(1, 5)]


def test_nobody_is_woken_where_wake_ups_are_not_wanted(server_client):
    holder, waiter = ticket(wakes=False), ticket(wakes=False)
    acquire(holder)
    acquire(waiter)
    ask(holder.finish(TTL))
    assert server_client.keys("*wake*") == []
    assert acquire(waiter).state == HELD


def test_a_late_request_of_a_finished_token_is_refused(server_client):
    me = ticket()
    me.doubt = True
    assert ask(me.finish(TTL)) is False
    assert acquire(me).state == "FINISHED"
    assert acquire(me, queueing=False).state == "FINISHED"
    assert server_client.keys() == [f"tests:lock:{{a}}:wake:{me.token}".encode()]
    assert server_client.ttl(f"tests:lock:{{a}}:wake:{me.token}") == 60


def test_every_helper_key_has_a_ttl(server_client):
    holder, waiter = ticket(limit=2), ticket(limit=2)
    for who in (holder, ticket(limit=2), waiter, ticket(limit=2)):
        acquire(who)
    holder.doubt = True
    ask(holder.finish(TTL))
    keys = server_client.keys()
    assert len(keys) == 7  # two slots, fence, queue, alive, a wake-up, a tombstone
    assert all(server_client.pttl(key) > 0 for key in keys)


def test_a_semaphore_finds_its_own_slot_before_a_free_one():
    first, second = ticket(limit=3), ticket(limit=3)
    assert acquire(first).place == 1
    held = acquire(second)
    assert held.place == 2
    ask(first.finish(TTL))
    assert acquire(second) == held


def test_info_tells_who_holds_and_who_waits():
    holder, waiter = ticket("a", "web-1:7:00"), ticket("a", "web-2:8:00")
    fence = acquire(holder).number
    acquire(waiter)
    info = ask(protocol.inspect(Keys("a")))
    (seen,) = info.holders
    assert (seen.owner, seen.fence, seen.token) == ("web-1:7", fence, "web-1:7:00")
    assert 59 < seen.remaining <= 60
    assert (info.waiting, info.waiters) == (1, ("web-2:8",))


def test_force_takes_the_lock_from_the_token_that_was_seen_and_from_no_other(server_client):
    seen, successor = ticket(), ticket()
    acquire(seen)
    ask(seen.finish(TTL))
    held = acquire(successor)
    assert ask(protocol.force(Keys("a"), seen.token, Terms())) is False
    assert acquire(successor) == held
    assert ask(protocol.force(Keys("a"), successor.token, Terms())) is True
    assert not server_client.exists("tests:lock:{a}")


def test_a_value_that_is_not_ours_counts_as_held(server_client):
    server_client.set("tests:lock:{a}", "somebody")
    answer = acquire(ticket())
    assert answer.state == BUSY
    assert answer.number == 60_000
    server_client.delete("tests:lock:{a}")
    server_client.set("tests:lock:{a}", "x", px=500)
    assert 0 < acquire(ticket()).number <= 500


@pytest.fixture
def full_server(server_client):
    """Without memory for anything that grows."""
    yield lambda: server_client.config_set("maxmemory", 1, **PRIMARIES)
    server_client.config_set("maxmemory", 0, **PRIMARIES)


def test_without_memory_what_is_held_goes_on_and_what_is_new_is_refused(server_client, full_server):
    holder, waiter, newcomer = ticket(), ticket(), ticket()
    fence = acquire(holder).number
    acquire(waiter)
    full_server()
    before = server_client.dbsize()
    with pytest.raises(NotExecuted, match="OOM"):
        acquire(newcomer)
    with pytest.raises(NotExecuted, match="OOM"):
        acquire(ticket("another"))
    assert server_client.dbsize() == before, "refused, nothing was changed"
    assert acquire(holder) == (HELD, fence, 1)
    assert ask(holder.extend(fence, 1, TTL))
    assert acquire(waiter)[0::2] == (BUSY, 0)
    waiter.doubt = True
    assert ask(holder.finish(TTL)), "released, and handed over"
    assert acquire(waiter).state == HELD
    assert ask(waiter.finish(TTL))
    giving_up = ticket()
    giving_up.doubt = True
    assert ask(giving_up.finish(TTL)) is False, "a tombstone finds room"


def test_a_queued_waiter_settles_for_a_dead_holder_without_memory(server_client, full_server):
    acquire(ticket())
    waiter = ticket()
    acquire(waiter)
    full_server()
    server_client.delete("tests:lock:{a}")
    assert acquire(waiter).state == HELD


@pytest.fixture
def restricted(server_client, settings):
    """A user who may touch the keys that are declared, and no others."""

    def restrict(*patterns):
        rules = ["on", "nopass", "+@all", *(f"~{pattern}" for pattern in patterns)]
        server_client.execute_command("ACL SETUSER", "narrow", *rules, **PRIMARIES)
        cache = settings.CACHES["default"]
        user = {"CONNECTION_POOL_KWARGS": {"username": "narrow", "password": "x"}}
        cache = cache | {"OPTIONS": cache["OPTIONS"] | user}
        settings.CACHES = settings.CACHES | {"default": cache}

    yield restrict
    server_client.execute_command("ACL DELUSER", "narrow", **PRIMARIES)


def test_an_acl_of_the_declared_keys_loses_the_wake_up_and_nothing_else(server_client, restricted):
    holder, waiter = ticket(), ticket()
    keys = {client_for("default").make_key(key).decode() for key in holder.keys.of(holder.token)}
    acquire(holder)
    acquire(waiter)
    restricted(*keys)
    assert ask(holder.finish(TTL)) is True
    assert server_client.keys("*wake*") == []
    assert server_client.get("tests:lock:{a}").endswith(waiter.token.encode())


def test_both_scripts_settle_alike():
    def body(name, start):
        text = builtin(name).source.decode()
        text = text[text.index(start) :]
        text = text[: re.search(r"^  end\n\n", text, re.M).end()]
        text = text.replace("(i, me)", "(i)").replace("if head == me then return me end", "")
        return [line.strip() for line in text.splitlines() if line.strip()]

    settle = body("lock_acquire", "local function settle(")
    assert len(settle) > 15
    assert settle == body("lock_finish", "local function settle(")


def test_a_token_is_readable_and_never_the_same():
    first, second = new_token(), new_token()
    assert first != second
    assert re.fullmatch(r"[\w.-]+:\d+:[0-9a-f]{32}", first)
    assert owner_of(first) == first.rpartition(":")[0]


def test_a_ticket_is_finished_with_what_it_knows():
    plain = ticket()
    assert plain.finish(TTL).args[1:3] == (0, 0)
    assert dataclasses.replace(plain, queued=True).finish(TTL).args[1:3] == (1, 0)
    assert dataclasses.replace(plain, doubt=True).finish(TTL).args[1:3] == (1, 60_000)
    assert dataclasses.replace(plain, doubt=True).finish(90.0).args[1:3] == (1, 90_000)
