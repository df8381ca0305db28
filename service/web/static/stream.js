// Event streams: all tickers of a page share one connection, because browsers open few connections to a host.
const SILENCE = 45000; // three heartbeats
const MOST_TICKERS = 16; // the service's limit; others are polled
const streams = new Map();

// Returns the stream of a URL: `add(listener)` and `remove(listener)`.
function connection(url) {
  const listeners = new Set();
  let source, opening, silence;

  function open() {
    const wanted = new URL(url);
    // An empty ticker is the default one. It is sorted first, and so is its event, which has its id.
    const tickers = [...new Set([...listeners].map(({ ticker }) => ticker))].sort().slice(0, MOST_TICKERS);
    if (tickers.length > 1 || tickers[0]) for (const ticker of tickers) wanted.searchParams.append("ticker", ticker);
    if (source?.url === wanted.href) return;
    source?.close();
    source = new EventSource(wanted);
    let defaultId;
    source.addEventListener("ticker", ({ data }) => {
      beat();
      const { id } = JSON.parse(data);
      defaultId ??= tickers[0] ? null : id;
      for (const listener of [...listeners]) if ((listener.ticker || defaultId) === id) listener.received(data);
    });
    source.addEventListener("heartbeat", beat);
    source.onerror = lose;
    watch();
  }

  function beat() {
    for (const listener of [...listeners]) listener.beat();
    watch();
  }

  function watch() {
    clearTimeout(silence);
    silence = setTimeout(lose, SILENCE);
  }

  function lose() {
    const lost = [...listeners];
    listeners.clear();
    update();
    for (const listener of lost) listener.lost();
  }

  // Opens the stream once for all elements that are added or removed together; without any it is closed.
  function update() {
    clearTimeout(opening);
    if (listeners.size) opening = setTimeout(open);
    else {
      clearTimeout(silence);
      source?.close();
      streams.delete(url);
    }
  }

  return {
    add(listener) {
      listeners.add(listener);
      update();
    },
    remove(listener) {
      if (listeners.delete(listener)) update();
    },
  };
}

// Calls `received(text)` for each event of the listener's `ticker`, `beat()` for each sign of life, and `lost()` at the
// end, unless it was closed.
export function subscribe(url, listener) {
  let stream = streams.get(url);
  if (!stream) streams.set(url, (stream = connection(url)));
  stream.add(listener);
  return { close: () => stream.remove(listener) };
}
