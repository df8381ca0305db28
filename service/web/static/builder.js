// The builder: applies the selected options to the embed code, and to a preview of what that code gives: the element, a
// frame, an image, a response. The options are in the URL's fragment, which is not sent to the service: it can be
// shared, and needs no copy in caches.
const form = document.querySelector("form");
const stage = document.querySelector(".stage");
const preview = stage.querySelector("currency-ticker");
const given = stage.querySelector(".given");
const panel = document.querySelector("#code");
const code = panel.querySelector("code");
const copy = panel.querySelector(".copy");
const tabs = [...document.querySelectorAll("[role=tab]")];
const chips = form.querySelector(".currencies");
const search = form.querySelector("[type=search]");
const status = document.querySelector("#status");
const inputs = form.elements;
const page = document.documentElement.lang;
const here = new URL(".", location.href).href;
const isLoopback = /^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
const usual = { lang: "auto", theme: inputs.theme.value, layout: "strip", period: "day", size: "15", font: "system", speed: "30" };
const usualValues = { strip: "percent", list: "rate,percent", tape: "rate,percent" };
const usualRadius = { strip: "8", list: "12", tape: "8" };
const colours = ["surface", "ink", "up", "down"];
const families = { serif: "Georgia,serif", mono: "ui-monospace,monospace" };
const look = ["currencies", "lang", "theme", "layout", "show", "period", "spark"];
const style = [...colours, "size", "radius", "font"];
const all = [...chips.children];
const codes = all.map((chip) => chip.querySelector("input").value);
// Widths of pages in pixels, and the narrowest page for which a frame gets its height; the widths of e-mail.
const pages = { phone: 343, column: 650, full: 1200 };
const NARROW = 288;
const mails = { phone: 320, column: 600, full: 600 };
// The picture of the e-mail, once it is loaded.
let mail = {};

const picked = () => [...chips.children].filter((chip) => chip.querySelector(":checked"));
const valueOf = (chip) => chip.querySelector("input").value;

// The options that differ from their defaults.
function chosen() {
  const options = {};
  const shown = picked().map(valueOf).join();
  const show = [...inputs.show].filter((box) => box.checked).map((box) => box.value).join();
  const layout = inputs.layout.value;
  if (inputs.ticker.value !== form.dataset.default) options.ticker = inputs.ticker.value;
  if (shown && shown !== codes.join()) options.currencies = shown;
  for (const name of ["lang", "theme", "layout"]) if (inputs[name].value !== usual[name]) options[name] = inputs[name].value;
  if (show && show !== usualValues[layout]) options.show = show;
  if (inputs.period.value !== usual.period) options.period = inputs.period.value;
  for (const name of ["spark", "live"]) if (inputs[name].checked && !inputs[name].disabled) options[name] = "";
  if (inputs.colours.checked) for (const name of colours) options[name] = inputs[name].value.slice(1);
  if (inputs.size.value !== usual.size) options.size = inputs.size.value;
  if (inputs.radius.value !== usualRadius[layout]) options.radius = inputs.radius.value;
  if (inputs.font.value !== usual.font) options.font = inputs.font.value;
  if (layout === "tape" && inputs.speed.value !== usual.speed) options.speed = inputs.speed.value;
  return options;
}

const query = (values) => new URLSearchParams(Object.entries(values).map(([name, value]) => [name, value || "1"])).toString().replaceAll("%2C", ",");

// What the URL's fragment has: all options, and the selections of this page alone.
function state(options) {
  const { ticker, ...values } = options;
  const tab = tabs.find((tab) => tab.ariaSelected === "true").id;
  const ground = inputs.ground.value;
  if (tab !== "element") values.tab = tab;
  if (inputs.pin.checked) values.pin = "";
  if (inputs.width.value !== "full") values.width = inputs.width.value;
  // Frames and images have its colour scheme. Where other options are in the URL it is light by default, for everybody.
  if (ground !== "light" || systemGround() === "dark") values.ground = ground === "own" ? inputs.backdrop.value.slice(1) : ground;
  return query(values);
}

const systemGround = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

