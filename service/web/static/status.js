// Keeps the status page fresh: replaces its main part while it is visible, and counts down between two refreshes.
import { Refresh } from "./refresh.js";

const byId = (id) => document.getElementById(id);
// By how much the clock of the browser is ahead of the service's.
let ahead = 0;

const clock = (seconds) => {
  const left = Math.max(0, Math.round(seconds));
  const two = (number) => String(number % 60).padStart(2, "0");
  return `${Math.floor(left / 3600)}:${two(Math.floor(left / 60))}:${two(left)}`;
};

const count = () => {
  for (const node of document.querySelectorAll("[data-due]")) {
    node.textContent = clock((Date.parse(node.dataset.due) - Date.now() + ahead) / 1000);
  }
};

const adjust = () => {
  ahead = Date.now() - Date.parse(document.querySelector("main").dataset.now);
  count();
};

// Takes over the new main part: details stay open, and the focus stays where it is.
const show = (next) => {
  const main = document.querySelector("main");
  for (const { id } of main.querySelectorAll("details[open]")) {
    const details = next.querySelector(`#${CSS.escape(id)}`);
    if (details) details.open = true;
  }
  const focused = main.contains(document.activeElement) ? path(main, document.activeElement) : null;
  const summary = byId("summary").querySelector("b").textContent;
  main.replaceWith(document.adoptNode(next));
  if (focused) focused.reduce((node, index) => node?.children[index], next)?.focus({ preventScroll: true });
  const now = byId("summary").querySelector("b").textContent;
  if (now !== summary) byId("announcement").textContent = now;
  adjust();
};

// The position of an element below another one: the index of each element on the way.
const path = (root, node) =>
  node === root ? [] : [...path(root, node.parentElement), [...node.parentElement.children].indexOf(node)];

const offline = byId("offline");
new Refresh(location.href, "", "", {
  read: (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const next = page.querySelector("main[data-now]");
    if (!next) throw Error("no status");
    document.title = page.title;
    offline.textContent = "";
    show(next);
  },
  failed: () => {
    offline.textContent = offline.dataset.text;
  },
}).start();
adjust();
setInterval(count, 1000);
