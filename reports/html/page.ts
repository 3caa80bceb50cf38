import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { Eta } from "eta";

const HERE = import.meta.dirname;
const eta = new Eta({ views: join(HERE, "templates"), autoEscape: true, cache: true });

/** What the layout needs besides the body. */
export interface Page {
  readonly title: string;
  /** File in templates/ without its ending. */
  readonly template: string;
  /** What the template reads as `it.view`. Every value is escaped where it is written. */
  readonly view: object;
  /** File in client/ without its ending. */
  readonly client: string;
  /** Data for the client, under the ids that it reads. */
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * One self-contained HTML file: styles, script and data inside, nothing fetched. A content security policy lets only
 * our own script run, so that even an escape forgotten somewhere could not make a log line into code.
 */
export async function renderPage(page: Page): Promise<string> {
  const [script, style] = await Promise.all([bundle(page.client), styles()]);
  const data = Object.entries(page.data).map(([id, value]) => packIfLong(id, embeddable(value)));
  const body = eta.render(`./${page.template}`, { view: page.view });
  const hash = createHash("sha256").update(script).digest("base64");
  return eta.render("./layout", { title: page.title, body, script, style, data, hash });
}

/** Above this the data is packed: a tenth of the size for a CI artifact, at the same time to open. */
const PLAIN_MAX = 1_000_000;

function packIfLong(id: string, json: string): { id: string; type: string; json: string } {
  if (json.length <= PLAIN_MAX) return { id, type: "application/json", json };
  return { id, type: "application/octet-stream", json: gzipSync(json).toString("base64") };
}

/** JSON that can stand in a script element: no `<` in it, so neither a closing tag nor a comment can begin. */
export function embeddable(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll("<", "\\u003c")
    .replaceAll("\u2028", "\\u2028")
    .replaceAll("\u2029", "\\u2029");
}

const bundles = new Map<string, Promise<string>>();

/** The client's script in one piece; built once a process. */
function bundle(entry: string): Promise<string> {
  const known = bundles.get(entry);
  if (known !== undefined) return known;
  const built = build({
    entryPoints: [join(HERE, "client", `${entry}.ts`)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: "es2022",
    platform: "browser",
    charset: "ascii",
    legalComments: "inline",
  }).then((result) =>
    (result.outputFiles[0]?.text ?? "").replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--"),
  );
  bundles.set(entry, built);
  return built;
}

async function styles(): Promise<string> {
  const ofUplot = createRequire(import.meta.url).resolve("uplot/dist/uPlot.min.css");
  const [uplot, own] = await Promise.all([readFile(ofUplot, "utf8"), readFile(join(HERE, "style.css"), "utf8")]);
  return `${uplot}\n${own}`;
}
