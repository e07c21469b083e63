"use strict";
// Live updates and niceties. Every page works without this file.

// Times in the viewer's zone; what was written stays as the title.
const localTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const localShort = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const localise = (root) => {
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.textContent;
    time.textContent = (time.hasAttribute("data-short") ? localShort : localTime).format(at);
    time.setAttribute("data-local", "");
  }
};
localise(document);

for (const field of document.querySelectorAll("[data-select]")) {
  field.addEventListener("focus", () => field.select());
}

// The zone of the viewer, for reports that are cut into days.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (/^[A-Za-z0-9_+\-/]{1,64}$/.test(zone)) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `weir-zone=${zone}; Path=/console; SameSite=Strict; Max-Age=31536000${secure}`;
}

// A form that was sent says so, and is not sent twice by a second click.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.getAttribute("aria-busy") === "true") {
    event.preventDefault();
    return;
  }
  form.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[aria-busy]")) form.removeAttribute("aria-busy");
});

// What a chart says where it is pointed at.
document.addEventListener("pointerover", (event) => {
  const chart = event.target instanceof Element ? event.target.closest(".chart") : null;
  if (!chart) return;
  const say = chart.querySelector("[data-say]");
  const hit = event.target.closest("[data-told]");
  say.dataset.whole ??= say.textContent;
  if (!hit) {
    say.textContent = say.dataset.whole;
    return;
  }
  const from = localShort.format(new Date(hit.dataset.at));
  say.textContent = `${from}: ${hit.dataset.told}`;
});
document.addEventListener("pointerout", (event) => {
  const chart = event.target instanceof Element ? event.target.closest(".chart") : null;
  if (!chart || chart.contains(event.relatedTarget)) return;
  const say = chart.querySelector("[data-say]");
  if (say.dataset.whole) say.textContent = say.dataset.whole;
});

// Parts of a page that look again by themselves, while the page is looked at and nobody is in them.
const parts = () => [...document.querySelectorAll("[data-refresh]")];
const isBusy = (part) => part.contains(document.activeElement) || part.querySelector(".chart:hover, details[open]") !== null;
const looked = new Map();
const look = async () => {
  const waiting = parts().filter((part) => !isBusy(part));
  if (!document.hidden && waiting.length > 0) {
    try {
      const answer = await fetch(location.href, { headers: { "weir-refresh": "1" }, credentials: "same-origin" });
      if (answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of waiting) {
        const news = answer.ok ? page.getElementById(part.id) : null;
        if (!news || news.innerHTML === looked.get(part.id) || isBusy(part)) continue;
        looked.set(part.id, news.innerHTML);
        part.replaceChildren(...document.importNode(news, true).childNodes);
        if (!("refresh" in news.dataset)) delete part.dataset.refresh;
        localise(part);
      }
    } catch {
      // The server is away for a moment; the next look may find it.
    }
  }
  soon();
};
const soon = () => {
  const every = parts().map((part) => Number(part.dataset.refresh));
  if (every.length > 0) setTimeout(look, Math.min(...every));
};
soon();

// Live figures, while the page is looked at.
const state = document.querySelector("[data-live-state]");
if (state && "EventSource" in window) {
  const text = state.querySelector("[data-live-text]");
  const said = document.querySelector("[data-live-said]");
  const SAY_EVERY_MS = 20000;
  const AGAIN_MS = 5000;
  let source = null;
  let last = "";
  let lastSaid = Date.now();
  let timer = 0;

  const show = (is, words) => {
    state.dataset.is = is;
    text.textContent = words;
  };
  const put = (element, value) => {
    if (element.textContent === value) return;
    element.textContent = value;
    if (element.localName === "data") element.value = value.replaceAll(",", "");
  };
  const take = (figures) => {
    for (const element of document.querySelectorAll("[data-live]")) {
      const value = figures[element.dataset.live];
      if (value !== undefined) put(element, value);
    }
    // A screen reader hears the figure now and then, not every second.
    if (said && figures.available !== last && Date.now() - lastSaid > SAY_EVERY_MS) {
      said.textContent = `Current Available: ${figures.available} tokens`;
      lastSaid = Date.now();
    }
    last = figures.available;
  };
  const stop = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const again = () => {
    stop();
    timer = setTimeout(start, AGAIN_MS);
  };
  const start = () => {
    stop();
    source = new EventSource(state.dataset.liveState);
    source.onopen = () => show("on", "Live");
    source.onmessage = (event) => take(JSON.parse(event.data));
    source.onerror = () => {
      show("off", "Not live; trying again");
      again();
    };
    source.addEventListener("end", (event) => {
      if (event.data === "signed_out") {
        stop();
        show("off", "Signed out; these figures stand still");
      } else if (event.data === "elsewhere") {
        stop();
        show("off", "Paused: live in other windows");
      } else {
        show("off", "Not live; trying again");
        again();
      }
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop();
      show("off", "Paused");
    } else {
      start();
    }
  });
  if (!document.hidden) start();
}
