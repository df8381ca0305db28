// The language of a custom element: its own, else that of the page around it; "auto" is the visitor's.
export function languageOf(element) {
  const own = element.getAttribute("lang");
  if (own && own !== "auto") return own;
  const host = (node) => node.getRootNode().host;
  for (let node = element.parentElement ?? host(element); node; node = node.parentElement ?? host(node)) {
    if (node.lang) return node.lang;
  }
  return "auto";
}
