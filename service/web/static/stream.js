// Event streams: all tickers of a page share one connection, because browsers open few connections to a host.
const SILENCE = 45000; // three heartbeats
const MOST_TICKERS = 16; // the service's limit; others are polled
const streams = new Map();

class Stream {
  listeners = new Set();

  constructor(url) {
    this.url = url;
  }

  add(listener) {
    this.listeners.add(listener);
    this.reopen();
  }

  remove(listener) {
    if (!this.listeners.delete(listener)) return;
    if (this.listeners.size) this.reopen();
    else this.close();
  }

  // Once for all elements that are added or removed together.
  reopen() {
    clearTimeout(this.opening);
    this.opening = setTimeout(() => this.open());
  }

  open() {
    const url = new URL(this.url);
    // An empty ticker is the default one. It is sorted first, and so is its event, which has its id.
    const tickers = [...new Set([...this.listeners].map(({ ticker }) => ticker))].sort().slice(0, MOST_TICKERS);
    if (tickers.length > 1 || tickers[0]) for (const ticker of tickers) url.searchParams.append("ticker", ticker);
    if (this.source?.url === url.href) return;
    this.source?.close();
    this.source = new EventSource(url);
    let defaultId;
    this.source.addEventListener("ticker", ({ data }) => {
      this.beat();
      const { id } = JSON.parse(data);
      defaultId ??= tickers[0] ? null : id;
      for (const listener of [...this.listeners]) if ((listener.ticker || defaultId) === id) listener.received(data);
    });
    this.source.addEventListener("heartbeat", () => this.beat());
    this.source.onerror = () => this.lose();
    this.watch();
  }

  beat() {
    for (const listener of [...this.listeners]) listener.beat();
    this.watch();
  }

  watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lose(), SILENCE);
  }

  lose() {
    const listeners = [...this.listeners];
    this.listeners.clear();
    this.close();
    for (const listener of listeners) listener.lost();
  }

  close() {
    clearTimeout(this.opening);
    clearTimeout(this.silence);
    this.source?.close();
    streams.delete(this.url);
  }
}

// Calls `received(text)` for each event of the listener's `ticker`, `beat()` for each sign of life, and `lost()` at the
// end, unless it was closed.
export function subscribe(url, listener) {
  let stream = streams.get(url);
  if (!stream) streams.set(url, (stream = new Stream(url)));
  stream.add(listener);
  return { close: () => stream.remove(listener) };
}
