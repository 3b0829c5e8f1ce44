"""An exchange that is written in Python, with the `itchfeed` and `moldudp` packages: ITCH 5.0 over two lines of UDP.

Usage: exchange.py PORT_A PORT_B ROUNDS. In each round an order of 100 shares is added, 40 of them are executed, and 7 are
traded with a hidden order. Each message goes in a packet of its own. Line A loses every third packet, line B every fourth
that line A brings: together they bring all.
"""

import socket
import sys
import time

from itch.messages import create_message
from moldudp.codec.encoder import MoldUDPEncoder
from moldudp.msg.msgpub import MsgPublisher

PORTS, ROUNDS = [int(port) for port in sys.argv[1:3]], int(sys.argv[3])
STOCK = b"ACME    "
TEN_O_CLOCK_NS = 36_000_000_000_000
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent = 0


class Lines(MsgPublisher):
    def publish(self, packet):
        global sent
        sent += 1
        by_a = sent % 3 != 0
        by_b = not by_a or sent % 4 != 0
        for port, brings in zip(PORTS, (by_a, by_b)):
            if brings:
                out.sendto(packet, ("127.0.0.1", port))


encoder = MoldUDPEncoder(Lines())
encoder.session(b"PYTHON0001")
encoder.seq(1)


def send(kind, time_ns, **fields):
    message = create_message(kind, stock_locate=7, tracking_number=0, timestamp=time_ns, **fields)
    encoder.add_msg(message.to_bytes())
    encoder.process()
    time.sleep(0.0005)


letters = {name: b"N" for name in ("financial_status_indicator", "round_lots_only", "issue_classification")}
letters |= {name: b"N" for name in ("short_sale_threshold_indicator", "ipo_flag", "luld_ref", "etp_flag")}
send(
    b"R", TEN_O_CLOCK_NS, stock=STOCK, market_category=b"Q", round_lot_size=100, issue_sub_type=b"Z ",
    authenticity=b"P", etp_leverage_factor=0, inverse_indicator=b"N", **letters,
)
for number in range(1, ROUNDS + 1):
    at_ns, price = TEN_O_CLOCK_NS + number * 10_000_000, 1_000_000 + 100 * (number % 50)
    send(b"A", at_ns, order_reference_number=number, buy_sell_indicator=b"S", shares=100, stock=STOCK, price=price)
    send(b"E", at_ns, order_reference_number=number, executed_shares=40, match_number=2 * number)
    send(
        b"P", at_ns, order_reference_number=0, buy_sell_indicator=b"B", shares=7, stock=STOCK, price=price,
        match_number=2 * number + 1,
    )
    send(b"D", at_ns, order_reference_number=number)