// Unknown and invalid values are ignored.
function restore() {
  const values = new URLSearchParams(location.hash.slice(1));
  const hex = (name) => /^[0-9a-f]{6}$/i.test(values.get(name)) && `#${values.get(name)}`;
  form.reset();
  const wanted = (values.get("currencies") ?? "").toLowerCase().split(",").filter((value) => codes.includes(value));
  const order = [...new Set([...wanted, ...codes])];
  chips.append(...order.map((value) => all[codes.indexOf(value)]));
  for (const chip of all) chip.querySelector("input").checked = !wanted.length || wanted.includes(valueOf(chip));
  for (const name of ["theme", "layout", "period", "font", "width"]) if (values.has(name)) inputs[name].value = values.get(name);
  if ([...inputs.lang.options].some(({ value }) => value === values.get("lang"))) inputs.lang.value = values.get("lang");
  const show = values.get("show")?.split(",") ?? usualValues[inputs.layout.value].split(",");
  for (const box of inputs.show) box.checked = show.includes(box.value);
  for (const name of ["spark", "live", "pin"]) inputs[name].checked = values.has(name);
  for (const name of colours) {
    if (!hex(name)) continue;
    inputs[name].value = hex(name);
    inputs.colours.checked = true;
  }
  inputs.radius.value = usualRadius[inputs.layout.value];
  for (const name of ["size", "radius", "speed"]) if (/^\d+$/.test(values.get(name))) inputs[name].value = values.get(name);
  inputs.ground.value = location.hash.length > 1 ? "light" : systemGround();
  if (hex("ground")) [inputs.ground.value, inputs.backdrop.value] = ["own", hex("ground")];
  else if (values.has("ground")) inputs.ground.value = values.get("ground");
  if (style.concat("speed").some((name) => values.has(name))) form.querySelector("details").open = true;
  select(tabs.find((tab) => tab.id === values.get("tab")) ?? tabs[0]);
}

const rgb = (hex) => hex.match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16));
const mixed = (hex, other, share) =>
  `#${rgb(hex).map((value, index) => Math.round(value * share + rgb(other)[index] * (1 - share)).toString(16).padStart(2, "0")).join("")}`;
