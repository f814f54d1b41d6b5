// When work is done: in slices with a frame of the browser between them, or once per frame.

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

/** Returns a function that runs `act` once before the next frame, however often it is called. */
export function oncePerFrame(act: () => void): () => void {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      act();
    });
  };
}
