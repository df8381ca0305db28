// The language of a custom element: its own, else that of the page around it; "auto" is the visitor's.
export function languageOf(element) {
  for (let node = element; node; node = node.getRootNode().host) {
    const near = node.closest("[lang]:not([lang=''], [lang=auto])");
    if (near) return near.getAttribute("lang");
  }
  return "auto";
}
