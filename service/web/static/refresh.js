// Polls a URL at the interval of Cache-Control, pauses while the page is hidden, and retries with backoff on failures.
// With an event stream it receives updates, and polls less often.
import { subscribe } from "./stream.js";

const wait = (seconds) => seconds * 1000 * (1 + Math.random() / 4);

export class Refresh {
  // `stream` is the URL of the event stream without the `ticker`, if there is one.
  // Callbacks: `read(text)` for a successful response, `failed(times)`, `received(data)` for an event, which has
  // the rates if they are `streamed`.
  constructor(url, stream, ticker, callbacks) {
    Object.assign(this, callbacks, { url, stream, ticker, due: 0, listenAt: 0, failures: 0, broken: 0 });
  }

  start() {
    if (this.on) return;
    this.on = true;
    document.addEventListener("visibilitychange", this);
    addEventListener("online", this);
    this.handleEvent();
  }

  stop() {
    this.on = false;
    document.removeEventListener("visibilitychange", this);
    removeEventListener("online", this);
    this.pause();
  }

  handleEvent(event) {
    if (event?.type === "online") this.due = 0;
    if (document.hidden) this.pause();
    else this.plan();
  }

  pause() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.alive = false;
  }

  plan() {
    clearTimeout(this.timer);
    if (!this.on || document.hidden) return;
    // An unknown ticker ends the stream of all; after that, it has to be known.
    const joins = this.stream && (this.known || !this.broken);
    if (joins && !this.source && Date.now() >= this.listenAt) this.listen();
    const reconnects = joins && !this.source && this.listenAt < this.due;
    const next = () => (reconnects ? this.plan() : this.update());
    const delay = (reconnects ? this.listenAt : this.due) - Date.now();
    // At most an hour, even if the clock was set back.
    this.timer = setTimeout(next, Math.min(3.6e6, delay));
  }

  async update() {
    if (this.fetching) return;
    this.fetching = true;
    try {
      const response = await fetch(this.url, {
        cache: this.known ? "no-cache" : "default",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(15000),
      });
      if (response.status === 404) this.known = false;
      if (!response.ok) throw Error();
      this.read(await response.text());
      this.known = true;
      this.took(+/max-age=(\d+)/.exec(response.headers.get("cache-control"))?.[1] || 15);
    } catch {
      this.failures++;
      // While a stream with the rates is alive, they are current.
      if (!(this.alive && this.streamed)) this.failed(this.failures);
      this.due = Date.now() + wait(Math.min(300, 2 ** this.failures)) * (0.5 + Math.random() / 2);
    } finally {
      this.fetching = false;
      this.plan();
    }
  }

  took(seconds) {
    this.failures = 0;
    this.due = Date.now() + wait(Math.min(3600, this.source ? Math.max(seconds, 300) : seconds));
  }

  listen() {
    this.due = Math.max(this.due, Date.now() + 10000);
    this.source = subscribe(this.stream, {
      ticker: this.ticker,
      received: (text) => {
        this.known = true;
        this.took(300);
        this.received(text);
        this.plan();
      },
      beat: () => {
        this.alive = true;
        this.broken = 0;
      },
      lost: () => {
        // Poll instead, and reconnect later.
        this.source = null;
        this.alive = false;
        this.listenAt = Date.now() + wait(Math.min(300, 5 * 2 ** this.broken++));
        this.due = this.known ? Math.min(this.due, Date.now() + wait(4) * Math.random()) : 0;
        this.plan();
      },
    });
  }
}
