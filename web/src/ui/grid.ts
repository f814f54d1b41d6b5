// The grid of layers x heads of both pages: the size of a small map, and the names around the maps.
import type { Selection } from "d3-selection";

/** Pixels of the parts of a grid. */
export interface GridSizes {
  /** Of the names of layers and heads. */
  label: number;
  gap: number;
  /** Of what is below each map. */
  below: number;
  /** Least and most side of a map; and the side that needs no more room in height, which a larger one does. */
  least: number;
  usual: number;
  most: number;
}

/** Returns the side of a small map: all heads fit the width, and large ones the height too. */
export function mapSide(
  room: { width: number; height: number },
  rows: number,
  columns: number,
  sizes: GridSizes,
): number {
  const { label, gap, below, least, usual, most } = sizes;
  const wide = Math.floor((room.width - label) / columns) - gap;
  const high = Math.floor((room.height - label) / rows) - gap - below;
  return Math.max(least, Math.min(most, wide, Math.max(usual, high)));
}

type Grid = Selection<HTMLDivElement, unknown, null, undefined>;

/** A head in the grid; its column is its place among the heads of its layer. */
export interface GridHead {
  head: number | string;
  column: number;
}

/** Sets the columns of a grid, and adds its first row, the names of heads; `cell` is the width of a column in CSS. */
export function headNames(grid: Grid, heads: readonly GridHead[], label: number, cell: string): void {
  const names: GridHead["head"][] = [];
  for (const { head, column } of heads) names[column] ??= head;
  grid.style("grid-template-columns", `${label}px repeat(${names.length}, ${cell})`);
  grid.append("span").attr("class", "corner").attr("aria-hidden", "true").text("L \\ H");
  for (const name of names) grid.append("span").attr("class", "number").text(name);
}

/** Begins a row of a grid with the name of its layer. */
export function layerName(grid: Grid, layer: number | string): void {
  grid.append("span").attr("class", "number").style("grid-column", "1").text(layer);
}
