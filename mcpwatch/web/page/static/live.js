// Keeps the page as the fleet is: rows come ready-made over one event stream, everything else is asked for again when it changed.
// Nothing is polled. A lost stream is said, with the time of what is shown, and caught up with when it is back.
"use strict";
(() => {
  const main = document.getElementById("main");
  const stale = document.getElementById("stale");
  const topics = (main.dataset.live || "").split(" ").filter(Boolean);
  if (!topics.length || !window.EventSource) return;
  // The server says something each 15 s, 25 s at the latest: longer silence is a connection that is gone and does not say so.
  const SILENCE = 45000, LOOK = 5000, OTHERS = 10000;
  // An answer may be as old as this: it is one for all who look at the same view for a second.
  const SHARED = 1100;
  let isLost = false, heard = Date.now(), changed = 0, last = main.dataset.after || "", source = null, asking = false, again = false, asked = Date.now(), timer = null;

  const lost = () => {
    if (isLost) return;
    isLost = true;
    stale.textContent = `No connection to mcpwatch since ${new Date(heard).toISOString().slice(11, 19)} UTC: what is shown is from then.`;
    stale.hidden = false;
    document.body.classList.add("old");
  };
  const found = () => {
    isLost = false;
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
  const morph = (old, text, style) => {
    const focused = document.activeElement && document.activeElement.id;
    window.Idiomorph.morph(old, text, { morphStyle: style, ignoreActiveValue: true, restoreFocus: true, callbacks: { beforeNodeMorphed: kept } });
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
    const where = location.href, began = asked = Date.now();
    try {
      const answer = await fetch(where, { headers: { "X-Part": "main" }, credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect") { location.assign("/login"); return; }
      if (answer.ok) {
        const doc = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = doc.getElementById("main");
        if (where !== location.href) again = true; // asked for another view meanwhile
        else if (fresh) { morph(main, fresh.innerHTML, "innerHTML"); head(doc); document.dispatchEvent(new Event("refreshed")); }
        if (source.readyState === EventSource.OPEN) found();
        if (changed > began - SHARED) soon(1500); // what came meanwhile is newer than this answer may be
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
        if (row) morph(row, html, "outerHTML");
      }
      const now = document.getElementById("now");
      if (now) {
        morph(now, message.now, "outerHTML");
        document.title = document.title.replace(/^\(\d+\) /, "");
        if (message.bad) document.title = `(${message.bad}) ${document.title}`;
        document.getElementById("icon").href = `/static/${message.bad ? "bad" : "ok"}.svg`;
      }
      // Order, counts, and what stands on which page: one answer serves all who look at the same view for a second.
      if (message.kinds.some((kind) => kind === "route_changed" || kind === "plan_applied")) soon(1500);
    } else if (topics.some((topic) => topic === "*" || message.subjects.includes(topic) || message.kinds.includes(topic))) soon();
  };

  // Other fleets tell this page nothing: it asks again with what the stream says, changes and beats alike.
  const others = () => { if (topics.includes("others") && Date.now() - asked > OTHERS) soon(); };
  const open = () => {
    source = new EventSource(last ? `/live?after=${encodeURIComponent(last)}` : "/live");
    const on = (name, act) => source.addEventListener(name, (event) => { heard = Date.now(); if (event.lastEventId) last = event.lastEventId; act(event); others(); });
    on("change", (event) => { found(); changed = Date.now(); apply(JSON.parse(event.data)); });
    on("hello", () => { if (isLost) refresh(); else found(); });
    on("reset", () => refresh());
    on("beat", found);
    source.addEventListener("error", () => { lost(); if (source.readyState === EventSource.CLOSED) setTimeout(open, LOOK + Math.random() * LOOK); });
  };
  open();
  setInterval(() => {
    if (Date.now() - heard < SILENCE || source.readyState === EventSource.CLOSED) return;
    lost();
    source.close();
    open();
    heard = Date.now();
  }, LOOK);
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // Searching and filtering without a reload; the address says what is shown. Without this script the button does it.
  const form = document.querySelector("form.filter");
  if (!form) return;
  const usual = { sort: "health" };
  let typing = null;
  const show = () => {
    clearTimeout(typing);
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value && usual[name] !== value) asked.set(name, value);
    const address = asked.size ? `/?${asked}` : "/";
    if (address === location.pathname + location.search) return;
    history.replaceState(null, "", address);
    refresh();
  };
  form.addEventListener("input", (event) => { clearTimeout(typing); typing = setTimeout(show, event.target.type === "search" ? 150 : 0); });
  form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
})();
