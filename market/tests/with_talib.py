"""What TA-Lib, or a few plain lines, make of candles.

Arguments: a file of candles, a file to write, and indicators as chartd's configuration writes them.

A candle is a line: opening time in milliseconds, open, high, low, close, volume, as integers, and the two numbers of
decimal places. Written are, indicator after indicator and line after line, one little-endian float64 for each candle,
NaN where there is no value.
"""

import re
import sys
from collections import deque
from fractions import Fraction

import numpy as np
import talib

with open(sys.argv[1]) as file:
    candles = [[int(number) for number in line.split()] for line in file]
time, opens, highs, lows, closes, volumes, price_digits, qty_digits = zip(*candles)
price_scale, qty_scale = 10 ** price_digits[0], 10 ** qty_digits[0]
# Dividing by a power of ten rounds once: to the number that reading the decimal text would give.
high, low, close = (np.array([price / price_scale for price in column]) for column in (highs, lows, closes))
volume = np.array([qty / qty_scale for qty in volumes])


def ema(length, seed="sma"):
    if seed == "sma":
        return talib.EMA(close, length)
    values, alpha = [close[0]], 2 / (length + 1)
    for price in close[1:]:
        values.append(alpha * price + (1 - alpha) * values[-1])
    return np.array(values)


def rma(length):
    values = np.full(len(close), np.nan)
    values[length - 1] = close[:length].mean()
    for bar in range(length, len(close)):
        values[bar] = (values[bar - 1] * (length - 1) + close[bar]) / length
    return values


def vwap(anchor="day"):
    """Exact fractions, rounded once at the end."""
    values, window = [], deque()
    money = total = day = 0
    for bar, (h, l, c, v) in enumerate(zip(highs, lows, closes, volumes)):
        if anchor == "day" and time[bar] // 86_400_000 != day:
            money = total = 0
            day = time[bar] // 86_400_000
        window.append(((h + l + c) * v, v))
        money, total = money + window[-1][0], total + v
        if isinstance(anchor, int) and len(window) > anchor:
            old = window.popleft()
            money, total = money - old[0], total - old[1]
        complete = not isinstance(anchor, int) or len(window) == anchor
        known = complete and total > 0
        values.append(float(Fraction(money, 3 * total * price_scale)) if known else np.nan)
    return np.array(values)


INDICATORS = {
    "sma": lambda length: [talib.SMA(close, length)],
    "ema": lambda *numbers: [ema(*numbers)],
    "wma": lambda length: [talib.WMA(close, length)],
    "rma": lambda length: [rma(length)],
    "vwap": lambda *anchor: [vwap(*anchor)],
    "bollinger": lambda length, width: talib.BBANDS(close, length, width, width),
    "rsi": lambda length: [talib.RSI(close, length)],
    "macd": lambda fast, slow, signal: talib.MACD(close, fast, slow, signal),
    "atr": lambda length: [talib.ATR(high, low, close, length)],
    "stochastic": lambda length, smooth, signal: talib.STOCH(high, low, close, length, smooth, 0, signal, 0),
    "obv": lambda: [talib.OBV(close, volume)],
}


def number(text):
    try:
        return int(text)
    except ValueError:
        return float(text) if text[0].isdigit() else text


with open(sys.argv[2], "wb") as output:
    for spec in sys.argv[3:]:
        name, *arguments = re.findall(r"[a-z0-9.]+", spec)
        for line in INDICATORS[name](*map(number, arguments)):
            assert len(line) == len(candles), spec
            line.astype("<f8").tofile(output)
