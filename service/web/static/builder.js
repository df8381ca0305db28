// The builder: applies the selected options to the preview, which is the real element, and to the snippets.
const form = document.querySelector("form");
const preview = document.querySelector("currency-ticker");
const stage = preview.parentElement;
const { script, integrity } = document.querySelector(".snippets").dataset;
const here = new URL(".", location.href).href;
const usual = { theme: "auto", layout: "strip", lang: "auto" };
const usualValues = { strip: "percent", list: "rate,percent", tape: "rate,percent" };

const signs = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => signs[sign]);
const attribute = ([name, value]) => (value === "" ? ` ${name}` : ` ${name}="${escaped(String(value))}"`);
const tag = (name, attributes, inner = "") => `<${name}${attributes.map(attribute).join("")}>${inner}</${name}>`;

function chosen() {
  const data = new FormData(form);
  const options = {};
  const codes = data.getAll("currencies");
  const show = data.getAll("show").join();
  if (data.get("ticker") !== form.dataset.default) options.ticker = data.get("ticker");
  if (codes.length && codes.length < form.querySelectorAll("[name=currencies]").length) options.currencies = codes.join();
  for (const [name, value] of Object.entries(usual)) if (data.get(name) !== value) options[name] = data.get(name);
  if (show && show !== usualValues[data.get("layout")]) options.show = show;
  for (const name of ["spark", "live"]) if (data.has(name)) options[name] = "";
  return options;
}

function snippets(options) {
  const query = (...names) => {
    const said = new URLSearchParams(Object.entries(options).filter(([name]) => names.includes(name)).map(([name, value]) => [name, value || "1"]));
    return String(said) && `?${String(said).replaceAll("%2C", ",")}`;
  };
  const path = (suffix, ...names) => here + "v1/ticker" + (options.ticker ? `/${options.ticker}` : "") + suffix + query(...names);
  const embed = here + "embed" + query("ticker", "currencies", "lang", "theme", "layout", "show", "spark", "live");
  const high = Math.ceil(preview.getBoundingClientRect().height);
  const label = preview.shadowRoot.querySelector("ul")?.ariaLabel ?? document.title;
  const reserved = `display:block;min-height:${high}px`;
  const link = tag("a", [["href", embed]], escaped(label));
  return {
    element:
      tag("script", [["type", "module"], ["src", here + script], ["integrity", integrity], ["crossorigin", "anonymous"]]) +
      tag("currency-ticker", [...Object.entries(options), ["style", reserved]], link),
    iframe: tag("iframe", [["src", embed], ["title", label], ["width", "100%"], ["height", high + 2], ["style", "border:0"], ["loading", "lazy"]]),
    svg: tag("img", [["src", path(".svg", "currencies", "lang", "theme", "layout", "show", "spark")], ["alt", label]]).replace("</img>", ""),
    html: `<!--#include virtual="${path(".html", "currencies", "lang", "theme", "layout", "show", "spark").slice(location.origin.length)}" -->`,
    oembed: embed,
    json: path(".json", "currencies", "lang"),
  };
}

function show() {
  // Only the list layout supports sparklines.
  form.spark.disabled = form.spark.parentElement.hidden = form.layout.value !== "list";
  const options = chosen();
  for (const name of preview.constructor.observedAttributes) {
    if (name === "lang") preview.setAttribute("lang", options.lang ?? document.documentElement.lang);
    else if (!(name in options)) preview.removeAttribute(name);
    else if (preview.getAttribute(name) !== options[name]) preview.setAttribute(name, options[name]);
  }
  stage.className = `stage ${options.theme ?? ""}`;
  const made = snippets(options);
  for (const code of document.querySelectorAll("[data-snippet]")) code.textContent = made[code.dataset.snippet];
}

form.addEventListener("change", ({ target }) => {
  if (target.name === "ticker") location.search = new URLSearchParams({ lang: document.documentElement.lang, ticker: target.value });
  if (target.name === "layout") {
    for (const box of form.querySelectorAll("[name=show]")) box.checked = usualValues[target.value].split(",").includes(box.value);
  }
  show();
});
for (const button of document.querySelectorAll(".snippet button")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      document.querySelector(".copied").textContent = button.dataset.done;
    } catch {
      getSelection().selectAllChildren(code); // The clipboard API needs HTTPS: select the text to copy by keyboard.
    }
  });
}
await customElements.whenDefined("currency-ticker");
new ResizeObserver(show).observe(preview);
new MutationObserver(show).observe(preview.shadowRoot, { childList: true });
show();
