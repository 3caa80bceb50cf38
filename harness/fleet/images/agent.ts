import { existsSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { PROJECT } from "./paths.ts";

/** The txsync agent as one file for the hosts; undefined as long as there is none. */
export async function agentBundle(): Promise<string | undefined> {
  const entry = join(PROJECT, "harness/txsync/agent/main.ts");
  if (!existsSync(entry)) return undefined;
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: PROJECT,
    bundle: true,
    write: false,
    platform: "node",
    target: "node24",
    format: "esm",
    // CommonJS dependencies ask for `require`, which a module does not have.
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    legalComments: "none",
    logLevel: "silent",
  });
  return result.outputFiles[0]?.text;
}
