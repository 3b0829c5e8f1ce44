"""Draws the picture of our chart with Python's libraries, when the bench asks for it, and says how long it took.

The first argument is a folder with plan.json: bars, panes, ranges, colours, and for Pillow our finished scene; the
second is a virtual environment that may have Plotly. Each line of the standard input is a question, each line of the
standard output its answer as JSON. What holds: imports and the first drawing are never timed; each drawing ends with
its pixels in memory; the garbage collector runs as it likes.

- mplfinance, naive: what its documentation shows, a new figure each time.
- matplotlib, whole: artists that are made once, all drawn anew.
- matplotlib, blit: artists for what changes, over a background that is restored, as its documentation advises.
- Pillow: rectangles and text at the places that our layout found.
- Plotly: building the figure and writing it as JSON. The pixels would be drawn by a browser, and are not in the time.
"""

import datetime
import json
import os
import sys
import time

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import mplfinance
import numpy
import pandas
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.font_manager import FontProperties
from PIL import Image, ImageDraw, ImageFont

FOLDER = sys.argv[1]
with open(os.path.join(FOLDER, "plan.json"), encoding="utf-8") as file:
    PLAN = json.load(file)
WIDTH, HEIGHT = PLAN["size"]
COLORS = PLAN["colors"]
BARS = numpy.array(PLAN["bars"])
OPEN, HIGH, LOW, CLOSE, VOLUME = BARS[:, 1:6].T
RISES = CLOSE >= OPEN
LEGEND = [text for text in PLAN["texts"] if text["layer"] in ("Legend", "Price")]
DPI = 100
PIXEL = 72 / DPI


def box(top, bottom):
    """A pane as matplotlib counts: left, bottom, width, height, from the bottom left, as shares of the figure."""
    return [0, 1 - bottom / HEIGHT, PLAN["gutter"] / WIDTH, (bottom - top) / HEIGHT]


def font(size):
    return FontProperties(fname=PLAN["font"], size=size * PIXEL)


def style_axes(prices, volumes):
    for axes in (prices, volumes):
        axes.set_facecolor(COLORS["background"])
        axes.set_xlim(*PLAN["across"])
        axes.yaxis.tick_right()
        axes.grid(True, color=COLORS["grid"], linewidth=PIXEL)
        axes.set_axisbelow(True)
        axes.tick_params(colors=COLORS["text"], length=0)
        for spine in axes.spines.values():
            spine.set_color(COLORS["border"])
            spine.set_linewidth(PIXEL)
        axes.spines[["left", "top"]].set_visible(False)
    prices.set_position(box(PLAN["header"], PLAN["volume"]))
    volumes.set_position(box(PLAN["volume"], PLAN["times"]))
    prices.set_ylim(*PLAN["prices"])
    volumes.set_ylim(0, PLAN["volume_top"])
    prices.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(18))
    prices.yaxis.set_major_formatter("{x:.2f}")
    prices.tick_params(labelbottom=False)


def clock(bar, _=None):
    place = int(round(bar))
    if not 0 <= place < len(BARS):
        return ""
    return datetime.datetime.fromtimestamp(BARS[place, 0] / 1000, datetime.timezone.utc).strftime("%H:%M")


