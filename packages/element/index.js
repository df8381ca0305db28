/**
 * Load the web component `<currency-ticker>` from the service at `url`, for example `https://ticker.example`.
 *
 * Only the service is contacted. Further calls send no request. On a server it does nothing.
 */
export function load(url) {
  return loadScript(url, "embed.js");
}

/** Load the web component `<currency-chart>`, in the same way. */
export function loadChart(url) {
  return loadScript(url, "chart.js");
}

function loadScript(url, name) {
  if (typeof document === "undefined") return Promise.resolve();
  const service = new URL(url, document.baseURI);
  if (!service.pathname.endsWith("/")) service.pathname += "/";
  // import() instead of a script element: it works with `require-trusted-types-for 'script'`.
  const loaded = import(
    /* @vite-ignore */ /* webpackIgnore: true */ /* turbopackIgnore: true */ new URL(name, service).href
  ).then(() => {});
  // A caller that ignores the promise causes no unhandled rejection: the page keeps its fallback content.
  loaded.catch(() => {});
  return loaded;
}
