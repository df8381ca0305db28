/**
 * Types of the web components `<currency-ticker>` and `<currency-chart>` for TypeScript, JSX (React), templates of Vue, and Svelte.
 *
 * The service serves this file at `/embed.d.ts`; the package `@currency-ticker/element` contains it. Frameworks that a
 * project does not use need not be installed: `@ts-ignore` accepts a missing module.
 */

// @ts-ignore
import type * as React from "react";
// @ts-ignore
import type * as Svelte from "svelte/elements";
// @ts-ignore
import type * as Vue from "vue";

/** `auto` follows the colour scheme of the page, `system` that of the visitor's system. */
export type CurrencyTickerTheme = "auto" | "light" | "dark" | "transparent" | "system";

export type CurrencyTickerLayout = "strip" | "list" | "tape";

/** A value that is shown of each currency. */
export type CurrencyTickerValue = "rate" | "buy" | "sell" | "change" | "percent";

/** Values separated by commas: `"rate,percent"`. They are shown in a fixed order. */
export type CurrencyTickerShow =
  | CurrencyTickerValue
  | `${CurrencyTickerValue},${CurrencyTickerValue}`
  | `${CurrencyTickerValue},${CurrencyTickerValue},${CurrencyTickerValue}`
  | `${CurrencyTickerValue},${CurrencyTickerValue},${CurrencyTickerValue},${CurrencyTickerValue}`
  | "rate,buy,sell,change,percent";

/** Period of the changes; `day` is since the previous publication, `ytd` since the end of last year. */
export type CurrencyTickerPeriod = "day" | "week" | "month" | "year" | "ytd";

/** An attribute without a value is set; the value `"false"` is the same as no attribute. */
export type CurrencyTickerFlag = boolean | "" | "true" | "false";

/** The attributes of `<currency-ticker>`. All are optional and may change at any time. */
export interface CurrencyTickerAttributes {
  /** Id of a ticker. Default: the first ticker of the service. */
  ticker?: string | undefined;
  /** Codes separated by commas, in the order in which they are shown: `"usd,eur"`. Default: all of the ticker. */
  currencies?: string | undefined;
  /** A CLDR locale: `"kk"`, `"pt-BR"`. Default, and `"auto"`: the language of the page, else the visitor's. */
  lang?: string | undefined;
  /** Default: `"auto"`. */
  theme?: CurrencyTickerTheme | undefined;
  /** Default: `"strip"`. */
  layout?: CurrencyTickerLayout | undefined;
  /** Default: `"percent"` in a strip, `"rate,percent"` in a list and a tape. */
  show?: CurrencyTickerShow | undefined;
  /** Receive each new state by Server-Sent Events, instead of about once a minute. */
  live?: CurrencyTickerFlag | undefined;
  /** Show a sparkline of each currency; in a list only. */
  spark?: CurrencyTickerFlag | undefined;
  /** Default: `"day"`. */
  period?: CurrencyTickerPeriod | undefined;
}

/** The response of `/v1/ticker`: the state of a ticker, with texts in the language of the element. */
export interface CurrencyTickerData {
  id: string;
  /** Code of the currency in which the rates are expressed. */
  base: string;
  status: "current" | "late" | "stale" | "recorded";
  /** True if some rates are sample data. */
  recorded: boolean;
  /** Latest effective date, `YYYY-MM-DD`. */
  as_of: string;
  /** When the latest publication was fetched, in ISO 8601. */
  updated_at: string;
  /** When the next publication is due, in ISO 8601. */
  next_update: string | null;
  /** All quotes of the ticker, also those that the element does not show. */
  quotes: CurrencyTickerQuote[];
  /** With `on`: the requested date. */
  on?: string;
  text?: CurrencyTickerText;
}

