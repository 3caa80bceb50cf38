import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";

/**
 * Comments and documents cite only what is in the repository: a document that is there, a heading that it has, a file
 * that somebody can open.
 */
const ROOT = normalize(join(import.meta.dirname, ".."));
const TREES = ["harness", "scenarios", "reports", "fixtures"];
const SOURCES = /\.(ts|c|h|sh|md)$/;
/** `SOMETHING.md`, and perhaps the section of it: `("RAM blocks")` or `, "RAM blocks"`. */
const DOCUMENT = /([\w./-]*[A-Z]\w*\.md)`?(?:\s*\(\s*"([^"]+)"|,\s*"([^"]+)")?/g;
/** Only ours: QEMU's files, which are C, are cited too. */
const FILE_IN_DOCUMENT = /`([\w.-]+(?:\/[\w.-]+)*\.(?:ts|h))`/g;
const DOCUMENTS = ["README.md", "harness/txsync/PROTOCOL.md", "harness/qemu/FACTS.md"];

function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .map((name) => `${folder}/${name}`)
    .filter((name) => SOURCES.test(name) && !name.includes("node_modules/") && !name.startsWith("reports/runs/"))
    .filter((name) => name !== "harness/citations.test.ts");
}

const FILES = ["README.md", ...TREES.flatMap(filesUnder)];

/** Where the name leads, looked for from whoever says it, from the root, and upwards in between. */
function found(by: string, name: string): string | undefined {
  for (let folder = dirname(by); ; folder = dirname(folder)) {
    for (const room of ["", "txsync/", "harness/"]) {
      const path = normalize(join(folder, room, name));
      if (existsSync(join(ROOT, path))) return path;
    }
    if (folder === ".") return undefined;
  }
}

/** The text of a file with comments' line ends taken out, so that a citation may be broken over two lines. */
function textOf(file: string): string {
  return readFileSync(join(ROOT, file), "utf8").replace(/\n\s*(?:\*|\/\/)\s*/g, " ");
}

function headingsOf(document: string): string[] {
  return [...readFileSync(join(ROOT, document), "utf8").matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => heading);
}

describe("what is cited", () => {
  it("is a document of the repository, and a section that it has", () => {
    const wrong: string[] = [];
    for (const file of FILES) {
      for (const [, name = "", bracketed, behind] of textOf(file).matchAll(DOCUMENT)) {
        const document = found(file, name);
        const section = bracketed ?? behind;
        if (document === undefined) wrong.push(`${file}: ${name}`);
        else if (section !== undefined && !headingsOf(document).includes(section))
          wrong.push(`${file}: ${name}, "${section}"`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each(DOCUMENTS)("in %s is a file that is there", (document) => {
    const names = [...textOf(document).matchAll(FILE_IN_DOCUMENT)].map(([, name = ""]) => name);
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !FILES.some((file) => `/${file}`.endsWith(`/${name}`)))).toEqual([]);
  });
});
