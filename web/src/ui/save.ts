// Export: the view as SVG or PNG, its numbers as CSV.
import { themed } from "../colour";
import type { Drawing, Table } from "../drawing";
import { SvgPen, sized } from "../pen";

const MARGIN = 12;

export function svgOf({ picture }: Drawing): string {
  const pen = new SvgPen();
  const [width, height] = [picture.width + 2 * MARGIN, picture.height + 2 * MARGIN];
  pen.rect(0, 0, width, height, themed("ground"));
  pen.group(MARGIN, MARGIN, () => picture.paint(pen));
  return pen.file(width, height);
}

export function pngOf({ picture }: Drawing): Promise<Blob | null> {
  const canvas = document.createElement("canvas");
  const [width, height] = [picture.width + 2 * MARGIN, picture.height + 2 * MARGIN];
  // browsers draw nothing at all on a canvas that is larger
  const ratio = Math.min(2, 16_000 / Math.max(width, height), Math.sqrt(2e8 / (width * height)));
  const pen = sized(canvas, width, height, ratio)();
  pen.rect(0, 0, width, height, themed("ground"));
  pen.group(MARGIN, MARGIN, () => picture.paint(pen));
  return new Promise((done) => canvas.toBlob(done));
}

export function csvOf({ columns, rows }: Table): string {
  return [columns, ...rows].map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

function field(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function download(name: string, content: Blob | string, type = "text/plain"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
