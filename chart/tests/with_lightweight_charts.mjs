// Lets lightweight-charts label its axes, and tells which labels it drew.
//
// The first argument is the folder that its packages are in. Reads a line of JSON for each chart from standard input:
//
//     { rows, low, high, digits, rowsApart, spacing, times }
//
// The price axis has so many rows, from the price `low` to the price `high`, which have so many decimal places, and its
// labels are to be at least `rowsApart` rows apart. `times`, in seconds, are those of the bars, which are `spacing`
// pixels apart. Writes a line of JSON for each: { prices, times }.
//
// It draws on canvases that paint nothing and remember the texts. The labels are told apart by what its formatters put
// before them.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { JSDOM } = require("jsdom");

const { window } = new JSDOM("<!doctype html><body></body>", { pretendToBeVisual: true });
const texts = [];

function context(canvas) {
  const own = {
    canvas,
    fillText: (text) => texts.push(text),
    measureText: (text) => ({ width: 6 * text.length, actualBoundingBoxAscent: 9, actualBoundingBoxDescent: 3 }),
    createLinearGradient: () => ({ addColorStop() {} }),
  };
  return new Proxy(own, { get: (own, key) => (key in own ? own[key] : () => {}) });
}

window.HTMLCanvasElement.prototype.getContext = function () {
  return (this.context ??= context(this));
};
window.matchMedia = () => ({ addListener() {}, removeListener() {}, addEventListener() {}, removeEventListener() {} });
// Nobody looks: the next frame is now.
window.requestAnimationFrame = (draw) => setImmediate(() => draw(window.performance.now()));
window.cancelAnimationFrame = (frame) => clearImmediate(frame);

// What the library takes for given in a browser.
const globals = ["document", "location", "navigator", "HTMLElement", "getComputedStyle", "requestAnimationFrame", "cancelAnimationFrame"];
globalThis.window = window;
for (const name of globals) globalThis[name] ??= window[name];

const library = "node_modules/lightweight-charts/dist/lightweight-charts.production.mjs";
const lwc = await import(pathToFileURL(`${process.argv[2]}/${library}`));
const fontSize = 12;

function chartOf({ rows, low, high, digits, rowsApart, spacing, times }) {
  const place = window.document.body.appendChild(window.document.createElement("div"));
  const chart = lwc.createChart(place, {
    width: times.length * spacing + 400,
    height: rows + 100,
    layout: { fontSize, attributionLogo: false },
    rightPriceScale: { scaleMargins: { top: 0, bottom: 0 }, tickMarkDensity: rowsApart / fontSize },
    timeScale: {
      barSpacing: spacing,
      timeVisible: true,
      secondsVisible: true,
      tickMarkFormatter: (time) => `time ${time}`,
    },
  });
  const minMove = 10 ** -digits;
  const series = chart.addSeries(lwc.CandlestickSeries, {
    lastValueVisible: false,
    priceLineVisible: false,
    priceFormat: { type: "custom", minMove, formatter: (price) => `price ${price}` },
    autoscaleInfoProvider: () => ({ priceRange: { minValue: low, maxValue: high } }),
  });
  series.setData(times.map((time) => ({ time, open: low, high, low, close: high })));
  return chart;
}

async function labels(question) {
  const chart = chartOf(question);
  const frame = () => new Promise((resolve) => window.requestAnimationFrame(resolve));
  for (let count = 0; count < 3; count++) await frame();
  // The price axis is as high as the chart less the time axis.
  const { width, height } = chart.options();
  chart.resize(width, height + question.rows - chart.paneSize().height);
  for (let count = 0; count < 3; count++) await frame();
  if (chart.paneSize().height !== question.rows) throw new Error(`${chart.paneSize().height} rows`);
  if (chart.timeScale().options().barSpacing !== question.spacing) throw new Error("another spacing");
  const range = chart.priceScale("right").getVisibleRange();
  if (range.from !== question.low || range.to !== question.high) throw new Error("another range");
  texts.length = 0;
  chart.applyOptions({ layout: { textColor: "black" } });
  for (let count = 0; count < 3; count++) await frame();
  const of = (kind) => texts.filter((text) => text.startsWith(kind)).map((text) => Number(text.slice(kind.length)));
  const sorted = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);
  const answer = { prices: sorted(of("price ")), times: sorted(of("time ")) };
  chart.remove();
  return answer;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await labels(JSON.parse(line))));
}
process.exit(0);
