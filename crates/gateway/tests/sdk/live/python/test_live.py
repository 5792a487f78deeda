"""The published SDK for Python on two nodes, in both encodings: FANFARE_A and FANFARE_B are their addresses, FANFARE_API_A and FANFARE_API_B
those of their server APIs, FANFARE_SECRET signs tokens.

Every case has channels and users of its own, and waits for what it expects to see, with a deadline.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import secrets
import time
import unittest
import urllib.request

import centrifuge

logging.disable(logging.CRITICAL)
PATIENCE = 15
A = os.environ["FANFARE_A"]
B = os.environ["FANFARE_B"]
API = {A: os.environ["FANFARE_API_A"], B: os.environ["FANFARE_API_B"]}
KEY = os.environ["FANFARE_API_KEY"]


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def sign(claims, secret=os.environ["FANFARE_SECRET"]):
    body = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    mark = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()


class Seen:
    """What a client or a subscription has been told, in order."""

    def __init__(self):
        self.events = []
        self.changed = asyncio.Condition()

    async def add(self, event, context):
        async with self.changed:
            self.events.append((event, context))
            self.changed.notify_all()

    def all(self, event):
        return [context for name, context in self.events if name == event]

    async def sees(self, event, times=1):
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: len(self.all(event)) >= times), PATIENCE)
            except TimeoutError:
                raise AssertionError(f"waited in vain for {event}, {times} times; seen: {self.events}") from None
        return self.all(event)[times - 1]

    def handler(self, kind):
        def hears(event):
            async def heard(_, context):
                await self.add(event, context)

            return heard

        names = [method[3:] for method in dir(kind) if method.startswith("on_")]
        return type("Events", (kind,), {f"on_{event}": hears(event) for event in names})()


class Cases:
    """Each with both encodings, by the classes at the end."""

    protobuf = False

    def setUp(self):
        self.run_name = secrets.token_hex(5)
        self.clients = []

    async def asyncTearDown(self):
        for client in self.clients:
            await client.disconnect()

    def name(self, name):
        return f"{name}-{self.run_name}"

    def token(self, user, seconds=3600, secret=None, **claims):
        given = {"sub": self.name(user), "exp": int(time.time()) + seconds, **claims}
        return sign(given, secret) if secret else sign(given)

    def ticket(self, user, channel, seconds=3600, **claims):
        return self.token(user, seconds, channel=channel, **claims)

    def client(self, node, **options):
        seen = Seen()
        client = centrifuge.Client(
            node,
            events=seen.handler(centrifuge.ClientEventHandler),
            use_protobuf=self.protobuf,
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.2,
            proxy=None,
            **options,
        )
        client.seen = seen
        self.clients.append(client)
        return client

    async def connected(self, node, **options):
        client = self.client(node, **options)
        await client.connect()
        await client.seen.sees("connected")
        return client

    def subscription(self, client, channel, **options):
        seen = Seen()
        subscription = client.new_subscription(
            channel, seen.handler(centrifuge.SubscriptionEventHandler), min_resubscribe_delay=0.05, max_resubscribe_delay=0.2, **options
        )
        subscription.seen = seen
        return subscription

    async def subscribed(self, client, channel, **options):
        subscription = self.subscription(client, channel, **options)
        await subscription.subscribe()
        await subscription.seen.sees("subscribed")
        return subscription

    async def both(self, channel, **options):
        clients = [await self.connected(node, **options) for node in (A, B)]
        return [await self.subscribed(client, channel) for client in clients]

    def data(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def value(self, data):
        return json.loads(data) if isinstance(data, bytes) else data

    async def hears(self, subscription, count):
        await subscription.seen.sees("publication", count)
        return [self.value(context.pub.data) for context in subscription.seen.all("publication")]

    async def until_present(self, subscription, count):
        """Another node knows of a client a little after its subscription is answered."""

        async def ask():
            while (await subscription.presence_stats()).num_clients != count:
                await asyncio.sleep(0.02)

        await asyncio.wait_for(ask(), PATIENCE)

    async def asks(self, node, call, **body):
        """The result of a call of a node's API."""
        headers = {"Content-Type": "application/json", "X-API-Key": KEY}
        request = urllib.request.Request(f"{API[node]}/{call}", json.dumps(body).encode(), headers)

        def ask():
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return json.load(response)

        return (await asyncio.to_thread(ask))["result"]

    async def refused(self, awaitable):
        with self.assertRaises(centrifuge.ReplyError) as caught:
            await awaitable
        return caught.exception.code

    # --- who connects

    async def test_connects_as_nobody_and_by_token(self):
        ids = [(await client.seen.sees("connected")).client for client in [await self.connected(A), await self.connected(B, token=self.token("alice"))]]
        self.assertNotEqual(*ids)

    async def test_a_token_of_another_key_ends_it(self):
        client = self.client(A, token=self.token("alice", secret="another key"))
        await client.connect()
        self.assertEqual((await client.seen.sees("disconnected")).code, 3500)

    async def test_an_expired_token_is_replaced(self):
        async def fetch():
            return self.token("alice")

        await self.connected(B, token=self.token("alice", -10), get_token=fetch)

    async def test_a_token_that_runs_out_is_replaced_in_time(self):
        fetched = asyncio.Event()

        async def fetch():
            fetched.set()
            return self.token("alice")

        client = await self.connected(A, token=self.token("alice", 2), get_token=fetch)
        await asyncio.wait_for(fetched.wait(), PATIENCE)
        subscription = await self.subscribed(client, self.name("open:room"))
        await subscription.publish(self.data("still there"))
        self.assertEqual(await self.hears(subscription, 1), ["still there"])
        self.assertEqual(len(client.seen.all("connecting")), 1)

    # --- who subscribes

    async def test_a_subscription_is_refused_with_its_code(self):
        client = await self.connected(A, token=self.token("alice"))
        for channel, code in [("nowhere:day", 102), ("nobody:day", 103), ("members:day", 103), ("$private:day", 103)]:
            subscription = self.subscription(client, self.name(channel))
            await subscription.subscribe()
            self.assertEqual((await subscription.seen.sees("unsubscribed")).code, code, channel)

    async def test_a_token_opens_a_private_channel(self):
        channel = self.name("$private:day")
        client = await self.connected(B, token=self.token("alice"))

        async def fetch(_):
            return self.ticket("alice", channel, data={"topic": "x"})

        subscription = await self.subscribed(client, channel, get_token=fetch)
        self.assertEqual(self.value((await subscription.seen.sees("subscribed")).data), {"topic": "x"})

    async def test_a_token_for_the_channel_is_replaced_in_time(self):
        channel = self.name("members:day")
        client = await self.connected(A, token=self.token("alice"))
        fetched = asyncio.Event()

        async def fetch(_):
            fetched.set()
            return self.ticket("alice", channel)

        subscription = await self.subscribed(client, channel, token=self.ticket("alice", channel, 2), get_token=fetch)
        await asyncio.wait_for(fetched.wait(), PATIENCE)
        self.assertEqual(len(subscription.seen.all("subscribing")), 1)

    async def test_a_token_subscribes_its_connection(self):
        channel = self.name("free:one")
        client = await self.connected(A, token=self.token("alice", channels=[channel]))
        publisher = await self.connected(B)
        await publisher.publish(channel, self.data(1))
        context = await client.seen.sees("publication")
        self.assertEqual((context.channel, self.value(context.pub.data)), (channel, 1))

    async def test_who_has_left_hears_again_after_returning(self):
        mine, others = await self.both(self.name("open:room"))
        await mine.unsubscribe()
        await mine.seen.sees("unsubscribed")
        await others.publish(self.data("unheard"))
        await mine.subscribe()
        await mine.seen.sees("subscribed", 2)
        await others.publish(self.data("heard"))
        self.assertEqual(await self.hears(mine, 1), ["heard"])

    async def test_who_reconnects_has_what_it_had(self):
        mine, others = await self.both(self.name("open:room"))
        client = self.clients[0]
        await client.disconnect()
        await client.seen.sees("disconnected")
        await client.connect()
        await mine.seen.sees("subscribed", 2)
        await others.publish(self.data("welcome back"))
        self.assertEqual(await self.hears(mine, 1), ["welcome back"])

    # --- what is said

    async def test_both_nodes_hear_both_in_one_order(self):
        mine, others = await self.both(self.name("open:room"))
        await asyncio.gather(*((mine if number % 2 else others).publish(self.data(number)) for number in range(20)))
        heard = [await self.hears(one, 20) for one in (mine, others)]
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(sorted(heard[0]), list(range(20)))

    async def test_every_kind_of_json_arrives_as_it_was(self):
        mine, others = await self.both(self.name("open:room"))
        kinds = ["text", "größe 😀 \u2028 \"quoted\" \\ <b>", 0, -1.5, True, [], [1, [2]], {}, {"a": {"b": None}}]
        for kind in kinds:
            await mine.publish(self.data(kind))
        self.assertEqual(await self.hears(others, len(kinds)), kinds)

    async def test_who_published_it_is_told(self):
        channel = self.name("open:room")
        listener = await self.subscribed(await self.connected(B), channel)
        alice = await self.connected(A, token=self.token("alice", info={"name": "Alice"}))
        await (await self.subscribed(alice, channel)).publish(self.data("hello"))
        info = (await listener.seen.sees("publication")).pub.info
        self.assertEqual((info.user, self.value(info.conn_info)), (self.name("alice"), {"name": "Alice"}))

    async def test_who_may_not_publish_is_told_so_and_stays(self):
        mine, _ = await self.both(self.name("news:day"))
        self.assertEqual(await self.refused(mine.publish(self.data(1))), 103)
        self.assertEqual(await self.refused(self.clients[0].publish(self.name("nowhere:day"), self.data(1))), 102)
        self.assertEqual(self.clients[0].seen.all("disconnected"), [])

    # --- who is there

    async def test_who_is_there_is_known_on_both_nodes(self):
        mine, others = await self.both(self.name("room:x"), token=self.token("alice"))
        for one in (mine, others):
            await self.until_present(one, 2)
            clients = (await one.presence()).clients
            self.assertEqual([info.user for info in clients.values()], [self.name("alice")] * 2)
            stats = await one.presence_stats()
            self.assertEqual((stats.num_clients, stats.num_users), (2, 1))

    async def test_who_comes_and_goes_is_told_on_the_other_node(self):
        channel = self.name("room:x")
        watcher = await self.subscribed(await self.connected(A), channel, join_leave=True)
        await watcher.seen.sees("join")
        bob = await self.connected(B, token=self.token("bob"))
        await self.subscribed(bob, channel)
        self.assertEqual((await watcher.seen.sees("join", 2)).info.user, self.name("bob"))
        await bob.disconnect()
        self.assertEqual((await watcher.seen.sees("leave")).info.user, self.name("bob"))

    # --- what the application's servers ask of the other node

    async def test_what_servers_publish_is_heard_from_either_node(self):
        channel = self.name("open:room")
        subscription = await self.subscribed(await self.connected(A), channel)
        await self.asks(B, "publish", channel=channel, data=1, tags={"lang": "en"})
        self.assertEqual(await self.hears(subscription, 1), [1])
        self.assertEqual((await subscription.seen.sees("publication")).pub.tags, {"lang": "en"})
        await self.asks(A, "broadcast", channels=[channel, self.name("open:other")], data=2)
        self.assertEqual(await self.hears(subscription, 2), [1, 2])

    async def test_a_filter_lets_through_what_fits(self):
        channel = self.name("tagged:news")
        client = await self.connected(A)
        chosen = await self.subscribed(client, channel, tags_filter=centrifuge.Filter.eq("lang", "en"))
        for n, lang in enumerate(["de", "en", "fr", "en"]):
            await self.asks(B, "publish", channel=channel, data=n, tags={"lang": lang})
        self.assertEqual(await self.hears(chosen, 2), [1, 3])

    async def test_servers_subscribe_and_unsubscribe_a_user(self):
        channel = self.name("open:room")
        client = await self.connected(A, token=self.token("alice"))
        await self.asks(B, "subscribe", user=self.name("alice"), channel=channel)
        self.assertEqual((await client.seen.sees("subscribed")).channel, channel)
        await self.asks(B, "publish", channel=channel, data="hello")
        self.assertEqual(self.value((await client.seen.sees("publication")).pub.data), "hello")
        await self.asks(B, "unsubscribe", user=self.name("alice"), channel=channel)
        self.assertEqual((await client.seen.sees("unsubscribed")).channel, channel)

    async def test_a_disconnect_says_whether_to_come_back(self):
        gone, back = [await self.connected(A, token=self.token(user)) for user in ("gone", "back")]
        await self.asks(B, "disconnect", user=self.name("gone"), disconnect={"code": 4501, "reason": "banned"})
        await self.asks(B, "disconnect", user=self.name("back"), disconnect={"code": 4001, "reason": "come again"})
        context = await gone.seen.sees("disconnected")
        self.assertEqual((context.code, context.reason), (4501, "banned"))
        self.assertEqual((await back.seen.sees("connecting", 2)).code, 4001)
        await back.seen.sees("connected", 2)

    async def test_a_revoked_token_ends_its_client(self):
        token = self.token("alice", jti=self.name("token"))
        client = await self.connected(A, token=token)
        await self.asks(B, "revoke_token", uid=self.name("token"))
        self.assertEqual((await client.seen.sees("connecting", 2)).code, 3014)
        self.assertEqual((await client.seen.sees("disconnected")).code, 3500)


class InJson(Cases, unittest.IsolatedAsyncioTestCase):
    protobuf = False


class InProtobuf(Cases, unittest.IsolatedAsyncioTestCase):
    protobuf = True


if __name__ == "__main__":
    unittest.main()
