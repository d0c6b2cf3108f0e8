// Keeps the page as the fleet is: rows come ready-made over one event stream, everything else is asked for again when it changed.
// Nothing is polled. A lost stream is said, with its time, and caught up with when it is back.
"use strict";
(() => {
  const main = document.getElementById("main");
  const stale = document.getElementById("stale");
  const topics = (main.dataset.live || "").split(" ").filter(Boolean);
  if (!topics.length || !window.EventSource) return;
  let lostAt = null, asking = false, again = false, timer = null;

  const lost = () => {
    if (lostAt === null) {
      lostAt = new Date();
      stale.textContent = `No connection to mcpwatch since ${lostAt.toLocaleTimeString()}: what is shown is from then.`;
      stale.hidden = false;
      document.body.classList.add("old");
    }
  };
  const found = () => {
    lostAt = null;
    stale.hidden = true;
    stale.textContent = "";
    document.body.classList.remove("old");
  };
  // What the reader opened stays open, and the log has a stream of its own.
  const kept = (old, fresh) => {
    if (old.id === "log" || old.id === "log-state") return false;
    if (old.tagName === "DETAILS" && fresh.tagName === "DETAILS") fresh.open = old.open;
    return true;
  };
  const morph = (old, text) => {
    const focused = document.activeElement && document.activeElement.id;
    window.Idiomorph.morph(old, text, { morphStyle: "outerHTML", ignoreActiveValue: true, restoreFocus: true, callbacks: { beforeNodeMorphed: kept } });
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
  };
  const head = (doc) => {
    document.title = doc.title;
    const icon = doc.getElementById("icon");
    if (icon) document.getElementById("icon").href = icon.getAttribute("href");
  };
  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Part": "main" }, credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect") { location.assign("/login"); return; }
      if (answer.ok) {
        const doc = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = doc.getElementById("main");
        if (fresh) { morph(main, fresh.outerHTML); head(doc); document.dispatchEvent(new Event("refreshed")); }
        found();
      }
    } catch { lost(); } finally {
      asking = false;
      if (again) { again = false; soon(); }
    }
  };
  const soon = (wait = 250) => { if (timer === null) timer = setTimeout(() => { timer = null; refresh(); }, wait + Math.random() * wait); };

  const apply = (message) => {
    if (topics.includes("rows")) {
      for (const [id, html] of Object.entries(message.rows)) {
        const row = document.getElementById(id);
        if (row) morph(row, html);
      }
      const now = document.getElementById("now");
      if (now) {
        morph(now, message.now);
        document.title = document.title.replace(/^\(\d+\) /, "");
        if (message.bad) document.title = `(${message.bad}) ${document.title}`;
        document.getElementById("icon").href = `/static/${message.bad ? "bad" : "ok"}.svg`;
      }
      if (message.kinds.includes("plan_applied")) soon();
    } else if (topics.some((topic) => topic === "*" || message.subjects.includes(topic) || message.kinds.includes(topic))) soon();
  };

  const source = new EventSource("/live");
  source.addEventListener("change", (event) => { found(); apply(JSON.parse(event.data)); });
  source.addEventListener("hello", () => { if (lostAt !== null) refresh(); else found(); });
  source.addEventListener("reset", () => refresh());
  source.addEventListener("error", () => { lost(); if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000); });
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