// Relative luminance and contrast of colours (WCAG 2.2).
function luminance(hex) {
  const [red, green, blue] = rgb(hex).map((value) => (value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function contrast(hex, other) {
  const [dark, light] = [luminance(hex), luminance(other)].sort((one, two) => one - two);
  return (light + 0.05) / (dark + 0.05);
}

// The custom properties of the element.
function properties({ surface, ink, up, down, size, radius, font, speed }) {
  const values = {};
  if (surface) {
    Object.assign(values, { surface: `#${surface}`, ink: `#${ink}`, soft: mixed(ink, surface, 0.75), line: mixed(ink, surface, 0.15), up: `#${up}`, down: `#${down}`, warn: `#${ink}` });
  }
  if (size) values.size = `${size}px`;
  if (font) values.family = families[font];
  if (radius) values.radius = `${radius}px`;
  if (speed) values.speed = `${speed}s`;
  return Object.entries(values).map(([name, value]) => [`--ticker-${name}`, value]);
}

const signs = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => signs[sign]);
const attribute = ([name, value]) => (value === "" ? ` ${name}` : ` ${name}="${escaped(String(value))}"`);
const open = (name, attributes) => `<${name}${attributes.map(attribute).join("")}>`;
const tag = (name, attributes, inner = "") => `${open(name, attributes)}${inner}</${name}>`;

// The height of the element on a page, in pixels; the width of the preview is another.
function height(page) {
  preview.style.width = `${page}px`;
  const high = preview.shadowRoot.querySelector(".ticker").getBoundingClientRect().height;
  preview.style.width = "";
  return Math.ceil(high);
}

// The height to reserve for the element: what it needs on the chosen page, and on a phone, where it wraps. The style of
// a tag has no media queries: the middle value is below the first one on a window of 480 px or more, else above the last.
function reserved() {
  const [high, phone] = [height(pages[inputs.width.value]), height(pages.phone)];
  return phone > high ? `clamp(${high}px,480000px - 100000vw,${phone}px)` : `${high}px`;
}

// A frame of one row scrolls sideways where it is narrow. Others have the height that they need on the narrowest page.
function frameHeight() {
  if (inputs.layout.value !== "strip") return Math.max(height(NARROW), height(pages[inputs.width.value])) + 2;
  preview.style.width = `${pages.full}px`;
  const row = preview.shadowRoot.querySelector("li")?.getBoundingClientRect().height ?? 0;
  preview.style.width = "";
  return Math.ceil(Math.max(row + 2, 3 * inputs.size.value)) + 1;
}

function snippet(kind, options) {
  // Frames and images cannot follow the language and the colour scheme of the page around them.
  const dark = ["iframe", "svg", "email", "oembed"].includes(kind) && stage.classList.contains("dark");
  const said = { lang: page, ...(dark && { theme: "dark" }), ...options };
  const picks = (...names) => {
    const text = query(Object.fromEntries(names.filter((name) => name in said).map((name) => [name, said[name]])));
    return text && `?${text}`;
  };
  const path = (suffix, ...names) => here + "v1/ticker" + (options.ticker ? `/${options.ticker}` : "") + suffix + picks(...names);
  const narrow = (url) => `${url}${url.includes("?") ? "&" : "?"}width=320`;
  const embed = here + "embed" + picks("ticker", ...look, "live", ...style, "speed");
  const own = Object.entries(options).filter(([name]) => preview.constructor.observedAttributes.includes(name));
  const label = preview.shadowRoot.querySelector("ul")?.ariaLabel ?? document.title;
  const link = tag("a", [["href", embed]], escaped(label));
  // A browser runs a pinned script only until an upgrade of the service changes it.
  const pinned = [["src", here + panel.dataset.script], ["integrity", panel.dataset.integrity], ["crossorigin", "anonymous"]];
  const loaded = [["type", "module"], ...(inputs.pin.checked ? pinned : [["src", `${here}embed.js`]])];
  switch (kind) {
    case "element": {
      const css = [["display", "block"], ["min-height", reserved()], ...properties(options)].map((pair) => pair.join(":")).join(";");
      return tag("script", loaded) + tag("currency-ticker", [...own, ["style", css]], link);
    }
    case "iframe":
      return tag("iframe", [["src", embed], ["title", label], ["width", "100%"], ["height", frameHeight()], ["frameborder", "0"], ["style", "display:block;border:0"], ["loading", "lazy"]]);
    case "wordpress":
      return `[currency_ticker${Object.entries(options).map(([name, value]) => ` ${name}="${value || "1"}"`).join("")}]`;
    case "react": {
      const high = reserved();
      const css = [["display", '"block"'], ["minHeight", high.startsWith("clamp") ? `"${high}"` : parseInt(high)], ...properties(options).map(([name, value]) => [`"${name}"`, `"${value}"`])];
      const body = `    ${open("currency-ticker", own).slice(0, -1)} style={{ ${css.map((pair) => pair.join(": ")).join(", ")} }}>\n      ${link}\n    </currency-ticker>`;
      return `// index.html: ${tag("script", loaded)}\nexport function Rates() {\n  return (\n${body}\n  );\n}`;
    }
    case "svg":
      // Scaled down to a narrow page, the texts of an image would be too small: it gets one with wrapped texts.
      return tag("picture", [], open("source", [["media", "(max-width: 700px)"], ["srcset", narrow(path(".svg", ...look, ...style))]])
        + open("img", [["src", path(".svg", ...look, ...style)], ["alt", label], ["style", "max-width:100%"]]));
    case "email": {
      const url = path(".png", ...look, ...style.filter((name) => name !== "font"));
      const width = mails[inputs.width.value];
      const source = `${url}${url.includes("?") ? "&" : "?"}width=${width}&scale=2`;
      const high = mail.source === source ? [["height", mail.height]] : [];
      return tag("a", [["href", embed]], open("img", [["src", source], ["width", width], ...high, ["alt", label], ["border", "0"], ["style", "display:block;max-width:100%;height:auto"]]));
    }
    case "html": {
      const css = properties(options).map((pair) => pair.join(":")).join(";");
      const include = `<!--#include virtual="${path(".html", ...look).slice(location.origin.length)}" -->`;
      return `${open("link", [["rel", "stylesheet"], ["href", `${here}embed.css`]])}\n${css ? tag("div", [["style", css]], include) : include}`;
    }
    case "oembed":
      return embed;
    case "json":
      return path(".json", "currencies", "lang", "period");
  }
}

// Show what the code of a kind gives. Styles are those of the page: its policy permits no attributes of style.
let giving;
let shownCode;
function give(kind, text) {
  const isElement = ["element", "wordpress", "react"].includes(kind);
  preview.classList.toggle("measured", !isElement);
  given.hidden = isElement;
  const isFrame = ["iframe", "oembed"].includes(kind);
  const markup = isFrame ? shown.iframe : text;
  const wanted = `${inputs.width.value} ${kind === "email" ? markup.replace(/ height="\d+"/, "") : markup}`;
  // Until the element has rates, heights are not known.
  if (isElement || !preview.shadowRoot.querySelector("li")) return;
  clearTimeout(giving); // also that of another tab, if this one's result is shown already
  if (wanted === shownCode) return;
  giving = setTimeout(async () => {
    shownCode = wanted;
    const { body } = new DOMParser().parseFromString(markup.replace(/ style="[^"]*"/g, ""), "text/html");
    const fetched = async (url) => (await fetch(url)).text();
    // The image of a narrow page is chosen by the width of the window, which is not that of the preview.
    if (kind === "svg" && inputs.width.value === "phone") body.querySelector("img").src = body.querySelector("source").srcset;
    let nodes = [...body.childNodes];
    if (kind === "json") {
      const block = document.createElement("pre");
      block.textContent = (await fetched(text)).replaceAll('{"code"', '\n{"code"');
      nodes = [block];
    } else if (kind === "html") {
      const fragment = await fetched(text.match(/virtual="([^"]+)"/)[1]);
      nodes = [...new DOMParser().parseFromString(fragment, "text/html").body.childNodes];
    }
    if (shownCode !== wanted) return;
    given.replaceChildren(...nodes);
    given.removeAttribute("style");
    if (kind === "html") for (const [name, value] of properties(chosen())) given.style.setProperty(name, value);
    const image = kind === "email" && given.querySelector("img");
    image?.addEventListener?.("load", () => {
      mail = { source: image.getAttribute("src"), height: Math.round(image.naturalHeight / 2) };
      image.height = mail.height;
      show();
    });
  }, shownCode ? 250 : 0);
}

// Parts of embed code: tags, query parameters, properties, attributes.
const PARTS = /<\/?[a-z][\w-]*|\/?>|[?&](?:amp;)?[a-z]+=[^&"\s]*|(?<=[";]|[{,] )(?:"--|[a-z-])[\w-]*"?:(?!\/\/) ?(?:"[^"]*"|clamp\([^)]*\)|[^;"},]+)|\b(?:style|src|href|virtual)=|\b[a-z]+="[^"]*"|\s(?:live|spark)(?=[\s>])/g;
const normal = (part) => part.replace(/^[?&](amp;)?/, "&");
const pieces = (text) => new Set((text.match(PARTS) ?? []).map(normal));
// The height follows the other options.
const measured = (part) => /^(height|min-?height)/i.test(part);
let before = {};
let shown = {};

