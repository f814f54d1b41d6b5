import { describe, expect, it } from "vitest";
import { colouringOf } from "../src/qk-map/colours";
import { countedTokens, inside, isShown, searched } from "../src/qk-map/found";
import { distance, QkMaps } from "../src/qk-map/maps";
import { shownCells } from "../src/qk-map/panel";
import type { QkPage } from "../src/qk-map/schema";
import { parsed, type State, written } from "../src/qk-map/state";
import { bytes } from "./made";

const START: State = {
  kind: "encoder",
  head: "",
  color: "side",
  search: "",
  show: "both",
  point: null,
  theme: "auto",
};
const HEAD: State = { ...START, head: "4.2" };
const LABELS = ["[CLS]", "·the", "cat", "##s"];
/** Positions of the two strongest keys of the queries of both heads. */
const POSITIONS = [0, 0, 0, 0, 2, 1, 3, 2];
const QUALITY = { true: true, verdict: "true", numbers: [] };

/** Two queries (the, cat) and three keys ([CLS], cat, ##s) of one text; layer 4 has the heads 0 and 2. */
function madeMaps(labels = LABELS): QkMaps {
  const side = { labels, cells: [0, 1, 2, 3], before: [], surface: [], after: "" };
  const page: QkPage = {
    schema: "attncli.qk-map-page/1",
    title: "made",
    about: [],
    notes: [],
    method: "PCA",
    color: "side",
    token_types: ["word", "special"],
    sides: [{ ...side, before: ["", "", " ", ""], surface: ["", "the", "cat", "s"] }],
    kinds: [
      {
        kind: "encoder",
        texts: [{ index: 7, name: "the cats", queries: 0, keys: 0 }],
        queries: 2,
        keys: 3,
        table: 0,
        per_row: 2,
        layers: [
          {
            layer: 4,
            heads: [
              { head: 0, ...QUALITY },
              { head: 2, ...QUALITY },
            ],
            points: 1,
            norms: 2,
            strongest: 3,
          },
        ],
      },
    ],
  };
  const blobs = [
    bytes(Uint32Array.of(0, 0, 0, 0, 0), Uint32Array.of(1, 2, 0, 2, 3), Uint32Array.of(0, 0, 1, 0, 0)),
    bytes(
      Float32Array.of(0, 0, 1, 10, -10, 3),
      Int16Array.of(...Array(10).fill(0), 0, 0, 32767, -32767, 0, 32767, -32767, 0, 0, 0),
    ),
    bytes(Float32Array.of(1, 4), Uint16Array.of(0, 0, 0, 0, 0, 65535, 13107, 0, 65535, 39321)),
    bytes(
      Float32Array.of(0, 0, 0.5, 1),
      labels === LABELS ? Uint16Array.of(...POSITIONS) : Uint32Array.of(...POSITIONS),
      Uint8Array.of(0, 0, 0, 0, 255, 51, 255, 0),
    ),
  ];
  return new QkMaps(page, (number) => blobs[number]);
}

describe("the maps of a page", () => {
  it("has the points and norms of each head", () => {
    const { points, norms } = madeMaps().map(HEAD);
    expect([...points]).toEqual([10, -10, 13, -13, 10, -7, 7, -10, 10, -10]);
    expect([...norms].map((norm) => Number(norm.toFixed(3)))).toEqual([4, 0.8, 0, 4, 2.4]);
    expect(distance(points, 0, 1)).toBeCloseTo(3 * Math.SQRT2);
  });

  it("has the strongest keys of a query, and the queries of a key", () => {
    const maps = madeMaps();
    const [first, second] = maps.attended(HEAD, 0);
    expect(first).toEqual({ position: 2, label: "cat", weight: 0.5, point: 3 });
    expect(second).toEqual({ position: 1, label: "·the", weight: expect.closeTo(0.02), point: null });
    expect(maps.attended(HEAD, 1)).toEqual([{ position: 3, label: "##s", weight: 1, point: 4 }]);
    expect(maps.attended(HEAD, 3)).toEqual([{ position: 1, label: "·the", weight: 0.5, point: 0 }]);
    expect(maps.attended(HEAD, 2)).toEqual([]);
  });

  it("has positions of four bytes where a text has more keys than two bytes count", () => {
    const maps = madeMaps([...LABELS, ...Array(65_533).fill("a")]);
    expect(maps.attended(HEAD, 1)).toEqual([{ position: 3, label: "##s", weight: 1, point: 4 }]);
  });

  it("makes a state legal: only heads and points that there are", () => {
    const maps = madeMaps();
    expect(maps.legal({ ...START, kind: "none", head: "4.1", point: 5 })).toEqual(START);
    expect(maps.legal({ ...HEAD, point: 4 })).toEqual({ ...HEAD, point: 4 });
  });
});