/** The quote of one currency. If no source has it, its values, dates and source are null. */
export interface CurrencyTickerQuote {
  /** Code in upper case, `"USD"`. */
  code: string;
  name: string;
  /** Units of the base currency for 1 unit of this currency. */
  rate: number | null;
  previous: number | null;
  /** In units of the base currency. */
  change: number | null;
  /** Change in percent, rounded to two decimals. */
  percent: number | null;
  direction: "up" | "down" | "flat" | null;
  date: string | null;
  previous_date: string | null;
  source: string | null;
  /** Priority of the source in the ticker, from 1. */
  choice: number | null;
  /** Why sources with a higher priority were not used. */
  reason: string | null;
  /** True for a rate that is converted with the source's own rate of the base currency. */
  cross: boolean;
  /** The status of this rate alone. */
  status: "current" | "late" | "stale" | "recorded" | null;
  confidence: "confirmed" | "unconfirmed" | "diverging" | null;
  /** Paths of the receipts of both publications. */
  receipts: string[];
  /** The changes by period; null where history does not reach. */
  changes: Record<CurrencyTickerPeriod, CurrencyTickerChange | null>;
  /** The rates at which the source buys and sells, if it publishes both. */
  buying?: number;
  selling?: number;
  text?: CurrencyTickerQuoteText;
}

/** The change of a rate since the publication that was in force when a period began. */
export interface CurrencyTickerChange {
  /** Change in percent, rounded to two decimals. */
  percent: number;
  /** In units of the base currency. */
  change: number;
  direction: "up" | "down" | "flat";
  /** The rate then, in the present unit of the currency. */
  previous: number;
  /** First day of that rate, `YYYY-MM-DD`. */
  date: string;
}

/** The texts of a ticker in one language. */
export interface CurrencyTickerText {
  /** Language of numbers, dates and names. */
  lang: string;
  dir: string;
  /** Language of the messages. */
  words: string;
  label: string;
  /** The sources, abbreviated. */
  sources: string;
  date: string;
  status: string;
  footer: string;
  away: string;
  pause: string;
  /** For the details, in a frame. */
  close: string;
}

/** The texts of a quote in one language. */
export interface CurrencyTickerQuoteText {
  name: string;
  rate: string;
  previous: string;
  change: string;
  percent: string;
  /** For screen readers: the name and the change in words. */
  sentence: string;
  details: string;
  note: string;
  source: string;
  date: string;
  previous_date: string;
  /** Its date, if that differs from the ticker's. */
  own_date: string;
  /** The rates at which the source buys and sells, with labels, if it publishes both. */
  buy?: string;
  sell?: string;
  /** Direction of the change over the period. */
  direction: "up" | "down" | "flat" | null;
  /** Paths of the pages of both publications that the change compares. */
  receipts: string[];
  /** With `spark`: SVG path in a box of 240 by 64, and its text alternative; null with few publications. */
  spark?: string | null;
  spark_label?: string | null;
}

/** The events of `<currency-ticker>`. All bubble and are composed. */
export interface CurrencyTickerEventMap {
  /** The first rates are shown; dispatched once. */
  "ticker-ready": CustomEvent<CurrencyTickerData>;
  /** The shown rates have changed. */
  "ticker-change": CustomEvent<CurrencyTickerData>;
  /** Rates could not be loaded repeatedly; those shown before stay visible. */
  "ticker-error": CustomEvent<{ message: string }>;
}

/** The element. It is controlled by its attributes alone. */
export interface CurrencyTickerElement extends HTMLElement {}

/** A range that ends with the latest publication. */
export type CurrencyChartRange = "1m" | "3m" | "1y" | "5y" | "all";

/** The attributes of `<currency-chart>`. All but `currency` are optional. They may change at any time. */
export interface CurrencyChartAttributes {
  /** Id of a ticker. Default: the first ticker of the service. */
  ticker?: string | undefined;
  /** Code of a currency of the ticker: `"usd"`. */
  currency: string;
  /** Default: `"1y"`. */
  range?: CurrencyChartRange | undefined;
  /** A CLDR locale: `"kk"`, `"pt-BR"`. Default, and `"auto"`: the language of the page, else the visitor's. */
  lang?: string | undefined;
  /** Default: `"auto"`. */
  theme?: CurrencyTickerTheme | undefined;
}

