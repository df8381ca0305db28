import { load } from "@currency-ticker/element";
import { useState } from "react";

load("https://ticker.example");

export function Rates({ ticker, lang }: { ticker?: string; lang?: string }) {
  const [date, setDate] = useState("");
  return (
    <section>
      <currency-ticker
        ticker={ticker}
        lang={lang}
        layout="list"
        style={{ display: "block" }}
        onticker-ready={(event) => setDate(event.detail.as_of)}
        onticker-change={(event) => setDate(event.detail.as_of)}
      >
        <a href="https://ticker.example/embed">Exchange rates</a>
      </currency-ticker>
      <p>{date}</p>
    </section>
  );
}
