// One interface to draw on a canvas and into an SVG file, so that the export equals the view.

export interface TextLook {
  anchor?: "start" | "middle" | "end";
  size?: number;
  fill?: string;
  bold?: boolean;
  /** Degrees of rotation around the position of the text. */
  turn?: number;
  /** Whether the text runs from right to left; the start of the text is then its right end. */
  rightToLeft?: boolean;
}

export interface Pen {
  rect(x: number, y: number, width: number, height: number, fill: string): void;
  /** A curve that is horizontal at both ends. */
  link(from: Point, to: Point, stroke: string, opacity: number): void;
  /** A straight line, `width` pixels wide. */
  line(from: Point, to: Point, stroke: string, width?: number): void;
  text(x: number, y: number, text: string, look?: TextLook): void;
  image(x: number, y: number, width: number, height: number, pixels: HTMLCanvasElement): void;
  /** Everything that `draw` draws, moved. */
  group(x: number, y: number, draw: () => void): void;
}

export type Point = readonly [number, number];

export const FONT = "ui-sans-serif, system-ui, 'Segoe UI', 'Noto Sans', sans-serif";

export class CanvasPen implements Pen {
  constructor(private readonly context: CanvasRenderingContext2D) {}

  rect(x: number, y: number, width: number, height: number, fill: string): void {
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, width, height);
  }

  link([x1, y1]: Point, [x2, y2]: Point, stroke: string, opacity: number): void {
    const middle = (x1 + x2) / 2;
    this.stroked(stroke, opacity, 1 + 2 * opacity, (path) => {
      path.moveTo(x1, y1);
      path.bezierCurveTo(middle, y1, middle, y2, x2, y2);
    });
  }

  line([x1, y1]: Point, [x2, y2]: Point, stroke: string, width = 1): void {
    this.stroked(stroke, 1, width, (path) => {
      path.moveTo(x1, y1);
      path.lineTo(x2, y2);
    });
  }

  private stroked(
    stroke: string,
    opacity: number,
    width: number,
    draw: (path: CanvasRenderingContext2D) => void,
  ): void {
    const path = this.context;
    path.strokeStyle = stroke;
    path.globalAlpha = opacity;
    path.lineWidth = width;
    path.beginPath();
    draw(path);
    path.stroke();
    path.globalAlpha = 1;
  }

  text(x: number, y: number, text: string, look: TextLook = {}): void {
    const { context } = this;
    context.save();
    context.font = `${look.bold ? "600 " : ""}${look.size ?? 12}px ${FONT}`;
    context.fillStyle = look.fill ?? "#000";
    context.textAlign = look.anchor === "middle" ? "center" : (look.anchor ?? "start");
    context.textBaseline = "middle";
    context.direction = look.rightToLeft ? "rtl" : "ltr";
    context.translate(x, y);
    context.rotate(((look.turn ?? 0) * Math.PI) / 180);
    context.fillText(text, 0, 0);
    context.restore();
  }

  image(x: number, y: number, width: number, height: number, pixels: HTMLCanvasElement): void {
    this.context.imageSmoothingEnabled = width < pixels.width;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(pixels, x, y, width, height);
  }

  group(x: number, y: number, draw: () => void): void {
    this.context.save();
    this.context.translate(x, y);
    draw();
    this.context.restore();
  }
}

export class SvgPen implements Pen {
  private readonly parts: string[] = [];

  rect(x: number, y: number, width: number, height: number, fill: string): void {
    this.add("rect", { x, y, width, height, fill });
  }

  link([x1, y1]: Point, [x2, y2]: Point, stroke: string, opacity: number): void {
    const middle = short((x1 + x2) / 2);
    const d = `M${short(x1)},${short(y1)}C${middle},${short(y1)} ${middle},${short(y2)} ${short(x2)},${short(y2)}`;
    this.add("path", {
      d,
      fill: "none",
      stroke,
      "stroke-opacity": short(opacity),
      "stroke-width": short(1 + 2 * opacity),
    });
  }

  line([x1, y1]: Point, [x2, y2]: Point, stroke: string, width = 1): void {
    this.add("line", { x1, y1, x2, y2, stroke, "stroke-width": width });
  }

  text(x: number, y: number, text: string, look: TextLook = {}): void {
    const attributes: Attributes = {
      "dominant-baseline": "central",
      "text-anchor": look.anchor ?? "start",
      "font-size": look.size ?? 12,
      fill: look.fill ?? "#000",
      transform: `translate(${short(x)},${short(y)})${look.turn ? ` rotate(${look.turn})` : ""}`,
    };
    if (look.bold) attributes["font-weight"] = 600;
    if (look.rightToLeft) attributes.direction = "rtl";
    this.add("text", attributes, text);
  }

  image(x: number, y: number, width: number, height: number, pixels: HTMLCanvasElement): void {
    const style = "image-rendering:pixelated";
    this.add("image", { x, y, width, height, href: pixels.toDataURL(), preserveAspectRatio: "none", style });
  }

  group(x: number, y: number, draw: () => void): void {
    this.parts.push(`<g transform="translate(${short(x)},${short(y)})">`);
    draw();
    this.parts.push("</g>");
  }

  /** Returns the file. */
  file(width: number, height: number): string {
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    return `<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" ${size} font-family="${escaped(FONT)}">${this.parts.join("")}</svg>\n`;
  }

  private add(name: string, attributes: Attributes, text = ""): void {
    const written = Object.entries(attributes).map(([key, value]) => {
      return ` ${key}="${typeof value === "number" ? short(value) : escaped(value)}"`;
    });
    this.parts.push(`<${name}${written.join("")}>${escaped(text)}</${name}>`);
  }
}

type Attributes = Record<string, string | number>;

function short(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Returns text escaped for XML; characters that XML does not allow become U+FFFD. */
export function escaped(text: string): string {
  return text
    .replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
    .replace(/[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD");
}

/** Sets the size of a canvas, sharp on this screen; returns its context, which counts pixels of the page. */
export function sizedContext(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  ratio: number,
): CanvasRenderingContext2D {
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Sets the size of a canvas; returns a function that clears it and returns its pen. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number, ratio: number): () => CanvasPen {
  const context = sizedContext(canvas, width, height, ratio);
  const pen = new CanvasPen(context);
  return () => {
    context.clearRect(0, 0, width, height);
    return pen;
  };
}
