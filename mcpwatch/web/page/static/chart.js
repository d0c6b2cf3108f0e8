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
    const axis = () => ({ stroke: colour("--soft"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
    const last = at.length ? at[at.length - 1] + 3600 : 0;
    const one = (label, values, stroke, top) => new window.uPlot({
      width: Math.max(240, place.clientWidth), height: 180, title: label,
      scales: { x: { time: true, range: [last - 90 * 3600, last] }, y: { range: (_, low, high) => [0, top || Math.max(1, high * 1.1)] } },
      axes: [axis(), axis()], series: [{}, { label, stroke, width: 2, points: { show: rows.length < 30 } }],
    }, [at, values], place);
    one("Good, %", column(1), colour("--good"), 100.5);
    one("Connect p95, ms", column(2), colour("--planned"));
  };
  document.addEventListener("DOMContentLoaded", draw);
  document.addEventListener("refreshed", draw);
  let waiting = null;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 100); });
})();
