// The colour of each point, and what the colours mean.
import { headColour, viridis } from "../colour";
import type { QkMaps } from "./maps";
import type { State } from "./state";

const STEPS = 64;
/** Share of the values below and above the ends of a scale, so that few extreme ones do not take all colours. */
const CLIPPED = 0.02;
/** Part of viridis that is seen on a light and on a dark page. */
const SEEN = { light: [0, 0.92], dark: [0.18, 1] } as const;
/** Colours of queries and keys, as in the pictures of attncli. */
const SIDE_COLOURS = { light: ["#d55e00", "#0072b2"], dark: ["#ff9c5a", "#5db3ee"] } as const;
/** Colours of types of tokens: of Okabe and Ito 2008, which colour-blind people can tell apart. */
const TYPE_COLOURS = {
  light: ["#0072b2", "#56b4e9", "#e69f00", "#d55e00"],
  dark: ["#5db3ee", "#a9dcff", "#f2b84b", "#ff8a50"],
} as const;
/** Number of texts with a line of their own in the legend. */
const MOST_TEXTS = 12;

export interface Entry {
  colour: string;
  name: string;
  count: number;
}

/** What colours mean: entries, or a scale between two ends. */
export interface Legend {
  title: string;
  entries: Entry[];
  /** Number of entries that are not listed. */
  more: number;
  scale: { low: string; high: string; colours: string[] } | null;
}

export interface Colouring {
  palette: string[];
  /** [point] Place of its colour in the palette. */
  at: Uint16Array;
  legend: Legend;
}

export const COLOUR_NAMES: Record<State["color"], string> = {
  side: "query or key",
  position: "position",
  type: "type of token",
  norm: "norm",
  text: "text",
};

/** Returns the colours of the points of a head. */
export function colouringOf(maps: QkMaps, state: State, dark: boolean): Colouring {
  const { count, queries, text, position, type } = maps.table(state);
  const theme = dark ? "dark" : "light";
  switch (state.color) {
    case "side":
      return named(
        state,
        Uint16Array.from({ length: count }, (_, point) => Number(point >= queries)),
        ["query", "key"],
        [...SIDE_COLOURS[theme]],
      );
    case "type": {
      const names = maps.page.token_types;
      return named(
        state,
        Uint16Array.from(type),
        names,
        names.map((_, at) => TYPE_COLOURS[theme][at % TYPE_COLOURS[theme].length]),
      );
    }
    case "text": {
      const { texts } = maps.kind(state);
      const names = texts.map(({ index, name }) => `${index}: ${name}`);
      return named(
        state,
        Uint16Array.from(text),
        names,
        names.map((_, at) => headColour(at)),
      );
    }
    case "position":
      return scaled(state, Float32Array.from(position), theme, 0);
    case "norm":
      return scaled(state, maps.map(state).norms, theme, CLIPPED);
  }
}

function named(state: State, at: Uint16Array, names: readonly string[], palette: string[]): Colouring {
  const counts = names.map(() => 0);
  for (const place of at) counts[place]++;
  const entries = names.map((name, place) => ({ colour: palette[place], name, count: counts[place] }));
  const used = entries.filter(({ count }) => count > 0);
  const listed = used.slice(0, MOST_TEXTS);
  const legend = { title: COLOUR_NAMES[state.color], entries: listed, more: used.length - listed.length, scale: null };
  return { palette, at, legend };
}

function scaled(state: State, values: Float32Array, theme: "light" | "dark", clipped: number): Colouring {
  const ordered = values.slice().sort();
  const last = ordered.length - 1;
  const [low, high] = [ordered[Math.floor(clipped * last)], ordered[Math.ceil((1 - clipped) * last)]];
  const [first, end] = SEEN[theme];
  const palette = Array.from({ length: STEPS }, (_, step) => viridis(first + (step / (STEPS - 1)) * (end - first)));
  const at = Uint16Array.from(values, (value) =>
    high > low ? Math.round(Math.max(0, Math.min(1, (value - low) / (high - low))) * (STEPS - 1)) : 0,
  );
  const ends = [low, high].map((value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3)));
  const [below, above] = [ordered[0] < low ? "≤ " : "", ordered[last] > high ? "≥ " : ""];
  const scale = { low: below + ends[0], high: above + ends[1], colours: palette };
  return { palette, at, legend: { title: COLOUR_NAMES[state.color], entries: [], more: 0, scale } };
}