function highlighted(text, old) {
  const nodes = [];
  let line;
  let end = 0;
  const add = (node) => (line ? line.append(node) : nodes.push(node));
  const span = (name, text) => Object.assign(document.createElement("span"), { className: name, textContent: text });
  for (const match of text.matchAll(PARTS)) {
    const [part] = match;
    const after = text.slice(end, match.index);
    if (after) add(after);
    end = match.index + part.length;
    if (part === "<currency-ticker" && text.startsWith("<script")) nodes.push((line = span("line", "")));
    const [, name, value] = part.match(/^([^=:]*[=:])(.+)$/s) ?? [];
    const inner = name ? [span("name", name), span("value", value)] : [span(/[<>]/.test(part) ? "tag" : "name", part)];
    if (old && !/[<>]/.test(part) && !measured(part) && !old.has(normal(part))) {
      const mark = document.createElement("mark");
      mark.append(...inner);
      add(mark);
    } else inner.forEach(add);
  }
  if (end < text.length) add(text.slice(end));
  return nodes;
}

function show(changed) {
  // Only the list layout supports sparklines; only the tape moves.
  const layout = inputs.layout.value;
  inputs.spark.disabled = inputs.spark.parentElement.hidden = layout !== "list";
  inputs.speed.parentElement.hidden = layout !== "tape";
  form.querySelector(".colours").hidden = !inputs.colours.checked;
  for (const output of form.querySelectorAll("output")) {
    const { value, dataset } = output.parentElement.querySelector("input");
    output.value = `${value}\u00a0${dataset.unit}`;
  }
  const options = chosen();
  const warning = form.querySelector("details .warning");
  const low = inputs.colours.checked ? ["ink", "up", "down"].filter((name) => contrast(inputs[name].value, inputs.surface.value) < 4.5) : [];
  const warned = low.length ? `${warning.dataset.text} ${low.map((name) => inputs[name].parentElement.textContent.trim()).join(", ")}` : "";
  if (warning.textContent !== warned) warning.textContent = warned;

  const unreached = form.querySelector("#unreached");
  const quotes = [...preview.shadowRoot.querySelectorAll("li")];
  const unknown = options.period && quotes[0] && quotes.every((quote) => quote.matches(".none")) ? unreached.dataset.text : "";
  if (unreached.textContent !== unknown) unreached.textContent = unknown;

  for (const name of preview.constructor.observedAttributes) {
    const value = name === "lang" ? options.lang ?? page : options[name];
    if (value === undefined && name !== "ticker") preview.removeAttribute(name);
    else if (value !== undefined && preview.getAttribute(name) !== value) preview.setAttribute(name, value);
  }
  preview.removeAttribute("style");
  for (const [name, value] of properties(options)) preview.style.setProperty(name, value);
  const ground = inputs.ground.value;
  const own = inputs.backdrop.value;
  const scheme = ground === "own" ? (luminance(own) < 0.18 ? "dark" : "light") : ground;
  stage.className = `stage ${scheme} ${inputs.width.value}`;
  stage.style.background = ground === "own" ? own : "";

  const texts = Object.fromEntries(tabs.map(({ id }) => [id, snippet(id, options)]));
  if (changed && tabs.some(({ id }) => texts[id] !== shown[id])) before = Object.fromEntries(Object.entries(shown).map(([id, text]) => [id, pieces(text)]));
  shown = texts;
  const tab = tabs.find((tab) => tab.ariaSelected === "true");
  code.replaceChildren(...highlighted(texts[tab.id], before[tab.id]));
  give(tab.id, texts[tab.id]);
  inputs.pin.parentElement.hidden = !texts[tab.id].includes("<script");
  panel.querySelector(".loopback").hidden = !isLoopback || !texts[tab.id].includes(here);
  const fragment = state(options);
  if (fragment !== location.hash.slice(1)) history.replaceState(null, "", `${location.pathname}${location.search}${fragment && `#${fragment}`}`);
  for (const link of document.querySelectorAll(".languages a")) link.hash = fragment;
}

function select(tab) {
  for (const other of tabs) {
    other.ariaSelected = String(other === tab);
    other.tabIndex = other === tab ? 0 : -1;
  }
  for (const hint of panel.querySelectorAll("[data-hint]")) hint.hidden = hint.dataset.hint !== tab.id;
  panel.setAttribute("aria-labelledby", tab.id);
}

for (const tab of tabs) {
  tab.addEventListener("click", () => {
    select(tab);
    show();
  });
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    const next = { Home: tabs[0], End: tabs.at(-1) }[key] ?? (step && tabs.at((tabs.indexOf(tab) + step) % tabs.length));
    if (!next) return;
    next.focus();
    next.click();
  });
}

