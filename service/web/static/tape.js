// A tape is its list twice, moved by the style sheet: the copy is for the eye alone, the button stops both.
export function tape(root, paused = false, changed) {
  const list = root.querySelector("ul");
  const copy = list.cloneNode(true);
  const button = root.querySelector("button");
  copy.ariaHidden = "true";
  copy.inert = true;
  list.after(copy);
  root.classList.add("moving");
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