class Matplotlib:
    """Artists of the whole picture; those that a last price changes are animated."""

    def __init__(self):
        self.figure = plt.figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=COLORS["background"])
        self.prices, self.volumes = self.figure.add_axes([0, 0, 1, 1]), self.figure.add_axes([0, 0, 1, 0.1])
        style_axes(self.prices, self.volumes)
        self.volumes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(20, integer=True))
        self.volumes.xaxis.set_major_formatter(clock)
        for axes in (self.prices, self.volumes):
            for label in axes.get_xticklabels() + axes.get_yticklabels():
                label.set_fontproperties(font(12))
        self.older = self.candles(slice(0, -1))
        self.newest = self.candles(slice(-1, None))
        self.line = self.prices.axhline(CLOSE[-1], linewidth=PIXEL, linestyle=(0, (3, 3)))
        self.texts = [self.text(text) for text in LEGEND]
        self.lively = [*self.newest, self.line, *self.texts]
        self.set_close(CLOSE[-1])
        self.background = None

    def candles(self, which):
        half = PLAN["body"] / 2
        places = numpy.arange(len(BARS))[which]
        wicks = LineCollection([], linewidths=PIXEL, antialiaseds=False)
        bodies = PolyCollection([], linewidths=0, antialiaseds=False)
        volumes = PolyCollection([], linewidths=0, antialiaseds=False)
        for axes, artist in ((self.prices, wicks), (self.prices, bodies), (self.volumes, volumes)):
            axes.add_collection(artist, autolim=False)
        self.fill(
            (wicks, bodies, volumes),
            places,
            half,
            OPEN[which],
            HIGH[which],
            LOW[which],
            CLOSE[which],
            VOLUME[which],
        )
        return wicks, bodies, volumes

    @staticmethod
    def fill(artists, places, half, opens, highs, lows, closes, volumes):
        rises = closes >= opens
        colors = numpy.where(rises, COLORS["up"], COLORS["down"])
        dim = numpy.where(rises, COLORS["up_volume"], COLORS["down_volume"])
        left, right = places - half, places + half

        def boxes(bottom, top):
            return numpy.stack(
                [numpy.stack([left, left, right, right]), numpy.stack([bottom, top, top, bottom])], axis=2
            ).swapaxes(0, 1)

        artists[0].set_segments(
            numpy.stack([numpy.stack([places, lows], 1), numpy.stack([places, highs], 1)], 1)
        )
        artists[0].set_color(colors)
        # A body is never less than a row of pixels, as ours.
        low, high = PLAN["prices"]
        row = (high - low) / (PLAN["volume"] - PLAN["header"]) / 2
        artists[1].set_verts(boxes(numpy.minimum(opens, closes) - row, numpy.maximum(opens, closes) + row))
        artists[1].set_facecolor(colors)
        artists[2].set_verts(boxes(numpy.zeros_like(volumes), volumes))
        artists[2].set_facecolor(dim)

    def text(self, text):
        box = {"facecolor": COLORS["up"], "pad": 4, "linewidth": 0} if text["layer"] == "Price" else None
        return self.figure.text(
            text["x"] / WIDTH,
            1 - text["baseline"] / HEIGHT,
            text["text"],
            color=text["color"],
            fontproperties=font(text["size"]),
            bbox=box,
        )

    def set_close(self, close):
        """Changes the newest bar, and all that follows from it."""
        high, low = max(HIGH[-1], close), min(LOW[-1], close)
        place = numpy.array([len(BARS) - 1])
        one = [numpy.array([value]) for value in (OPEN[-1], high, low, close, VOLUME[-1])]
        self.fill(self.newest, place, PLAN["body"] / 2, *one)
        color = COLORS["up"] if close >= OPEN[-1] else COLORS["down"]
        self.line.set_ydata([close, close])
        self.line.set_color(color)
        for artist, text in zip(self.texts, LEGEND):
            if text["layer"] == "Price":
                low_end, high_end = PLAN["prices"]
                row = PLAN["volume"] - (close - low_end) / (high_end - low_end) * (
                    PLAN["volume"] - PLAN["header"]
                )
                artist.set_y(1 - (row + 5) / HEIGHT)
                artist.set_text(f"{close:.2f}")
                artist.get_bbox_patch().set_facecolor(color)

    def whole(self):
        self.figure.canvas.draw()
        return self.figure.canvas.buffer_rgba()

    def keep(self):
        """Draws what stays, and keeps it."""
        for artist in self.lively:
            artist.set_animated(True)
        self.figure.canvas.draw()
        self.background = self.figure.canvas.copy_from_bbox(self.figure.bbox)

    def blit(self, close):
        self.set_close(close)
        self.figure.canvas.restore_region(self.background)
        for artist in self.lively:
            (artist.axes or self.figure).draw_artist(artist)
        self.figure.canvas.blit(self.figure.bbox)
        return self.figure.canvas.buffer_rgba()


FRAME = pandas.DataFrame(
    {"Open": OPEN, "High": HIGH, "Low": LOW, "Close": CLOSE, "Volume": VOLUME},
    index=pandas.to_datetime(BARS[:, 0], unit="ms"),
)
STYLE = mplfinance.make_mpf_style(
    marketcolors=mplfinance.make_marketcolors(
        up=COLORS["up"],
        down=COLORS["down"],
        edge="inherit",
        wick="inherit",
        volume={"up": COLORS["up_volume"], "down": COLORS["down_volume"]},
    ),
    facecolor=COLORS["background"],
    figcolor=COLORS["background"],
    gridcolor=COLORS["grid"],
    edgecolor=COLORS["border"],
    rc={"axes.labelcolor": COLORS["text"], "xtick.color": COLORS["text"], "ytick.color": COLORS["text"]},
    gridstyle="-",
    y_on_right=True,
)


def mplfinance_whole(close=None):
    if close is not None:
        FRAME.iloc[-1, 3] = close
    figure, axes = mplfinance.plot(
        FRAME,
        type="candle",
        volume=True,
        style=STYLE,
        returnfig=True,
        figsize=(WIDTH / DPI, HEIGHT / DPI),
        ylabel="",
        ylabel_lower="",
        xrotation=0,
        datetime_format="%H:%M",
        hlines={
            "hlines": [FRAME["Close"].iloc[-1]],
            "linestyle": "--",
            "linewidths": PIXEL,
            "colors": COLORS["up"],
        },
        update_width_config={
            "candle_width": PLAN["body"],
            "candle_linewidth": PIXEL,
            "volume_width": PLAN["body"],
            "volume_linewidth": 0,
        },
        scale_padding=0,
    )
    figure.set_dpi(DPI)
    prices, volumes = axes[0], axes[2]
    for pane, (top, bottom) in (
        (prices, (PLAN["header"], PLAN["volume"])),
        (volumes, (PLAN["volume"], PLAN["times"])),
    ):
        pane.set_position(box(top, bottom))
        pane.set_xlim(*PLAN["across"])
    prices.set_ylim(*PLAN["prices"])
    volumes.set_ylim(0, PLAN["volume_top"])
    for text in LEGEND:
        figure.text(
            text["x"] / WIDTH,
            1 - text["baseline"] / HEIGHT,
            text["text"],
            color=text["color"],
            fontproperties=font(text["size"]),
        )
    figure.canvas.draw()
    pixels = figure.canvas.buffer_rgba()
    plt.close(figure)
    return pixels


