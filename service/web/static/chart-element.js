// <currency-chart>: the chart as a web component, for pages of other sites. The content of the tag is shown until the
// publications are loaded.
import style from "../assets/chart.css";
import { mount } from "./chart.js";
import { languageOf } from "./language.js";

const HERE = new URL(".", import.meta.url);
const RANGES = ["1m", "3m", "1y", "5y", "all"];
const THEMES = ["auto", "system", "light", "dark", "transparent"];
const RETRY = 15;
const LONGEST_RETRY = 900;
const sheet = new CSSStyleSheet();
const elements = new Set();
const pageLanguage = new MutationObserver(() => elements.forEach((element) => element.load()));
addEventListener("visibilitychange", () => document.hidden || elements.forEach((element) => element.overdue()), true);

class CurrencyChart extends HTMLElement {
  static observedAttributes = ["ticker", "currency", "range", "lang", "theme"];

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
    this.box = document.createElement("div");
    this.box.append(document.createElement("slot"));
    this.shadowRoot.append(this.box);
    this.dress();
  }

  connectedCallback() {
    if (!elements.size) pageLanguage.observe(document.documentElement, { attributeFilter: ["lang"] });
    elements.add(this);
    this.load();
  }

  disconnectedCallback() {
    elements.delete(this);
    if (!elements.size) pageLanguage.disconnect();
    clearTimeout(this.timer);
    this.url = null;
  }

  attributeChangedCallback(name, old, now) {
    if (!this.isConnected || old === now) return;
    if (name === "theme") this.dress();
    else if (name === "range") this.chart?.set(this.one("range", RANGES, "1y"));
    else this.load();
  }

  one(name, values, fallback) {
    const value = (this.getAttribute(name) ?? "").trim().toLowerCase();
    if (values.includes(value)) return value;
    if (value) console.warn(`<currency-chart>: unknown ${name} "${value}"; known are ${values.join(", ")}`);
    return fallback;
  }

  dress() {
    this.box.className = this.box.part = "chart";
    this.box.classList.add("box", this.one("theme", THEMES, "auto"));
    this.chart?.say(this.away ? this.chart.text.away : "");
  }

  // Loads the publications if the attributes select others than those that are shown or being loaded.
  load() {
    const code = (this.getAttribute("currency") ?? "").trim().toLowerCase();
    if (!code) return console.warn("<currency-chart>: the attribute currency is missing");
    const query = new URLSearchParams({ lang: languageOf(this) });
    const ticker = (this.getAttribute("ticker") ?? "").trim();
    if (ticker) query.set("ticker", ticker);
    const url = new URL(`v1/chart/${encodeURIComponent(code)}?${query}`, HERE).href;
    if (url === this.url) return;
    this.url = url;
    this.failures = 0;
    // Publications of another currency would be wrong; those in another language stay until the new ones are loaded.
    if (this.shown !== `${ticker} ${code}`) this.clear();
    this.wanted = `${ticker} ${code}`;
    this.refresh();
  }

  overdue() {
    if (Date.now() > this.due) this.refresh();
  }

  async refresh() {
    const url = this.url;
    clearTimeout(this.timer);
    let wait;
    try {
      const response = await fetch(url, {
        // A cache may return an old response once more while it fetches the new one.
        cache: url === this.loaded ? "no-cache" : "default",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(15000),
      });
      if (!response.ok) throw Error(String(response.status));
      const text = await response.text();
      if (url !== this.url) return;
      this.take(text);
      this.loaded = url;
      this.failures = 0;
      this.away = false;
      const age = /max-age=(\d+)/.exec(response.headers.get("cache-control"))?.[1];
      wait = Math.max(60, age);
    } catch {
      if (url !== this.url) return;
      wait = Math.min(RETRY * 2 ** this.failures++, LONGEST_RETRY);
      if (this.failures > 1 && !this.away) {
        this.away = true;
        this.send("chart-error", { message: `no publications from ${url}` });
      }
    }
    this.dress();
    wait *= 1000 * (1 + Math.random() / 4);
    this.due = Date.now() + wait;
    this.timer = setTimeout(() => document.hidden || this.refresh(), wait);
  }

  take(text) {
    if (text === this.text) return;
    const data = JSON.parse(text);
    const before = this.chart && this.shown === this.wanted;
    this.text = text;
    this.shown = this.wanted;
    if (before) this.chart.update([data]);
    else {
      const changed = (range) => this.send("chart-range", { range });
      this.chart = mount(this.box, [data], { range: this.one("range", RANGES, "1y"), changed });
    }
    this.send(before ? "chart-change" : "chart-ready", data);
  }

  clear() {
    this.chart?.destroy();
    this.chart = this.text = this.shown = null;
    this.box.replaceChildren(document.createElement("slot"));
  }

  send(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

sheet.replaceSync(style);
customElements.get("currency-chart") ?? customElements.define("currency-chart", CurrencyChart);