// Move a currency before or after another; the moved one stays in the document, so that it keeps focus and pointer.
function move(chip, target) {
  const order = [...chips.children];
  const from = order.indexOf(chip);
  const to = order.indexOf(target);
  if (to < from) chip.after(...order.slice(to, from));
  else chip.before(...order.slice(from + 1, to + 1));
  const now = picked();
  status.textContent = status.dataset.moved.replace("{code}", valueOf(chip).toUpperCase()).replace("{number}", now.indexOf(chip) + 1).replace("{count}", now.length);
  show(true);
}

chips.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!step || !event.target.matches(".grip")) return;
  event.preventDefault();
  const chip = event.target.parentElement;
  const order = picked();
  const target = order[order.indexOf(chip) + step];
  if (target) move(chip, target);
});
chips.addEventListener("pointerdown", (event) => {
  if (!event.target.matches(".grip") || event.button) return;
  const chip = event.target.parentElement;
  const controller = new AbortController();
  const on = (name, act) => addEventListener(name, act, { signal: controller.signal });
  let over;
  const end = () => {
    chip.classList.remove("dragged");
    controller.abort();
  };
  event.target.setPointerCapture(event.pointerId);
  chip.classList.add("dragged");
  on("pointermove", ({ clientX, clientY }) => {
    const target = document.elementFromPoint(clientX, clientY)?.closest(".currencies li:has(:checked)");
    // A wide chip that was passed may still be under the pointer.
    if (target && target !== chip && target !== over) move(chip, target);
    over = target;
  });
  on("pointerup", end);
  on("pointercancel", end);
});