/** The response of `/v1/chart/{currency}`: all publications, oldest first, in columns of the same length. */
export interface CurrencyChartData {
  /** Id of the ticker. */
  ticker: string;
  /** Code of the currency in which the rates are expressed. */
  base: string;
  /** Code in upper case, `"USD"`. */
  currency: string;
  name: string;
  /** Name of the source. */
  source: string;
  /** True for rates that are converted with the source's own rate of the base currency. */
  cross: boolean;
  /** Decimals that rates are shown with. */
  decimals: number;
  /** Date of the first publication, `YYYY-MM-DD`. */
  first: string;
  /** Days since the publication before; 0 for the first. */
  days: number[];
  rates: number[];
  /** Changes in percent since the publication before. */
  percents: (number | null)[];
  /** Positions of publications that are not joined with the one before. */
  starts: number[];
  /** Positions of publications with a new unit, after a redenomination. */
  units: number[];
  /** Positions of publications that the source has corrected. */
  revised: number[];
  /** Dates with a suspicious rate, which is not published. */
  quarantined: string[];
  /** Texts and formats in one language. */
  text: CurrencyChartText;
}

/** The texts of a chart in one language. */
export interface CurrencyChartText {
  lang: string;
  dir: string;
  /** Language of the messages. */
  words: string;
  ranges: { id: string; label: string; name: string; from: string; summary: string }[];
  number: { decimal: string; group: string; sizes: number[]; plus: string; minus: string; percent: string };
  /** Patterns of dates for each month. */
  day: string[];
  short: string[];
  month: string[];
  year: string;
  range: string;
  table: string;
  date: string;
  change: string;
  indexed: string;
  logarithmic: string;
  revised: string;
  unit: string;
  away: string;
}

/** The events of `<currency-chart>`. All bubble and are composed. */
export interface CurrencyChartEventMap {
  /** The first publications are shown; dispatched once per currency. */
  "chart-ready": CustomEvent<CurrencyChartData>;
  /** The publications have changed. */
  "chart-change": CustomEvent<CurrencyChartData>;
  /** The visitor has selected a range. */
  "chart-range": CustomEvent<{ range: CurrencyChartRange }>;
  /** Publications could not be loaded repeatedly; those shown before stay visible. */
  "chart-error": CustomEvent<{ message: string }>;
}

/** The element. It is controlled by its attributes alone. */
export interface CurrencyChartElement extends HTMLElement {}

type On<Prefix extends string, Events = CurrencyTickerEventMap> = {
  [Name in keyof Events as `${Prefix}${Name & string}`]?: ((event: Events[Name]) => void) | undefined;
};

declare global {
  interface HTMLElementTagNameMap {
    "currency-ticker": CurrencyTickerElement;
    "currency-chart": CurrencyChartElement;
  }

  // The base of HTMLElementEventMap, DocumentEventMap and WindowEventMap: the events bubble.
  interface GlobalEventHandlersEventMap extends CurrencyTickerEventMap, CurrencyChartEventMap {}

  // Svelte 5
  namespace svelteHTML {
    interface IntrinsicElements {
      "currency-ticker": Omit<Svelte.HTMLAttributes<CurrencyTickerElement>, keyof CurrencyTickerAttributes> &
        CurrencyTickerAttributes &
        On<"on">;
      "currency-chart": Omit<Svelte.HTMLAttributes<CurrencyChartElement>, keyof CurrencyChartAttributes> &
        CurrencyChartAttributes &
        On<"on", CurrencyChartEventMap>;
    }
  }
}

// React 19
// @ts-ignore
declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "currency-ticker": React.HTMLAttributes<CurrencyTickerElement> &
        React.RefAttributes<CurrencyTickerElement> &
        CurrencyTickerAttributes &
        On<"on">;
      "currency-chart": React.HTMLAttributes<CurrencyChartElement> &
        React.RefAttributes<CurrencyChartElement> &
        CurrencyChartAttributes &
        On<"on", CurrencyChartEventMap>;
    }
  }
}

// Vue 3
// @ts-ignore
declare module "vue" {
  interface GlobalComponents {
    "currency-ticker": new () => CurrencyTickerElement & {
      $props: Vue.HTMLAttributes & Vue.PublicProps & CurrencyTickerAttributes;
      $emit: Vue.EmitFn<{ [Name in keyof CurrencyTickerEventMap]: (event: CurrencyTickerEventMap[Name]) => void }>;
    };
    "currency-chart": new () => CurrencyChartElement & {
      $props: Vue.HTMLAttributes & Vue.PublicProps & CurrencyChartAttributes;
      $emit: Vue.EmitFn<{ [Name in keyof CurrencyChartEventMap]: (event: CurrencyChartEventMap[Name]) => void }>;
    };
  }
}
