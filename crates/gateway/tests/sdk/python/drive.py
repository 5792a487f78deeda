"""Drives the official SDK for Python through one story: `drive.py STORY`, with what it needs as one line of JSON on stdin.

Every line on stdout is a JSON list: ["saw", what, value], or a question that is answered by a line on stdin: ["api", method, body] by what the
server API said, ["calm"] when nobody says anything any more, and ["pong"] when a ping has been answered. Keeps no recording and knows no server: the other side of the pipe does.
"""

import asyncio
import dataclasses
import json
import logging
import sys

import centrifuge

logging.disable(logging.CRITICAL)
PATIENCE = 8


def plain(value):
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if getattr(value, field.name) is not None}
    if isinstance(value, bytes):
        try:
            return json.loads(value)
        except ValueError:
            return {"text": value.decode("utf-8", "replace")}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return plain(vars(value)) if hasattr(value, "__dict__") else str(value)


class Story:
    def __init__(self, given):
        self.given = given
        self.seen = []
        self.changed = asyncio.Event()

    def say(self, *line):
        print(json.dumps(line), flush=True)

    def saw(self, what, value):
        self.seen.append(what)
        self.say("saw", what, plain(value))
        self.changed.set()

    async def sees(self, what, times=1):
        async def wait():
            while self.seen.count(what) < times:
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), PATIENCE)

    async def ask(self, *line):
        self.say(*line)
        answer = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        return json.loads(answer)

    async def api(self, method, body):
        return await self.ask("api", method, body)

    async def calm(self):
        await self.ask("calm")

    async def outcome(self, what, awaitable):
        try:
            self.saw(what, await awaitable)
        except centrifuge.CentrifugeError as error:
            self.saw(f"{what} failed", {"kind": type(error).__name__, "code": getattr(error, "code", None)})

    def data(self, value):
        return json.dumps(value).encode() if self.given["protobuf"] else value

    def events(self, kind, name):
        story = self

        def hears(event):
            async def heard(_, context):
                story.saw(f"{name} {event}", context)

            return heard

        names = [method[3:] for method in dir(kind) if method.startswith("on_")]
        return type("Events", (kind,), {f"on_{event}": hears(event) for event in names})()

    def client(self, name="client", **options):
        return centrifuge.Client(
            self.given["url"],
            events=self.events(centrifuge.ClientEventHandler, name),
            use_protobuf=self.given["protobuf"],
            min_reconnect_delay=0.02,
            max_reconnect_delay=0.04,
            proxy=None,
            **options,
        )

    async def connected(self, name="client", **options):
        client = self.client(name, **options)
        await client.connect()
        await self.sees(f"{name} connected")
        return client

    def subscription(self, client, channel, name="subscription", **options):
        events = self.events(centrifuge.SubscriptionEventHandler, name)
        return client.new_subscription(channel, events, min_resubscribe_delay=0.02, max_resubscribe_delay=0.04, **options)

    async def subscribed(self, client, channel, name="subscription", **options):
        subscription = self.subscription(client, channel, name, **options)
        await subscription.subscribe()
        await self.sees(f"{name} subscribed")
        return subscription


async def connect(story):
    await story.connected()


async def connect_with_token(story):
    await story.connected("alice", token=story.given["token"], data=story.data({"from": "the application"}))


async def connect_expired_token_refreshed(story):
    async def fetch():
        return story.given["token"]

    await story.connected("alice", token=story.given["expired"], get_token=fetch)


async def connect_invalid_token(story):
    await story.client("mallory", token=story.given["forged"]).connect()
    await story.sees("mallory disconnected")


async def subscribe_refused(story):
    client = await story.connected()
    for name in ("closed", "nowhere", "private"):
        await story.subscription(client, story.given[name], name).subscribe()
        await story.sees(f"{name} unsubscribed")


async def subscribe_and_publish(story):
    subscription = await story.subscribed(await story.connected("alice", token=story.given["token"]), story.given["lobby"])
    await story.sees("subscription join")
    await story.outcome("publish", subscription.publish(story.data({"text": "hello"})))
    await story.sees("subscription publication")
    await subscription.unsubscribe()
    await story.sees("subscription unsubscribed")


async def presence(story):
    subscription = await story.subscribed(await story.connected("alice", token=story.given["token"]), story.given["chat"])
    await story.outcome("presence", subscription.presence())
    await story.outcome("stats", subscription.presence_stats())


async def join_and_leave(story):
    await story.subscribed(await story.connected("alice", token=story.given["token"]), story.given["chat"], "alices", join_leave=True)
    await story.sees("alices join")
    bob = await story.connected("bob")
    await story.subscribed(bob, story.given["chat"], "bobs")
    await story.sees("alices join", 2)
    await bob.disconnect()
    await story.sees("alices leave")


async def history(story):
    subscription = await story.subscribed(await story.connected(), story.given["stream"])
    for price in range(1, 4):
        await story.api("publish", {"channel": story.given["stream"], "data": {"price": price}})
    await story.sees("subscription publication", 3)
    await story.outcome("position", subscription.history())
    await story.outcome("two", subscription.history(limit=2))
    await story.outcome("backwards", subscription.history(limit=2, reverse=True))
    other = centrifuge.StreamPosition(offset=1, epoch="other")
    await story.outcome("other", subscription.history(limit=2, since=other))


async def recover(story):
    client = await story.connected()
    await story.subscribed(client, story.given["stream"])
    await story.api("publish", {"channel": story.given["stream"], "data": {"price": 1}})
    await story.sees("subscription publication")
    await client.disconnect()
    await story.sees("client disconnected")
    await story.calm()
    for price in range(2, 4):
        await story.api("publish", {"channel": story.given["stream"], "data": {"price": price}})
    await client.connect()
    await story.sees("subscription publication", 3)


async def delta(story):
    await story.subscribed(await story.connected(), story.given["delta"], delta=centrifuge.DeltaType.FOSSIL)
    for price in range(1, 4):
        body = {"text": "long enough to make a difference worth sending", "price": price}
        await story.api("publish", {"channel": story.given["delta"], "data": body})
    await story.sees("subscription publication", 3)


async def rpc(story):
    client = await story.connected()
    await story.outcome("echo", client.rpc("backend:echo", story.data({"number": 7})))
    await story.outcome("refused", client.rpc("backend:refuse", story.data({})))
    await story.outcome("none", client.rpc("echo", story.data({})))


async def server_side(story):
    await story.connected("alice", token=story.given["with_channel"])
    await story.api("publish", {"channel": story.given["news"], "data": {"headline": 1}})
    await story.sees("alice publication")
    await story.api("unsubscribe", {"user": story.given["user"], "channel": story.given["news"]})
    await story.sees("alice unsubscribed")


async def disconnect_and_reconnect(story):
    client = await story.connected("alice", token=story.given["token"])
    await story.subscribed(client, story.given["news"])
    await story.api("disconnect", {"user": story.given["user"], "disconnect": {"code": 4100, "reason": "come back"}})
    await story.sees("subscription subscribed", 2)
    await story.api("disconnect", {"user": story.given["user"]})
    await story.sees("alice disconnected")


async def ping_and_pong(story):
    client = await story.connected()
    await story.ask("pong")
    await client.disconnect()
    await story.sees("client disconnected")


async def main():
    story = Story(json.loads(sys.stdin.readline()))
    await globals()[sys.argv[1]](story)
    story.say("done")
    # What has been opened stays open until the other side has heard enough.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


asyncio.run(main())
