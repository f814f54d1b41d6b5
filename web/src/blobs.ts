// The binary parts of the page: base64 of zlib-compressed bytes, unpacked when they are first needed.
import { unzlibSync } from "fflate";

/** Bytes of a part, by its number. */
export type Blobs = (number: number) => Uint8Array;

export function unpack(base64: string): Uint8Array {
  const text = atob(base64);
  const packed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) packed[at] = text.charCodeAt(at);
  // a copy of its own: numbers of several bytes must start at the buffer's start
  return unzlibSync(packed).slice();
}

/** The parts that stand in a document as `<script id="blob-N">`. */
export function blobsOf(document: Document): Blobs {
  return (number) => {
    const part = document.getElementById(`blob-${number}`);
    if (!part) throw new Error(`this page is incomplete: it has no part ${number}`);
    return unpack(part.textContent ?? "");
  };
}
