// The page of a currency: its picture becomes an interactive chart. The page has all data, so that no range needs a request.
import { mount } from "./chart.js";

const plot = document.getElementById("plot");
const links = [...document.querySelectorAll("a[data-range]")];
const documents = JSON.parse(document.getElementById("data").textContent);
const selected = () => links.find((link) => link.ariaCurrent === "true").dataset.range;
const narrow = matchMedia("(max-width: 40rem)");
const receipt = (day) => plot.dataset.receipt.replace("DAY", day);
const chart = mount(plot, documents, { range: selected(), height: narrow.matches ? 260 : 380, table: false, receipt });

function show(link) {
  for (const each of links) each.ariaCurrent = each === link ? "true" : null;
  for (const stats of document.querySelectorAll(".stats")) stats.hidden = stats.id !== `stats-${link.dataset.range}`;
  document.getElementById("csv").href = link.dataset.csv;
  chart.set(link.dataset.range);
}

// The indices of two currencies in the table begin with the range: then a range is another page.
if (documents.length === 1) {
  for (const link of links) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      if (link.ariaCurrent === "true") return;
      show(link);
      history.pushState(null, "", link.href);
    });
  }
  addEventListener("popstate", () => {
    const range = new URL(location).searchParams.get("range") ?? plot.dataset.range;
    show(links.find((link) => link.dataset.range === range) ?? links[0]);
  });
}
