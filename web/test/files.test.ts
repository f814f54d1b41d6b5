import { describe, expect, it } from "vitest";
import { escaped, SvgPen } from "../src/pen";
import { csvOf } from "../src/ui/save";

describe("files", () => {
  it("quotes what would break a line of CSV", () => {
    const table = {
      columns: ["token", "weight"],
      rows: [
        ['a "b", c', 0.5],
        ["two\nlines", 1],
      ],
    };
    expect(csvOf(table)).toBe('token,weight\r\n"a ""b"", c",0.5\r\n"two\nlines",1\r\n');
  });

  it("escapes what would break an SVG", () => {
    expect(escaped('</text><script>"&\u0000\ud800')).toBe("&#60;/text&#62;&#60;script&#62;&#34;&#38;\ufffd\ufffd");
    const pen = new SvgPen();
    pen.text(1, 2, "<b>", { bold: true });
    expect(pen.file(10, 10)).toContain(">&#60;b&#62;</text>");
  });
});
