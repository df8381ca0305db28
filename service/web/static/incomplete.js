// Reloads a page that lacks older rates once the service can read them.
import { Refresh } from "./refresh.js";

const refresh = new Refresh(location.href, "", "", {
  read: (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    // Neither of this page's parts: the response of a proxy that wants a login.
    if (page.getElementById("incomplete") || page.title !== document.title) return;
    refresh.stop();
    location.reload();
  },
  failed: () => {},
});
refresh.took(15); // also after a reload: another instance may have given the complete page
refresh.start();
