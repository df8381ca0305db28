import type {} from "@currency-ticker/element";

const SERVICE = "https://ticker.example";
const LINK = `<a href="${SERVICE}/embed">Exchange rates</a>`;
export const revalidate = 60;

async function fragment(query: string) {
  try {
    const response = await fetch(`${SERVICE}/v1/ticker.html?${query}`, { signal: AbortSignal.timeout(2000) });
    return response.ok ? await response.text() : LINK;
  } catch {
    return LINK;
  }
}

export default async function Page() {
  return (
    <main>
      <link rel="stylesheet" href={`${SERVICE}/embed.css`} precedence="default" />
      <script async type="module" src={`${SERVICE}/embed.js`} />
      <currency-ticker
        lang="ru"
        layout="list"
        style={{ display: "block" }}
        dangerouslySetInnerHTML={{ __html: await fragment("lang=ru&layout=list") }}
      />
    </main>
  );
}
