import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Rates } from "./Rates";

function App() {
  const [ticker, setTicker] = useState("kzt");
  return (
    <>
      <button onClick={() => setTicker("other")}>Another ticker</button>
      <Rates ticker={ticker} lang="ru" />
    </>
  );
}

createRoot(document.getElementById("app")!).render(<StrictMode><App /></StrictMode>);
