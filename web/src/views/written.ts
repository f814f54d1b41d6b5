// The text on the page as a picture: backgrounds where the browser drew them, and each line of text as one text, so that
// letters join and scripts from right to left keep their order.
import { themed } from "../colour";
import type { Pen } from "../pen";

/** Edges in pixels. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** A part of a line that is drawn as one text. */
interface Run extends Box {
  text: string;
}

/** Draws the paragraph `host`, moved so that (left, top) of the window is the origin of the pen. */
export function paintText(pen: Pen, host: HTMLElement, origin: { left: number; top: number }, background: Background) {
  const moved = ({ left, top, right, bottom }: Box): Box => ({
    left: left - origin.left,
    top: top - origin.top,
    right: right - origin.left,
    bottom: bottom - origin.top,
  });
  const pieces = [...host.querySelectorAll<HTMLElement>(".piece")];
  for (const piece of pieces) {
    for (const rect of piece.getClientRects()) {
      const box = moved(rect);
      background(pen, piece, box);
      if (piece.classList.contains("chip")) frame(pen, box, themed("line"));
    }
  }
  const look = getComputedStyle(host);
  const rightToLeft = look.direction === "rtl";
  const size = Number.parseFloat(look.fontSize);
  for (const run of runsOf(host)) {
    const { left, right, top, bottom } = moved(run);
    const ink = { size, fill: themed("ink"), rightToLeft };
    pen.text(rightToLeft ? right : left, (top + bottom) / 2, run.text, ink);
  }
  for (const chip of pieces.filter((piece) => piece.classList.contains("chip"))) {
    const { left, right, top, bottom } = moved(chip.getBoundingClientRect());
    const chipLook = { size: Number.parseFloat(getComputedStyle(chip).fontSize), fill: themed("ink") };
    pen.text((left + right) / 2, (top + bottom) / 2, chip.textContent ?? "", { ...chipLook, anchor: "middle" });
  }
  for (const piece of pieces.filter(isFramed)) {
    for (const rect of piece.getClientRects()) frame(pen, moved(rect), themed("accent"), 2);
  }
}

function isFramed(piece: HTMLElement): boolean {
  return piece.getAttribute("aria-pressed") === "true" || piece.classList.contains("predicts");
}

/** Draws the background of one box of a piece. */
export type Background = (pen: Pen, piece: HTMLElement, box: Box) => void;

function frame(pen: Pen, { left, top, right, bottom }: Box, stroke: string, width = 1): void {
  const corners = [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ] as const;
  corners.forEach((corner, at) => {
    pen.line(corner, corners[(at + 1) % corners.length], stroke, width);
  });
}

/** Returns the lines of a paragraph, cut at chips. */
function runsOf(host: HTMLElement): Run[] {
  const runs: Run[] = [];
  let run: Run | null = null;
  const flush = () => {
    if (run?.text.trim()) runs.push(run);
    run = null;
  };
  const add = (text: string, box: DOMRect | undefined) => {
    if (text === "\n") flush();
    if (!box || text === "\n") return;
    if (run && Math.abs(run.bottom - box.bottom) > box.height / 2) flush();
    run ??= { text: "", left: box.left, right: box.right, top: box.top, bottom: box.bottom };
    run.text += text;
    run.left = Math.min(run.left, box.left);
    run.right = Math.max(run.right, box.right);
  };
  const walker = document.createTreeWalker(host, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode() as Text | null; node; node = walker.nextNode() as Text | null) {
    if (node.parentElement?.closest(".chip")) {
      flush();
      continue;
    }
    for (const [text, box] of partsOf(node)) add(text, box);
  }
  flush();
  return runs;
}

/** Yields a text as a whole if it is in one line, else its characters, each with its box. */
function* partsOf(node: Text): Generator<[string, DOMRect | undefined]> {
  const text = node.data;
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = [...range.getClientRects()];
  if (!text.includes("\n") && boxes.every((box) => Math.abs(box.bottom - boxes[0].bottom) < box.height / 2)) {
    yield [text, boxes.length ? range.getBoundingClientRect() : undefined];
    return;
  }
  let start = 0;
  for (const char of text) {
    range.setStart(node, start);
    range.setEnd(node, start + char.length);
    yield [char, range.getClientRects()[0]];
    start += char.length;
  }
}
