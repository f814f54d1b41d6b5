// The cells of a text: what is drawn, clicked and coloured as one. Pieces that split a character share a cell.
import { largest, total } from "./maps";
import type { Axis } from "./run";
import type { Side } from "./schema";

/** A text as written: for each piece its label, the number of its cell, the text before it and its own. */
export type Written = Pick<Side, "labels" | "cells" | "before" | "surface">;

/** Weights of the places of an axis. */
export interface Weights {
  weights: Float32Array;
  /** Whether the weight of each place is undefined. */
  undefinedAt: boolean[];
  /** Whether the weights of a cell are added, as those of keys, or their mean is taken. */
  adds: boolean;
}

export interface TextCell {
  /** The number of its first piece. */
  piece: number;
  /** Places of its pieces on the axis. */
  places: number[];
  /** The text before it, and its own; direction controls are escaped. */
  before: string;
  text: string;
  /** Whether it has no text of its own, as a special token: `text` is then its label. */
  chip: boolean;
  name: string;
  /** NaN where it is unknown or masked. */
  weight: number;
  undefined: boolean;
}

/** Returns the cells of a text, with their weights if these are weights of this text; a word of the axis is a cell. */
export function cellsOf(side: Written, axis: Pick<Axis, "labels" | "places">, shade: Weights | null): TextCell[] {
  const cells: TextCell[] = [];
  let last = -1;
  side.labels.forEach((_, piece) => {
    const [number, place] = [side.cells[piece], axis.places[piece]];
    const [before, text] = [side.before[piece], side.surface[piece]].map(escapedControls);
    const cell = cells[cells.length - 1];
    if (number === last || (cell && !cell.chip && text && place >= 0 && cell.places.includes(place))) {
      cell.text += before + text;
      if (place >= 0 && !cell.places.includes(place)) cell.places.push(place);
    } else {
      const places = place < 0 ? [] : [place];
      cells.push({ piece, places, before, text: text || side.labels[piece], chip: !text, ...UNKNOWN });
    }
    last = number;
  });
  for (const cell of cells) weigh(cell, axis, shade);
  return cells;
}

const UNKNOWN = { name: "", weight: Number.NaN, undefined: false };

/** Sets the name of a cell, and its weight from those of its places. */
function weigh(cell: TextCell, axis: Pick<Axis, "labels">, shade: Weights | null): void {
  const { places } = cell;
  cell.name = places.length === 1 ? axis.labels[places[0]] : cell.text;
  if (!shade || !places.length) return;
  cell.undefined = places.every((place) => shade.undefinedAt[place]);
  const known = places.map((place) => shade.weights[place]).filter((weight) => !Number.isNaN(weight));
  if (known.length) cell.weight = total(known) / (shade.adds ? 1 : known.length);
}

/** Returns the largest weight of the cells; 0 where none has a weight. */
export function topOf(cells: readonly TextCell[]): number {
  return largest(cells.map((cell) => cell.weight));
}

/** Returns text in which characters that change the direction of what follows are escaped, as in labels. */
export function escapedControls(text: string): string {
  return text.replace(
    /[\u202A-\u202E\u2066-\u2069]/g,
    (char) => `⟨U+${char.charCodeAt(0).toString(16).toUpperCase()}⟩`,
  );
}

/** Returns a label for use in a sentence: one that runs from right to left does not change the order of the sentence. */
export function isolated(label: string): string {
  return /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC]/.test(label) ? `\u2068${label}\u2069` : label;
}
