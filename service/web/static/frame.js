// Refreshes the strip in a frame: fetches the page again, and replaces the strip.
import { Refresh } from "./refresh.js";
import { tape } from "./tape.js";

const { stream, away, maxAge, ignored } = document.body.dataset;
if (ignored) console.warn(`Unknown values of these parameters were ignored: ${ignored}`, location.href);
let shown = document.querySelector(".ticker").outerHTML;
let paused = false;
let alone = false;
const main = document.querySelector("main");
// A row that scrolls is reached by the Tab key; not every browser does that by itself.
const reach = () => (main.scrollWidth > main.clientWidth ? (main.tabIndex = 0) : main.removeAttribute("tabindex"));
const place = () => {
  const root = document.querySelector(".ticker");
  if (root.classList.contains("tape")) tape(root, paused, (now) => (paused = now));
  reach();
};
const refresh = new Refresh(location.href, stream && new URL(stream, location).href, "", {
  async read(response) {
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector(".ticker");
    if (!fresh) throw new Error("no strip");
    if (fresh.outerHTML === shown && !alone) return;
    const focused = document.activeElement.matches(".pause");
    shown = fresh.outerHTML;
    alone = false;
    document.querySelector(".ticker").replaceWith(fresh);
    document.title = page.title;
    place();
    if (focused) document.querySelector(".pause")?.focus();
  },
  failed(times) {
    if (times < 2 || alone) return;
    alone = true;
    document.querySelector(".ticker").classList.add("away");
    document.querySelector(".date").prepend(`${away}: `);
    reach();
  },
  received() {
    refresh.due = Date.now() + Math.random() * 2000;
  },
});
place();
refresh.known = true;
refresh.took(Number(maxAge));
refresh.start();
new ResizeObserver(reach).observe(main);
