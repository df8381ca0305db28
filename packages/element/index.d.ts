export type * from "./embed.d.ts";

/**
 * Load the web component `<currency-ticker>` from the service at `url`, for example `https://ticker.example`.
 *
 * The promise is resolved when the element is defined, and rejected if the script cannot be loaded. It may be ignored.
 * On a server, `load` does nothing.
 */
export declare function load(url: string | URL): Promise<void>;

/** Load the web component `<currency-chart>`, in the same way. */
export declare function loadChart(url: string | URL): Promise<void>;
