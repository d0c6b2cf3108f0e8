// The log of a member line by line, while somebody looks at it: a browser has few connections to one place, and hidden tabs take none.
"use strict";
(() => {
  const log = document.getElementById("log"), state = document.getElementById("log-state");
  if (!log || !window.EventSource) return;
  const MOST = 1000;
  let source = null, after = log.dataset.after, seen = false;

  const say = (text) => { state.textContent = text; };
  const bottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const add = (line) => {
    const row = document.createElement("span"), time = document.createElement("time");
    row.className = line.stream;
    time.textContent = line.time.slice(11, 23);
    row.append(time, ` ${line.text}\n`);
    const follow = bottom();
    log.append(row);
    while (log.childElementCount > MOST) log.firstElementChild.remove();
    if (follow) log.scrollTop = log.scrollHeight;
  };
  const open = () => {
    if (source) return;
    source = new EventSource(`${log.dataset.follow}?after=${encodeURIComponent(after)}`);
    const note = (event) => { if (event.lastEventId) after = event.lastEventId; };
    source.addEventListener("open", () => say("Live: new lines come by themselves."));
    source.addEventListener("hello", note);
    source.addEventListener("gap", (event) => { note(event); log.append("… lines left out …\n"); });
    source.addEventListener("line", (event) => { note(event); add(JSON.parse(event.data)); });
    source.addEventListener("error", () => { say("No connection: new lines follow when it is back."); if (source && source.readyState === EventSource.CLOSED) { close(); setTimeout(look, 5000); } });
  };
  const close = () => { if (source) { source.close(); source = null; } };
  const look = () => { if (seen && document.visibilityState === "visible") open(); else close(); };

  log.scrollTop = log.scrollHeight;
  new IntersectionObserver((entries) => { seen = entries[entries.length - 1].isIntersecting; look(); }).observe(log);
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", close);
})();
