// Builds the pages in attncli/page/assets/, each with script, style and their hashes inside.
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

/** Writes the TypeScript types of a schema. */
async function putTypes(schema, types) {
  const text = await compileFromFile(here(schema), {
    bannerComment: `// Written by \`npm run build\` from ${schema}; do not edit.`,
    additionalProperties: false,
    style: { printWidth: 120 },
  });
  await put(types, text);
}

const bundle = async (entry, options) => {
  const made = await build({ entryPoints: [here(entry)], bundle: true, minify: true, write: false, ...options });
  return made.outputFiles[0].text.trim();
};
const hash = (text) => `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;
const template = await readFile(here("page.template.html"), "utf8");

/** Writes a page from the script and the style of a folder. */
async function putPage(folder, page) {
  const script = await bundle(`${folder}/main.ts`, { format: "iife", target: "es2022", charset: "ascii" });
  const style = await bundle(`${folder}/style.css`, {});
  const parts = { "script-hash": hash(script), "style-hash": hash(style), style, script };
  await put(
    page,
    template.replace(/\{\{([\w-]+)\}\}/g, (_, name) => parts[name]),
  );
}

await putTypes("page.schema.json", "src/schema.ts");
await putTypes("qk-map.schema.json", "src/qk-map/schema.ts");
await putPage("src", "../attncli/page/assets/page.html");
await putPage("src/qk-map", "../attncli/page/assets/qk-map.html");
