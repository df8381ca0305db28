// Animates a tape: duplicates its list for a seamless loop, which the style sheet moves. The copy is hidden from
// assistive technology. The button pauses the animation.
export function tape(root, paused = false, changed) {
  const list = root.querySelector("ul");
  const copy = list.cloneNode(true);
  const button = root.querySelector("button");
  copy.ariaHidden = "true";
  copy.inert = true;
  list.after(copy);
  root.classList.add("moving");
  // With reduced motion the row is scrolled by hand. It is reached by the Tab key; not every browser does that by itself.
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) root.querySelector(".view").tabIndex = 0;
  const show = () => {
    root.classList.toggle("paused", paused);
    button.ariaPressed = String(paused);
  };
  button.addEventListener("click", () => {
    paused = !paused;
    changed(paused);
    show();
  });
  show();
}
