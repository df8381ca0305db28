// <currency-ticker>: the strip as a web component, for pages of other sites. Its texts are formatted by the service.
// The content of the tag is shown until data is loaded.
import style from "../assets/strip.css";
import { languageOf } from "./language.js";
import { Refresh } from "./refresh.js";
import { replace } from "./replace.js";

const HERE = new URL(".", import.meta.url).href;
const VALUES = ["rate", "buy", "sell", "change", "percent"];
const THEMES = ["auto", "system", "light", "dark", "transparent"];
const LAYOUTS = ["strip", "list", "tape"];
const PERIODS = ["day", "week", "month", "year", "ytd"];
const ARROWS = { up: "▲", down: "▼", flat: "■" };
const sheet = new CSSStyleSheet();
const warned = {};

// One feed per URL, shared by all elements. A few feeds without elements are cached for new elements.
const feeds = new Map();

class Feed {
  static of(ticker, lang, live, spark, period) {
    const query = new URLSearchParams({ lang, ...(spark && { spark: 1 }), ...(period !== PERIODS[0] && { period }) });
    const url = `${HERE}v1/ticker${ticker && `/${encodeURIComponent(ticker)}`}?${query}`;
    const key = url + live;
    let feed = feeds.get(key);
    if (!feed) {
      for (const [old, { elements }] of feeds) if (feeds.size > 7 && !elements.size) feeds.delete(old);
      feeds.set(key, (feed = new Feed(url, live && `${HERE}v1/stream?${query}`, ticker)));
    }
    return feed;
  }

  constructor(url, stream, ticker) {
    this.elements = new Set();
    const take = (text) => this.take(text);
    this.refresh = new Refresh(url, stream, ticker, {
      read: take,
      received: take,
      streamed: true,
      failed: (times) => times > 1 && !this.away && this.fail(),
    });
  }

  take(text) {
    const data = JSON.parse(text);
    if (!data.quotes?.length || !data.text) throw Error();
    const shown = JSON.stringify([data.quotes, data.text]);
    const before = this.shown;
    const changed = shown !== before || this.away;
    Object.assign(this, { data, shown, away: false });
    if (changed) this.show();
    if (before && shown !== before) this.send("ticker-change", data);
  }

  fail() {
    this.away = true;
    this.show();
    this.send("ticker-error", { message: `no rates from ${this.refresh.url}` });
  }

  show() {
    for (const element of this.elements) element.render();
  }

  send(name, detail) {
    for (const element of this.elements) element.send(name, detail);
  }

  add(element) {
    this.elements.add(element);
    this.refresh.start();
  }

  remove(element) {
    this.elements.delete(element);
    if (!this.elements.size) this.refresh.stop();
  }
}

