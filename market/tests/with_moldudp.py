"""Packets as `moldudp` encodes them.

Argument: a file to write. It gets 500 messages, numbered from 1,000,000,007; number n has 7n mod 300 bytes, which count
up from n. Each packet follows its length as a big-endian u32.
"""

import struct
import sys

from moldudp.codec.encoder import MoldUDPEncoder
from moldudp.msg.msgpub import MsgPublisher


class Writer(MsgPublisher):
    def publish(self, packet):
        output.write(struct.pack(">I", len(packet)) + packet)


with open(sys.argv[1], "wb") as output:
    encoder = MoldUDPEncoder(Writer())
    encoder.session(b"ORACLE0001")
    encoder.seq(1_000_000_007)
    for number in range(500):
        encoder.add_msg(bytes((number + at) & 0xFF for at in range(7 * number % 300)))
    encoder.process()
