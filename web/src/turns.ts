// Work in slices, with a frame of the browser between them.

/** Milliseconds of drawing before the page handles other events. */
const FRAME_MS = 12;

/** Runs the tasks in slices of some milliseconds with a frame between them; returns a function that stops them. */
export function inTurn(waiting: (() => void)[], sliceMs = FRAME_MS): () => void {
  let next = 0;
  let stopped = false;
  const slice = () => {
    const start = performance.now();
    while (!stopped && next < waiting.length && performance.now() - start < sliceMs) waiting[next++]();
    if (!stopped && next < waiting.length) requestAnimationFrame(slice);
  };
  slice();
  return () => {
    stopped = true;
  };
}
