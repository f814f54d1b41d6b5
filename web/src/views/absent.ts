// Cells without a weight: masked keys are grey, undefined rows and values are hatched, as in the pictures of attncli.
import { select } from "d3-selection";
import { themed } from "../colour";
import { type Grid, isUndefined, rowOf } from "../maps";
import type { Pen } from "../pen";
import type { State } from "../state";

/** Which cells without a weight a view has. */
export interface Absent {
  masked: boolean;
  undefined: boolean;
  /** Whether sinks are left out too, which look like masked keys. */
  sinks?: boolean;
}

export const LEGEND_HIGH = 26;
const STEP = 5;
const SWATCH = 14;

export function absentOf(map: Grid, { sinks }: State): Absent {
  const absent = { masked: false, undefined: false, sinks: sinks === "drop" };
  for (let row = 0; row < map.rows; row++) {
    if (isUndefined(map, row)) absent.undefined = true;
    else absent.masked ||= rowOf(map, row).some(Number.isNaN);
  }
  return absent;
}

/** Draws a hatched rectangle. */
export function hatch(pen: Pen, x: number, y: number, width: number, height: number): void {
  if (width <= 0 || height <= 0) return;
  pen.rect(x, y, width, height, themed("ground"));
  const colour = themed("hatch");
  for (let at = STEP / 2; at < width + height; at += STEP) {
    const [near, far] = [Math.max(0, at - height), Math.min(at, width)];
    const [low, high] = [Math.max(0, at - width), Math.min(at, height)];
    pen.line([x + far, y + low], [x + near, y + high], colour, 0.6);
    pen.line([x + width - far, y + low], [x + width - near, y + high], colour, 0.6);
  }
}

/** Yields the first row, and the row after the last, of each group of undefined rows. */
export function* undefinedRows(map: Grid): Generator<[number, number]> {
  let first = -1;
  for (let row = 0; row <= map.rows; row++) {
    const absent = row < map.rows && isUndefined(map, row);
    if (absent && first < 0) first = row;
    if (!absent && first >= 0) {
      yield [first, row];
      first = -1;
    }
  }
}

/** Returns the pixels that the legend needs below a picture. */
export function legendHeight(absent: Absent): number {
  return entries(absent).length ? LEGEND_HIGH : 0;
}

/** Draws the legend, where there is something to explain. */
export function paintLegend(pen: Pen, absent: Absent, x: number, y: number): void {
  let left = x;
  for (const [name, label] of entries(absent)) {
    if (name === "masked") pen.rect(left, y, SWATCH, SWATCH, themed("unseen"));
    else hatch(pen, left, y, SWATCH, SWATCH);
    pen.text(left + SWATCH + 6, y + SWATCH / 2, label, { size: 11, fill: themed("ink") });
    left += SWATCH + 30 + 6 * label.length;
  }
}

/** Adds the legend to a view, or replaces the one that it has. */
export function absentLegend(host: HTMLElement, absent: Absent): void {
  const box = select(host)
    .selectAll<HTMLElement, Absent>("p.absent")
    .data(entries(absent).length ? [absent] : [])
    .join("p")
    .attr("class", "legend absent");
  const entry = box.selectAll("span").data(entries(absent)).join("span").attr("class", "entry");
  entry
    .selectAll("i")
    .data(([name]) => [name])
    .join("i")
    .attr("class", (name) => `swatch ${name}`);
  entry
    .selectAll("b")
    .data(([, label]) => [label])
    .join("b")
    .text((label) => label);
}

function entries(absent: Absent): ["masked" | "undefined", string][] {
  const all: ["masked" | "undefined", string][] = [
    ["masked", absent.sinks ? "masked key, or a sink that is left out" : "masked key"],
    ["undefined", "undefined"],
  ];
  return all.filter(([name]) => absent[name]);
}
