"""Draws candles with Pillow, from what is written about them and not from chartd's code.

Reads lines of numbers from standard input, one picture after another:

    width height scale spacing x top bottom low high wanted_bars
    open high low close           (so many lines; oldest first)

`spacing` is the distance of two bars in pixels without the scale; `x` is the middle of the newest bar. Row `top` shows
the price `high`, row `bottom` the price `low`. Writes a byte for each pixel to standard output: 1 where a candle is that
rose or stayed, 2 where one is that fell, else 0.

The rules are those of lightweight-charts: rows are rounded; the wick is above and below the body and never in it; the
body's width is a part of the spacing that shrinks from 1 to 0.8, is three pixels where the spacing is 2.5 to 4, and is
even or odd as the wick's is; no candle begins left of where the one before it ended.
"""

import math
import sys
from fractions import Fraction

import numpy
from PIL import Image, ImageDraw


def body_width(spacing, scale):
    if 2.5 <= spacing <= 4:
        width = 3 * scale
    else:
        part = 1 - 0.2 * math.atan(max(4, spacing) - 4) / (math.pi / 2)
        width = max(scale, min(math.floor(spacing * part * scale), spacing * scale))
    if width >= 2 and width % 2 != scale % 2:
        width -= 1
    return width


def row_of(price, top, bottom, low, high):
    exact = top + Fraction((high - price) * (bottom - top), high - low)
    return math.floor(exact + Fraction(1, 2))


def fill(canvas, left, top, right, bottom, color):
    """Pixels from left to right and from top to bottom, the last ones included."""
    if left <= right and top <= bottom:
        canvas.rectangle((left, top, right, bottom), fill=color)


def draw(size, scale, spacing, x, axis, candles):
    image = Image.new("L", size, 0)
    canvas = ImageDraw.Draw(image)
    body, wick = body_width(spacing, scale), min(scale, body_width(spacing, scale))
    edges = {"body": None, "wick": None}
    for index, (opened, high, low, closed) in enumerate(candles):
        color = 1 if closed >= opened else 2
        middle = x - (len(candles) - 1 - index) * spacing * scale
        rows = [row_of(price, *axis) for price in (high, max(opened, closed), min(opened, closed), low)]
        for part, width, spans in [
            ("wick", wick, [(rows[0], rows[1] - 1), (rows[2] + 1, rows[3])]),
            ("body", body, [(rows[1], rows[2])]),
        ]:
            left = middle - width // 2
            right = left + width - 1
            if edges[part] is not None:
                left = max(left, edges[part] + 1)
            edges[part] = right
            for first, last in spans:
                fill(canvas, left, first, right, last, color)
    return numpy.asarray(image)


def main():
    numbers = (list(map(int, line.split())) for line in sys.stdin)
    for width, height, scale, spacing, x, top, bottom, low, high, count in numbers:
        candles = [next(numbers) for _ in range(count)]
        picture = draw((width, height), scale, spacing, x, (top, bottom, low, high), candles)
        sys.stdout.buffer.write(picture.tobytes())


if __name__ == "__main__":
    main()
