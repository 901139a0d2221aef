"""Clients that hang up, over real connections: whatever their request was doing, it ends, and holds nothing."""

import json
import random
import socket
import time
from urllib.parse import urlsplit

from demo_server import Configured, circle, shown, until, uri

HANGUPS = 40
COLOURS = ("red", "green", "blue", "black")


def ask(server: Configured, body: bytes) -> socket.socket:
    """A connection over which a request was sent, and nothing was read."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def idle(server: Configured) -> bool:
    """Whether no engine has or holds anything."""
    engines = server.client.get("/health").json()["engines"]
    return not any(engine[name] for engine in engines for name in ("running", "waiting", "kv_blocks_used"))


def test_who_hangs_up_leaves_nothing_behind(server: Configured) -> None:
    """Before the prompt is built, under a picture, in the middle of an answer, whole or streamed: all is free again."""
    dice = random.Random(3)
    for number in range(HANGUPS):
        content = (
            shown(uri(circle(COLOURS[number % 4])), f"What is picture {number}?") if number % 2 else f"hello {number}"
        )
        streams = dice.random() < 0.5
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2000, "min_tokens": 2000}
        connection = ask(server, json.dumps(body | {"stream": streams}).encode())
        time.sleep(dice.choice((0, 0.02, 0.1)) * dice.random())
        if streams and dice.random() < 0.5:
            assert connection.recv(1) == b"H"
        connection.close()
    until(lambda: idle(server))
    assert server.chat("hello", max_tokens=1).status_code == 200
