// The binary parts of the page: base64 of zlib-compressed bytes, unpacked on first use.
import { unzlibSync } from "fflate";

/** Returns the bytes of a part by its number. */
export type Blobs = (number: number) => Uint8Array;

export function unpack(base64: string): Uint8Array {
  const text = atob(base64);
  const packed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) packed[at] = text.charCodeAt(at);
  // a copy, as numbers of several bytes must start at the start of a buffer
  return unzlibSync(packed).slice();
}

/** Returns the parts of a document, which are in `<script id="blob-N">`. */
export function blobsOf(document: Document): Blobs {
  return (number) => {
    const part = document.getElementById(`blob-${number}`);
    if (!part) throw new Error(`this page is incomplete: it has no part ${number}`);
    return unpack(part.textContent ?? "");
  };
}
