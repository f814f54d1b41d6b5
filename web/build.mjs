// Builds the only asset of the page: attncli/page/assets/page.html, with script, style and their hashes inside.
// With --check it writes nothing and fails where a file differs from what would be built.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { compileFromFile } from "json-schema-to-typescript";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const check = process.argv.includes("--check");

/** Writes a file, or with --check compares it with the existing file. */
async function put(name, text) {
  const path = here(name);
  if (!check) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
    console.log(`Wrote ${path} (${Math.round(text.length / 1000)} kB)`);
  } else if ((await readFile(path, "utf8").catch(() => "")) !== text) {
    console.error(`error: ${path} is not built from its current sources: run \`make page\``);
    process.exitCode = 1;
  }
}

const types = await compileFromFile(here("page.schema.json"), {
  bannerComment: "// Written by `npm run build` from page.schema.json; do not edit.",
  additionalProperties: false,
  style: { printWidth: 120 },
});
await put("src/schema.ts", types);

const bundle = async (entry, options) => {
  const made = await build({ entryPoints: [here(entry)], bundle: true, minify: true, write: false, ...options });
  return made.outputFiles[0].text.trim();
};
const script = await bundle("src/main.ts", { format: "iife", target: "es2022", charset: "ascii" });
const style = await bundle("src/style.css", {});
const hash = (text) => `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;

const parts = { "script-hash": hash(script), "style-hash": hash(style), style, script };
const template = await readFile(here("page.template.html"), "utf8");
const page = template.replace(/\{\{([\w-]+)\}\}/g, (_, name) => parts[name]);
await put("../attncli/page/assets/page.html", page);
