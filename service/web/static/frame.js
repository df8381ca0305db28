// Refreshes the strip in a frame: fetches the page again, and replaces the strip.
import { Refresh } from "./refresh.js";
import { replace } from "./replace.js";
import { tape } from "./tape.js";

const { stream, away, maxAge, ignored } = document.body.dataset;
if (ignored) console.warn(`Unknown values of these parameters were ignored: ${ignored}`, location.href);
let shown = document.querySelector(".ticker").outerHTML;
let alone = false;
const refresh = new Refresh(location.href, stream && new URL(stream, location).href, "", {
  read(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.querySelector(".ticker");
    if (!fresh) throw new Error("no strip");
    if (fresh.outerHTML === shown && !alone) return;
    shown = fresh.outerHTML;
    alone = false;
    replace(document.querySelector(".ticker"), fresh);
    document.title = page.title;
  },
  failed(times) {
    if (times < 2 || alone) return;
    alone = true;
    document.querySelector(".ticker").classList.add("away");
    document.querySelector(".date").prepend(`${away}: `);
  },
  received() {
    refresh.due = Date.now() + Math.random() * 2000;
  },
});
tape(document.querySelector(".ticker"));
refresh.known = true;
refresh.took(Number(maxAge));
refresh.start();
