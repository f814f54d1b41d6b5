import { describe, expect, it } from "vitest";
import { cellsOf, escapedControls, isolated, topOf } from "../src/cells";
import type { Axis } from "../src/run";
import type { Side } from "../src/schema";
import { largestAt } from "../src/views/ranked";

// क्ष of three pieces after a special token; then a space and a letter
const SIDE: Side = {
  pieces: ["<s>", "क", "्", "ष", "Ġm", "an"],
  texts: ["<s>", "क", "्", "ष", "m", "an"],
  labels: ["<s>", "क", "◌्", "ष", "·m", "an"],
  special: [0],
  words: [0, 1, 1, 1, 2, 2],
  word_texts: ["<s>", "क्ष", "man"],
  word_labels: ["<s>", "क्ष", "man"],
  segments: ["", "", "", "", "", ""],
  cells: [0, 1, 1, 1, 2, 3],
  before: ["", "", "", "", " ", ""],
  surface: ["", "क्ष", "", "", "m", "an"],
  after: "",
};

function axis(places: number[], labels: string[]): Axis {
  return { places, labels, texts: [], pieces: [], segments: [], special: [] };
}

const PIECES = axis([0, 1, 2, 3, 4, 5], SIDE.labels);
const weights = Float32Array.from([0.5, 0.125, Number.NaN, 0.25, 0.0625, 0]);
const shade = { weights, undefinedAt: SIDE.pieces.map(() => false), adds: true };

describe("cells of a text", () => {
  it("are shared by pieces that split a character, with the sum of their weights", () => {
    const cells = cellsOf(SIDE, PIECES, shade);
    expect(cells.map(({ before, text }) => before + text)).toEqual(["<s>", "क्ष", " m", "an"]);
    expect(cells.map((cell) => cell.places)).toEqual([[0], [1, 2, 3], [4], [5]]);
    expect(cells.map((cell) => cell.weight)).toEqual([0.5, 0.375, 0.0625, 0]);
    expect(cells.map((cell) => cell.chip)).toEqual([true, false, false, false]);
    expect(topOf(cells)).toBe(0.5);
  });

  it("have the mean of the weights of their queries", () => {
    const cells = cellsOf(SIDE, PIECES, { ...shade, adds: false });
    expect(cells[1].weight).toBe(0.1875);
    expect(cells[1].name).toBe("क्ष");
  });

  it("are the words of the axis", () => {
    const words = axis([0, 1, 1, 1, 2, 2], SIDE.word_labels);
    const cells = cellsOf(SIDE, words, { ...shade, weights: Float32Array.from([0.5, 0.25, 0.125]) });
    expect(cells.map(({ text, weight }) => [text, weight])).toEqual([
      ["<s>", 0.5],
      ["क्ष", 0.25],
      ["man", 0.125],
    ]);
  });

  it("have no places where their token is left out, and no weights in the other text", () => {
    const cells = cellsOf(SIDE, axis([-1, 0, 1, 2, 3, 4], SIDE.labels.slice(1)), null);
    expect(cells[0].places).toEqual([]);
    expect(cells.every((cell) => Number.isNaN(cell.weight))).toBe(true);
    expect(topOf(cells)).toBe(0);
  });

  it("are undefined where all their places are", () => {
    const undefinedAt = [false, true, true, true, true, false];
    expect(cellsOf(SIDE, PIECES, { ...shade, undefinedAt }).map((cell) => cell.undefined)).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });
});

describe("text from right to left", () => {
  it("cannot be reversed by control characters", () => {
    expect(escapedControls("a\u202Eb\u2066c")).toBe("a⟨U+202E⟩b⟨U+2066⟩c");
  });

  it("is isolated in a sentence", () => {
    expect(isolated("it")).toBe("it");
    expect(isolated("كتاب")).toBe("\u2068كتاب\u2069");
  });
});

describe("the largest weights", () => {
  it("come first, without those that are zero or unknown; equal ones in their order", () => {
    expect(largestAt(weights)).toEqual([0, 3, 1, 4]);
    expect(largestAt([0.2, 0.5, 0.2, 0.5], 3)).toEqual([1, 3, 0]);
    expect(largestAt([])).toEqual([]);
  });
});
