// The grid of layers x heads of both pages: the size of a small map, and the numbers around the maps.
import type { Selection } from "d3-selection";

/** Pixels of the parts of a grid. */
export interface GridSizes {
  /** Of the numbers of layers and heads. */
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

/** Sets the columns of a grid, and adds the numbers of heads as its first row; `cell` is the width of a column in CSS. */
export function headNumbers(grid: Grid, columns: number, label: number, cell: string): void {
  grid.style("grid-template-columns", `${label}px repeat(${columns}, ${cell})`);
  grid.append("span").attr("class", "corner").attr("aria-hidden", "true").text("L \\ H");
  for (let column = 0; column < columns; column++) grid.append("span").attr("class", "number").text(column);
}

/** Begins a row of a grid with the name of its layer. */
export function layerNumber(grid: Grid, layer: number | string): void {
  grid.append("span").attr("class", "number").style("grid-column", "1").text(layer);
}
