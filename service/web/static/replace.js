// Replaces a strip by one with new rates: a tape stays paused, a popover open, and the focus where it was.
import { tape } from "./tape.js";

export function replace(old, fresh) {
  const all = (box) => [...box.querySelectorAll("a, button")];
  const at = all(old).indexOf(old.getRootNode().activeElement);
  // `:is` accepts a pseudo-class that an old browser does not know.
  const id = old.querySelector(":is(:popover-open)")?.id;
  old.replaceWith(fresh);
  tape(fresh, old.classList.contains("paused"));
  for (const details of fresh.querySelectorAll(".details")) {
    const source = details.previousElementSibling;
    // Browsers do not return the focus within a shadow tree, nor after a replacement.
    details.onbeforetoggle = () => {
      if (details.matches(":focus-within")) source.focus();
    };
    if (details.id === id) details.showPopover({ source });
  }
  all(fresh)[at]?.focus({ preventScroll: true });
}