describe("points that are found", () => {
  it("are all of the searched token, else all that contain the search", () => {
    const found = (search: string) => searched(madeMaps(), { ...HEAD, search });
    expect(found(" ")).toBeNull();
    expect(found("The")).toEqual(new Set([0]));
    expect(found("s")).toEqual(new Set([4]));
    expect(found("c")).toEqual(new Set([1, 2, 3]));
    expect(found("dog")).toEqual(new Set());
  });

  it("are inside an outline that may be concave", () => {
    const outline = [
      [0, 0],
      [4, 0],
      [4, 4],
      [2, 1],
      [0, 4],
    ] as const;
    for (let x = -0.5; x < 5; x++) {
      for (let y = 0.3; y < 5; y++) {
        const below = Math.min(4, 1 + 1.5 * Math.abs(x - 2));
        expect(inside(outline, x, y), `${x}, ${y}`).toBe(x > 0 && x < 4 && y < below);
      }
    }
  });

  it("are shown by side, and counted by token and side", () => {
    expect([0, 1, 2].map((point) => isShown({ show: "keys" }, 2, point))).toEqual([false, false, true]);
    expect([0, 1, 2].map((point) => isShown({ show: "queries" }, 2, point))).toEqual([true, true, false]);
    expect(countedTokens(madeMaps(), HEAD, [1, 3, 1])).toEqual([
      { label: "cat", side: "query", points: [1, 1] },
      { label: "cat", side: "key", points: [3] },
    ]);
  });
});

it("colours tell queries from keys, also of more points than two bytes count", () => {
  const count = 70_000;
  const table = { count, queries: 68_000, text: [], position: [], type: [] };
  const maps = { table: () => table } as unknown as QkMaps;
  const { legend } = colouringOf(maps, { ...HEAD, color: "side" }, false);
  expect(legend.entries.map((entry) => entry.count)).toEqual([68_000, 2_000]);
});

it("colours span the norms, and count types", () => {
  const maps = madeMaps();
  const { at, palette, legend } = colouringOf(maps, { ...HEAD, color: "norm" }, false);
  expect([...at]).toEqual([4, 0.8, 0, 4, 2.4].map((norm) => Math.round((norm / 4) * (palette.length - 1))));
  expect(legend.scale).toMatchObject({ low: "0", high: "4" });
  const { legend: types } = colouringOf(maps, { ...HEAD, color: "type" }, true);
  expect(types.entries.map(({ name, count }) => [name, count])).toEqual([
    ["word", 4],
    ["special", 1],
  ]);
});

it("the address has what differs from the start, and is read back", () => {
  const state: State = { ...HEAD, color: "norm", point: 3, search: "a&b", show: "keys", theme: "dark" };
  expect(written({ ...HEAD, color: "norm" }, START)).toBe("#head=4.2&color=norm");
  expect({ ...START, ...parsed(written(state, START)) }).toEqual(state);
  expect(parsed("#color=none&show=1&point=-1&theme=&__proto__=1")).toEqual({});
});

it("a long text is shown around the token and around what is coloured", () => {
  const cells = Array.from({ length: 400 }, (_, at) => {
    const look = { before: "", text: "a", chip: false, name: "a", undefined: false };
    return { piece: at, places: [at], ...look, weight: at === 20 ? 0.5 : Number.NaN };
  });
  const shown = shownCells(cells, 300).flatMap((isShown, at) => (isShown ? [at] : []));
  const between = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, at) => first + at);
  expect(shown).toEqual([...between(12, 28), ...between(260, 340)]);
  expect(shownCells(cells.slice(0, 250), null).every(Boolean)).toBe(true);
});
