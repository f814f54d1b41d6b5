// Colours: viridis for weights, a hue per head, and the colours of the theme.
import { hcl } from "d3-color";
import { interpolateViridis } from "d3-scale-chromatic";

const STEPS = 256;
const VIRIDIS = Array.from({ length: STEPS }, (_, at) => interpolateViridis(at / (STEPS - 1)));
const VIRIDIS_BYTES = VIRIDIS.map(bytesOf);

const VIRIDIS_PIXELS = new Uint32Array(Uint8Array.from(VIRIDIS_BYTES.flatMap((rgb) => [...rgb, 255])).buffer);

/** Returns red, green and blue of a colour such as `#1e2129`. */
export function bytesOf(hex: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

/** Returns the step of viridis for a share between 0 and 1. */
function step(share: number): number {
  return Math.max(0, Math.min(STEPS - 1, Math.round(share * (STEPS - 1))));
}

export function viridis(share: number): string {
  return VIRIDIS[step(share)];
}

/** Returns a colour of viridis as a pixel of a canvas: four bytes in one number. */
export function viridisPixel(share: number): number {
  return VIRIDIS_PIXELS[step(share)];
}

/** Returns black or white, whichever is readable on this colour of viridis. */
export function ink(share: number): string {
  const [red, green, blue] = VIRIDIS_BYTES[step(share)].map((byte) => linear(byte / 255));
  // the luminance at which white and black have equal contrast, by WCAG 2
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

function linear(part: number): number {
  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
}

/** Returns the colour of a head, far from the colours of its neighbours. */
export function headColour(at: number): string {
  return hcl((35 + at * 137.5) % 360, 62, 56).formatHex();
}

/** Returns a function from weights to shares of the colour scale; `log` spans three decades below the top. */
export function shares(top: number, log: boolean): (weight: number) => number {
  if (!(top > 0)) return () => 0;
  if (!log) return (weight) => weight / top;
  return (weight) => (weight > 0 ? Math.max(0, 1 + Math.log10(weight / top) / DECADES) : 0);
}

export const DECADES = 3;

/** Returns a colour of the current theme by name. */
export function themed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Returns the background mixed with a share of a colour of the theme, as in the style sheet. */
export function mixed(share: number, name: string): string {
  const [ground, accent] = [themed("ground"), themed(name)].map(bytesOf);
  const parts = ground.map((from, at) => Math.round(from + share * (accent[at] - from)));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}