search?.addEventListener("input", () => {
  const words = search.value.trim().toLowerCase();
  for (const chip of chips.children) chip.hidden = !chip.textContent.toLowerCase().includes(words) && !chip.querySelector(":checked");
  const found = [...chips.children].some((chip) => chip.textContent.toLowerCase().includes(words));
  const unmatched = form.querySelector("#unmatched");
  unmatched.textContent = found ? "" : unmatched.dataset.text;
});
search?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  const match = [...chips.children].find((chip) => !chip.hidden && !chip.querySelector(":checked"));
  if (!search.value || !match) return;
  match.querySelector("input").click();
  search.value = "";
  search.dispatchEvent(new Event("input"));
});

form.addEventListener("submit", (event) => event.preventDefault());
function changed({ target }) {
  if (target === search || target.form !== form) return;
  if (target.name === "ticker") return location.assign(`?${new URLSearchParams({ lang: page, ticker: target.value })}${location.hash}`);
  if (target.name === "layout") {
    for (const box of inputs.show) box.checked = usualValues[target.value].split(",").includes(box.value);
    if (Object.values(usualRadius).includes(inputs.radius.value)) inputs.radius.value = usualRadius[target.value];
  }
  const last = form.querySelector("#last");
  last.textContent = "";
  if (target.name === "currencies" && !picked().length) {
    target.checked = true;
    last.textContent = last.dataset.text;
  }
  if (target.name === "backdrop") inputs.ground.value = "own";
  if (target.name === "currencies" && target.checked) {
    // A picked currency follows the others that are picked.
    const chip = target.closest("li");
    const last = picked().filter((other) => other !== chip).at(-1);
    if (last && last !== chip.previousElementSibling) {
      last.after(chip);
      target.focus();
    }
  }
  show(true);
}
document.addEventListener("change", changed);
document.addEventListener("input", (event) => event.target.matches("[type=range], [type=color]") && changed(event));
addEventListener("hashchange", () => {
  restore();
  show();
});

const copyText = copy.textContent;
let settled;
copy.addEventListener("click", async () => {
  let result = copy.dataset.done;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // The clipboard API needs HTTPS: select the code, to be copied by keyboard.
    getSelection().selectAllChildren(code);
    result = /Mac|iP/.test(navigator.platform) ? copy.dataset.keys.replace("Ctrl+", "⌘") : copy.dataset.keys;
  }
  copy.textContent = status.textContent = result;
  copy.classList.add("done");
  clearTimeout(settled);
  settled = setTimeout(() => {
    copy.textContent = copyText;
    copy.classList.remove("done");
  }, 2500);
});

await customElements.whenDefined("currency-ticker");
restore();
new ResizeObserver(() => show()).observe(preview);
const card = stage.parentElement;
new ResizeObserver(() => card.parentElement.style.setProperty("--preview-height", `${card.offsetHeight}px`)).observe(card);
new MutationObserver(() => show()).observe(preview.shadowRoot, { childList: true });
show();
