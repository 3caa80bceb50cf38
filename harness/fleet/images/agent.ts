import { existsSync } from "node:fs";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { PROJECT } from "./paths.ts";

/**
 * The txsync agent as one file for the hosts; undefined as long as there is none.
 * @param plugins what changes its sources: for builds that are nobody's to ship
 */
export async function agentBundle(plugins: Plugin[] = []): Promise<string | undefined> {
  const entry = join(PROJECT, "harness/txsync/agent/main.ts");
  if (!existsSync(entry)) return undefined;
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: PROJECT,
    bundle: true,
    plugins,
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