function make(name, part, ...children) {
  const svg = /svg|path|title/.test(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  if (part) node.classList = node.part = part;
  node.append(...children);
  return node;
}

class CurrencyTicker extends HTMLElement {
  static observedAttributes = ["ticker", "currencies", "lang", "theme", "layout", "show", "live", "spark", "period"];

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
    this.shadowRoot.append(make("slot"));
  }

  connectedCallback() {
    this.follow();
  }

  disconnectedCallback() {
    this.feed?.remove(this);
    this.feed = null;
  }

  attributeChangedCallback() {
    if (this.isConnected) this.follow();
  }

  follow() {
    const ticker = this.get("ticker");
    const feed = Feed.of(ticker, languageOf(this), this.has("live"), this.has("spark"), this.one("period", PERIODS));
    if (feed !== this.feed) {
      this.feed?.remove(this);
      this.feed = feed;
      feed.add(this);
      // Keep the old language until the new one is loaded; rates of another ticker would be wrong.
      if (ticker !== this.shownTicker) this.data = null;
    }
    this.shownTicker = ticker;
    this.render();
  }

  get(name) {
    return (this.getAttribute(name) ?? "").trim().toLowerCase();
  }

  has(name) {
    return this.hasAttribute(name) && this.get(name) !== "false";
  }

  words(name) {
    return this.get(name).match(/[^\s,]+/g) ?? [];
  }

  one(name, values) {
    return this.some(name, values)[0] ?? values[0];
  }

  // The words of an attribute that are known; each unknown one is reported once.
  some(name, values) {
    const known = new Set();
    for (const word of this.words(name)) {
      const message = `<currency-ticker>: unknown ${name} "${word}"; known are ${values.join(", ")}`;
      if (values.includes(word)) known.add(word);
      else warned[message] ??= [console.warn(message, this)];
    }
    return [...known];
  }

  render() {
    const layout = this.one("layout", LAYOUTS);
    const data = (this.data = this.feed?.data ?? this.data);
    const codes = data?.quotes.map(({ code }) => code.toLowerCase()) ?? [];
    const named = data && this.get("currencies") ? this.some("currencies", codes) : codes;
    const picked = named.map((code) => data.quotes[codes.indexOf(code)]);
    // That of the ticker, unless the quotes that are shown are current.
    const status = picked.some(({ status }) => status && status !== "current") ? data.status : "current";
    const box = make("div", `ticker ${layout} ${status} ${this.one("theme", THEMES)} ${this.feed?.away ? "away" : ""}`);
    // Without any known currency the content of the tag stays, instead of others.
    if (picked[0]) this.fill(box, layout, data, picked, status);
    else {
      box.append(make("slot"));
      // Reserve the minimum height of the rows and the footer of a list, to avoid a layout shift.
      if (layout === "list") box.style.minHeight = `calc(${3.7 * (this.words("currencies").length || 5) + 3.84}em + 2px)`;
    }
    replace(this.shadowRoot.firstChild, box);
    if (picked[0] && !this.ready) {
      this.ready = true;
      queueMicrotask(() => this.send("ticker-ready", data));
    }
  }

  send(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  fill(box, layout, { base, text, as_of }, picked, status) {
    const named = this.some("show", VALUES);
    const wanted = named.length ? named : [layout !== "strip" && "rate", "percent"];
    const show = VALUES.filter((value) => wanted.includes(value));
    box.lang = text.lang;
    box.dir = text.dir;

    const list = make("ul");
    list.ariaLabel = text.label;
    list.role = "list";
    const said = (before, after) =>
      [status !== "current" && text.status, this.feed?.away && text.away].flatMap((words) => {
        const node = make("span", "status", words);
        node.lang = text.words;
        return words ? [before, node, after] : [];
      });
    list.append(...picked.map((quote) => this.quote(quote, layout, show, base, said(", ", ""))));
    const date = make("p", "date");
    if (layout === "list") date.append(...said("", ": "), text.footer);
    else {
      const time = make("time", "", text.date);
      time.dateTime = as_of;
      date.title = text.footer;
      date.append(make("bdi", "source", text.sources), ", ", time, ...said(", ", ""));
    }
    // The first stop of the Tab key, before quotes that move.
    if (layout === "tape") {
      const pause = make("button", "pause");
      pause.ariaLabel = text.pause;
      box.append(pause);
    }
    box.append(make("div", "view", list), date);
  }

  quote({ code, direction: today, text }, layout, show, base, status) {
    const { direction = today } = text; // over the period of the texts
    const item = make("li", `quote ${direction ?? "none"}`);
    const seen = make("span", "seen");
    seen.title = text.details;
    seen.ariaHidden = "true";
    const eye = (...parts) => seen.append(make("span", ...parts), " ");
    eye("code", code.toLowerCase());
    if (layout === "list") eye("name", text.name, make("span", "note", text.note));
    // The rate in place of buying and selling rates that the source lacks.
    const shown = new Set(show.map((value) => (text[value] ? value : "rate")));
    const heard = [text.sentence];
    for (const value of shown) {
      eye(value, text[value]);
      if (value !== "percent") heard.push(text[value]);
    }
    if (direction && /c/.test(show)) eye("arrow", ARROWS[direction]); // change or percent
    if (text.own_date) eye("own-date", text.own_date);
    const more = make("button", "more", seen, make("span", "said", heard.join(", ")));
    more.setAttribute("popovertarget", code);
    const details = make("div", "details", make("b", "", text.name));
    details.id = code;
    details.popover = "";
    text.receipts?.forEach((path, at) => {
      const link = make("a", "", at ? text.previous : text.rate, ` ${base}`);
      link.href = HERE + path.slice(1);
      link.target = "_blank";
      details.append(link, make("span", "", at ? text.previous_date : text.date));
    });
    details.append(make("p", "", text.note || text.source, ...status));
    item.append(more, details);
    if (layout === "list" && text.spark) {
      const line = make("path");
      const spark = make("svg", "spark", make("title", "", text.spark_label), line);
      line.setAttribute("d", text.spark);
      spark.setAttribute("viewBox", "0 0 240 64");
      spark.role = "img";
      item.append(spark);
    }
    return item;
  }
}

sheet.replaceSync(style);
new MutationObserver(() => {
  for (const { elements } of feeds.values()) for (const element of elements) element.follow();
}).observe(document.documentElement, { attributeFilter: ["lang"] });
customElements.get("currency-ticker") ?? customElements.define("currency-ticker", CurrencyTicker);
