"""Lets mplfinance draw candles, and tells where it put them.

Reads what with_pillow.py reads. The axes get the place and the range that the numbers say: a pixel's middle is where its
price is. Writes a line for each candle to standard output, oldest first: left, top, right and bottom of the body, the
middle, top and bottom of the whole, in pixels from the frame's corner, and 1 where it rose or 0. The widths of bodies
are given to it, since it has a rule of its own.
"""

import sys

import matplotlib
import matplotlib.pyplot

matplotlib.use("Agg")

import mplfinance
import pandas
from matplotlib.collections import LineCollection, PolyCollection
from with_pillow import body_width

DPI = 100


def draw(size, scale, spacing, x, axis, candles):
    (width, height), (top, bottom, low, high) = size, axis
    step = spacing * scale
    left = x + 0.5 - (len(candles) - 0.5) * step
    figure = mplfinance.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    place = (left / width, 1 - (bottom + 1) / height, len(candles) * step / width, (bottom + 1 - top) / height)
    axes = figure.add_axes(place)
    times = pandas.date_range("2020-01-01", periods=len(candles), freq="min")
    frame = pandas.DataFrame(candles, index=times, columns=["Open", "High", "Low", "Close"]).astype(float)
    widths = {"candle_width": body_width(spacing, scale) / step, "candle_linewidth": 0}
    quiet = {"warn_too_much_data": len(candles) + 1}
    mplfinance.plot(frame, type="candle", ax=axes, update_width_config=widths, **quiet)
    half = (high - low) / (bottom - top) / 2
    axes.set_xlim(-0.5, len(candles) - 0.5)
    axes.set_ylim(low - half, high + half)
    figure.canvas.draw()
    return axes, figure


def boxes_of(axes, height, index_of, count):
    """The boxes of the artists, in pixels from the top left corner, by candle."""

    def to_pixels(points):
        return [(x, height - y) for x, y in axes.transData.transform(points)]

    bodies, wholes, rises = [None] * count, [None] * count, [None] * count
    for artist in axes.collections:
        if isinstance(artist, PolyCollection):
            for path, color in zip(artist.get_paths(), artist.get_facecolor()):
                body = to_pixels(path.vertices[:4])
                index = index_of(sum(x for x, _ in body) / 4)
                bodies[index], rises[index] = body, int(color[0] > 0.5)
    for artist in axes.collections:
        if isinstance(artist, LineCollection):
            for segment in artist.get_segments():
                wick = to_pixels(segment)
                index = index_of(wick[0][0])
                wholes[index] = (wholes[index] or []) + wick
    return bodies, wholes, rises


def main():
    numbers = (list(map(int, line.split())) for line in sys.stdin)
    for width, height, scale, spacing, x, top, bottom, low, high, count in numbers:
        candles = [next(numbers) for _ in range(count)]
        axes, figure = draw((width, height), scale, spacing, x, (top, bottom, low, high), candles)
        newest, step = x + 0.5, spacing * scale
        boxes = boxes_of(axes, height, lambda x: round((x - newest) / step) + count - 1, count)
        for body, wick, rises in zip(*boxes):
            columns, rows = zip(*body)
            all_rows = [row for _, row in wick] + list(rows)
            box = (min(columns), min(rows), max(columns), max(rows))
            print(*box, wick[0][0], min(all_rows), max(all_rows), rises)
        matplotlib.pyplot.close(figure)


if __name__ == "__main__":
    main()
