// The state of a page in its address: how parts are read and written, and the store of the current state.

/** Reads each part of an address; throws where the text is not allowed. */
export type Parts<S> = { [K in keyof S]: (text: string) => S[K] };

export const numbers = {
  read: (text: string) => text.split(",").filter(Boolean).map(count),
  write: (values: readonly number[]) => values.join(","),
};

export function among<T extends string>(allowed: readonly T[], text: string): T {
  const value = allowed.find((candidate) => candidate === text);
  if (value === undefined) throw new Error(`expected ${allowed.join(", ")}, got ${text}`);
  return value;
}

export function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`expected a number, got ${text}`);
  return Number(text);
}

/** Returns the valid parts of an address; others are left out. */
export function parsedBy<S>(parts: Parts<S>, hash: string): Partial<S> {
  const change: Record<string, unknown> = {};
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const part = Object.hasOwn(parts, name) ? parts[name as keyof S] : undefined;
    if (!part) continue;
    try {
      change[name] = part(text);
    } catch {
      // an address written by hand can contain anything
    }
  }
  return change as Partial<S>;
}

/** Returns the address of a state: only the parts that differ from the start, and the one that is `always` written. */
export function writtenBy<S>(parts: Parts<S>, state: S, start: S, always?: keyof S): string {
  const address = new URLSearchParams();
  for (const name of Object.keys(parts) as (keyof S & string)[]) {
    const [value, usual] = [text(state[name]), text(start[name])];
    if (value !== usual || name === always) address.set(name, value);
  }
  return `#${address.toString().replaceAll("%2C", ",")}`;
}

function text(value: unknown): string {
  if (Array.isArray(value)) return numbers.write(value);
  if (typeof value === "boolean") return value ? "1" : "0";
  return value === null ? "" : String(value);
}

/** The current state; listeners are called after each change. */
export class StoreOf<S> {
  private readonly listeners: ((state: S, before: S) => void)[] = [];

  constructor(
    private current: S,
    private readonly legal: (state: S) => S,
  ) {
    this.current = legal(current);
  }

  get state(): S {
    return this.current;
  }

  change(change: Partial<S>): void {
    const before = this.current;
    this.current = this.legal({ ...before, ...change });
    for (const listen of this.listeners) listen(this.current, before);
  }

  listen(listener: (state: S, before: S) => void): void {
    this.listeners.push(listener);
  }
}
