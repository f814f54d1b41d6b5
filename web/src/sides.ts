// What the tokens of rows and of columns are called: target and source in cross-attention, else query and key.

export function sideNames(kind: string): { queries: string; keys: string } {
  return kind.startsWith("cross") ? { queries: "target", keys: "source" } : { queries: "query", keys: "key" };
}