FONTS = {size: ImageFont.truetype(PLAN["font"], size) for size in {text["size"] for text in PLAN["texts"]}}


def pillow_whole(_=None):
    """All shapes and texts of our scene, in its order but for text, which comes last where shapes do not cover it."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), COLORS["background"])
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom, color, run in PLAN["solids"]:
        if run:
            for x in range(left, right + 1, 2 * run):
                draw.rectangle((x, top, min(x + run - 1, right), bottom), fill=color)
        else:
            draw.rectangle((left, top, right, bottom), fill=color)
    for text in PLAN["texts"]:
        draw.text(
            (text["x"], text["baseline"]),
            text["text"],
            fill=text["color"],
            font=FONTS[text["size"]],
            anchor="ls",
        )
    return image.tobytes()


def plotly():
    """Its graph objects, from the bench's own environment or from one that has it."""
    library = os.path.join(
        sys.argv[2], "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages"
    )
    sys.path.append(library)
    try:
        import plotly.graph_objects

        return plotly.graph_objects
    except ImportError:
        return None


GRAPH = plotly()


def plotly_json(_=None):
    times = FRAME.index
    figure = GRAPH.Figure(
        [
            GRAPH.Candlestick(
                x=times,
                open=OPEN,
                high=HIGH,
                low=LOW,
                close=CLOSE,
                increasing_line_color=COLORS["up"],
                decreasing_line_color=COLORS["down"],
            ),
            GRAPH.Bar(
                x=times,
                y=VOLUME,
                yaxis="y2",
                marker_color=numpy.where(RISES, COLORS["up_volume"], COLORS["down_volume"]),
            ),
        ]
    )
    figure.update_layout(
        width=WIDTH,
        height=HEIGHT,
        template="plotly_dark",
        showlegend=False,
        xaxis_rangeslider_visible=False,
        yaxis={"domain": [0.2, 1], "side": "right"},
        yaxis2={"domain": [0, 0.2], "side": "right"},
    )
    figure.add_hline(y=CLOSE[-1], line_dash="dash")
    return figure.to_json()


def timed(draw, count, *arguments):
    taken = []
    for place in range(count):
        began = time.perf_counter_ns()
        draw(*(argument(place) for argument in arguments))
        taken.append(time.perf_counter_ns() - began)
    return taken


def walk(place):
    """The close of a change: within the newest bar, another each time."""
    return LOW[-1] + (HIGH[-1] - LOW[-1]) * ((place * 7919) % 101) / 101


ONCE = Matplotlib()
LIVE = Matplotlib()


def pictures():
    LIVE.keep()
    answer = {
        "notes": [
            f"matplotlib {matplotlib.__version__}, mplfinance {mplfinance.__version__}, Pillow {Image.__version__}"
        ],
        "pictures": {},
    }
    drawn = {
        "matplotlib": ONCE.whole(),
        "matplotlib-blit": LIVE.blit(CLOSE[-1]),
        "mplfinance": mplfinance_whole(),
        "pillow": pillow_whole(),
    }
    for name, pixels in drawn.items():
        path = os.path.join(FOLDER, name)
        with open(path, "wb") as file:
            file.write(bytes(pixels))
        answer["pictures"][name] = path
    if GRAPH is None:
        answer["notes"].append("skipped: Plotly (no plotly)")
    else:
        plotly_json()
    return answer


def full(count):
    answer = {
        "matplotlib": timed(ONCE.whole, count),
        "mplfinance": timed(mplfinance_whole, 1),
        "pillow": timed(pillow_whole, count),
    }
    if GRAPH is not None:
        answer["plotly-json"] = timed(plotly_json, count)
    return {"ns": answer}


def delta(count):
    return {
        "ns": {
            "matplotlib-blit": timed(LIVE.blit, 4 * count, walk),
            "mplfinance": timed(mplfinance_whole, 1, walk),
        }
    }


# All imports are done.
print("{}", flush=True)
for line in sys.stdin:
    name, *count = line.split()
    answer = {"pictures": pictures, "full": full, "delta": delta}[name](*(int(word) for word in count))
    print(json.dumps(answer), flush=True)
