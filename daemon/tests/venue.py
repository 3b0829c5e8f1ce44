"""A venue that is written in Python, with the `websockets` package: trades over TLS, with all that a server may do.

Usage: venue.py CERTIFICATE SYMBOL TRADES. Prints its port, then a line for each thing that it has seen. It sends half
of the trades on a first connection, which it closes with code 1001, and the rest on a second.
"""

import asyncio
import json
import ssl
import sys

import websockets
from websockets.asyncio.server import serve

CERTIFICATE, SYMBOL, TRADES = sys.argv[1], sys.argv[2], int(sys.argv[3])
START_MS = 1_700_000_000_000
sent = 0
done = asyncio.Event()


def say(*words):
    print(*words, flush=True)


def trade(number):
    time = START_MS + 10 * number
    text = {"e": "trade", "E": time, "s": SYMBOL, "t": number, "p": "100.5", "q": "0.1", "T": time, "m": False, "M": True}
    return json.dumps(text, separators=(",", ":"))


async def venue(client):
    global sent
    say("request", client.request.path, client.request.headers.get("Sec-WebSocket-Extensions", "-"))
    for at in range(TRADES // 2):
        sent += 1
        text = trade(sent)
        if at % 3 == 0:
            # In pieces, one of them empty.
            await client.send([text[:1], "", text[1:20], text[20:]])
        elif at % 3 == 1:
            await client.send(text.encode())
        else:
            await client.send(text)
        if at % 50 == 0:
            # Its answer is awaited: a client that answers nothing, or something else, never gets further.
            await asyncio.wait_for(await client.ping(f"ping {at}".encode()), 20)
    say("sent", sent)
    if sent < TRADES:
        await client.close(1001, "going away")
        say("closed", client.close_code, client.state.name)
        return
    try:
        # The client says nothing; it stays, through some keep-alives.
        say("heard", await asyncio.wait_for(client.recv(), 4))
    except TimeoutError:
        say("still", client.state.name)
    except websockets.ConnectionClosed as closed:
        say("lost", closed)
    finally:
        done.set()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    # Its own keep-alive, too, once a second.
    async with serve(venue, "127.0.0.1", 0, ssl=context, ping_interval=1, ping_timeout=10) as server:
        say("port", server.sockets[0].getsockname()[1])
        await done.wait()


asyncio.run(main())
