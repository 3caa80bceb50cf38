import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { filesLeft } from "../../run/files-left.ts";
import { resealed } from "./reseal.ts";

/** The folder of a run as if it had left these files too when it ended: they are there, and its evidence, sealed anew, has them. */
export async function leaveFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const textOf = (name: string): string => readFileSync(join(folder, name), "utf8");
  const evidence = JSON.stringify({ ...JSON.parse(textOf("evidence.json")), files: await filesLeft(folder) });
  const texts = resealed({ record: textOf("run.json"), evidence, timeline: textOf("timeline.ndjson") });
  writeFileSync(join(folder, "run.json"), texts.record);
  writeFileSync(join(folder, "evidence.json"), texts.evidence);
  writeFileSync(join(folder, "timeline.ndjson"), texts.timeline);
}
