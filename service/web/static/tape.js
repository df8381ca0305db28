// Animates a tape: duplicates its list for a seamless loop, which the style sheet moves. The button pauses the animation.
export function tape(root, paused = false) {
  const button = root.querySelector(".pause");
  if (!button) return;
  const list = root.querySelector("ul");
  const copy = list.cloneNode(true);
  // Hidden from assistive technology and the keyboard; its buttons open the popovers of the list.
  copy.ariaHidden = "true";
  for (const { firstElementChild, lastElementChild } of copy.children) {
    firstElementChild.tabIndex = -1;
    lastElementChild.remove();
  }
  copy.onmousedown = (event) => event.preventDefault();
  list.after(copy);
  root.classList.add("moving");
  const show = (now) => (button.ariaPressed = root.classList.toggle("paused", now));
  button.onclick = () => show();
  show(paused);
}
