// Draws the table of hours; the table is what is true, and what people without the drawing read.
"use strict";
(() => {
  const draw = () => {
    const table = document.getElementById("hours"), place = document.getElementById("charts");
    if (!table || !place || !window.uPlot) return;
    place.replaceChildren();
    const rows = [...table.tBodies[0].rows];
    const at = rows.map((row) => Number(row.cells[0].dataset.at));
    const column = (index) => rows.map((row) => { const n = parseFloat(row.cells[index].textContent); return Number.isFinite(n) ? n : null; });
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = (more) => ({ stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, ...more });
    const two = (n) => String(n).padStart(2, "0");
    const times = (_, splits) => splits.map((t) => { const d = new Date(t * 1000); return d.getUTCHours() || d.getUTCMinutes() ? `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}` : `${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`; });
    const last = at.length ? at[at.length - 1] + 3600 : 0, first = Math.max(last - 90 * 3600, Math.min(at[0], last - 6 * 3600));
    const boxes = [0, 1].map(() => place.appendChild(document.createElement("div")));
    const one = (box, title, values, stroke, top) => {
      new window.uPlot({
        width: Math.max(240, box.clientWidth), height: 190, title, legend: { show: false }, tzDate: (t) => window.uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
        scales: { x: { time: true, range: [first, last] }, y: { range: (_, low, high) => top ? [low >= 99 ? 99 : low >= 90 ? 90 : 0, top] : [0, Math.max(1, high * 1.1)] } },
        axes: [axis({ values: times, space: 60 }), axis()], series: [{}, { label: title, stroke, width: 2, points: { show: rows.length < 30 } }],
      }, [at, values], box);
    };
    one(boxes[0], "Good, %", column(1), colour("--good"), 100);
    one(boxes[1], "Connect p95, ms", column(2), colour("--planned"));
  };
  document.addEventListener("DOMContentLoaded", draw);
  document.addEventListener("refreshed", draw);
  let waiting = null;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 100); });
})();
