import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { filesLeft } from "../../run/files-left.ts";

/** The folder of a run as if it had left these files too when it ended: they are there, and its evidence, sealed anew, has them. */
export async function leaveFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const textOf = (name: string): string => readFileSync(join(folder, name), "utf8");
  const evidence = `${JSON.stringify({ ...JSON.parse(textOf("evidence.json")), files: await filesLeft(folder) }, null, 1)}\n`;
  const evidence_sha256 = createHash("sha256").update(evidence).digest("hex");
  const finished = textOf("timeline.ndjson").replace(
    /"evidence_sha256":"[0-9a-f]+"/,
    `"evidence_sha256":"${evidence_sha256}"`,
  );
  writeFileSync(join(folder, "evidence.json"), evidence);
  writeFileSync(join(folder, "timeline.ndjson"), finished);
  writeFileSync(join(folder, "run.json"), JSON.stringify({ ...JSON.parse(textOf("run.json")), evidence_sha256 }));
}
