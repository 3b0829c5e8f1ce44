"""Adjusts a chart and reads one frame of it by ABI.md alone, in another language: prints its number, size and a checksum.

Python has no memory orders; on x86-64 plain loads are in order, which is what a test needs.
"""

import mmap
import os
import socket
import struct
import sys
import time
import zlib


def words(memory, at, count):
    return struct.unpack_from(f"<{count}Q", memory, 8 * at)


def ask(control, op, number=0, chart=b"", kind=0, arguments=(0, 0, 0, 0), title=b""):
    control.send(struct.pack("<8sQQQQ64sQ4q24s", b"chartdC3", 3, 0, op, number, chart, kind, *arguments, title))
    while True:
        message, rights, _, _ = control.recvmsg(312, socket.CMSG_SPACE(8 * 4))
        assert len(message) == 312 and message[:8] == b"chartdC3", "the daemon is gone"
        _, major, _, answers, refused, latest, generation = struct.unpack_from("<8s6Q", message)
        assert major == 3
        if answers != op:
            continue
        if refused:
            sys.exit(message[120:].rstrip(b"\0").decode())
        return latest, [fd for _, _, data in rights for (fd,) in struct.iter_unpack("<i", data)]


def map_segment(fd, magic=None):
    memory = mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ)
    if magic:
        assert memory[:8] == magic and words(memory, 1, 1) == (3,) and words(memory, 6, 1) == (0,)
    return memory


def copy_latest(frames, pixels):
    slots, _, slot_stride, width, height, stride, fourcc = words(frames, 10, 7)
    assert struct.pack("<Q", fourcc)[:4] == b"AB24"
    for _ in range(8):
        (head,) = words(frames, 32, 1)
        number, slot = head >> 8, (head & 255) % slots
        if not number or words(frames, 64 + 32 * slot, 1) != (2 * number,):
            continue
        description = words(frames, 64 + 32 * slot + 1, 29)
        first = slot * slot_stride
        rows = b"".join(pixels[first + y * stride : first + y * stride + 4 * width] for y in range(height))
        if words(frames, 64 + 32 * slot, 1) == (2 * number,):
            assert description[0] == number
            return description, width, height, rows
    sys.exit("the writer was faster, every time")


def main(path, chart):
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect(path)
    _, (status, market) = ask(control, 1)
    map_segment(market, b"chartdM3")
    assert words(map_segment(status, b"chartdS3"), 32, 1) == (1,), "the daemon does not run"
    _, (frames, pixels) = ask(control, 2, chart=chart)
    frames, pixels = map_segment(frames, b"chartdF3"), map_segment(pixels)
    (number, *_), _, _, _ = copy_latest(frames, pixels)
    latest, _ = ask(control, 4, number + 1, chart)
    adjustments, _ = ask(control, 6, 0, chart, 6, (5000000, 0xFF9800, 0, 0), "lînea".encode())
    description, end = [0] * 29, time.monotonic() + 10
    while description[11] < adjustments:
        assert time.monotonic() < end, "the price line is not drawn"
        description, width, height, rows = copy_latest(frames, pixels)
    number = description[0]
    assert latest <= number and set(rows[3::4]) == {255}
    print(number, width, height, zlib.crc32(rows))


main(sys.argv[1], sys.argv[2].encode())
