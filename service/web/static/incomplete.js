// Reloads a page that lacks older rates once the service can read them.
import { Refresh } from "./refresh.js";

const refresh = new Refresh(location.href, "", "", {
  read: (text) => {
    if (new DOMParser().parseFromString(text, "text/html").getElementById("incomplete")) return;
    refresh.stop();
    location.reload();
  },
  failed: () => {},
});
refresh.start();
