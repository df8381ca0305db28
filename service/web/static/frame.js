// The strip in a frame, kept fresh: the page is asked for again and its strip put in place of the old one.
let tag, paused = false;
const place = () => {
  const root = document.querySelector(".ticker");
  if (root.classList.contains("tape")) tape(root, paused, (now) => (paused = now));
};
const refresh = new Refresh(location.href, document.body.dataset.stream && new URL(document.body.dataset.stream, location), {
  async read(response) {
    const fresh = response.headers.get("etag");
    const text = await response.text();
    if (fresh === tag) return;
    tag = fresh;
    const page = new DOMParser().parseFromString(text, "text/html");
    document.querySelector(".ticker").replaceWith(page.querySelector(".ticker"));
    document.title = page.title;
    place();
  },
  failed(times) {
    const root = document.querySelector(".ticker");
    if (times < 2 || root.classList.contains("away")) return;
    root.classList.add("away");
    root.querySelector(".date").prepend(`${document.body.dataset.away}: `);
    tag = null;
  },
  told() {
    refresh.due = 0;
  },
});
place();
refresh.known = true;
refresh.due = Date.now() + wait(Number(document.body.dataset.maxAge));
refresh.start();
