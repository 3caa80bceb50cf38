import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { parseJson, readText } from "../base/read-text.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { EVIDENCE_VERSION, type Evidence, evidenceSchema, timelineDigest } from "../checks/evidence.ts";
import type { EvidenceDraft } from "./looks.ts";

/** Stands beside `timeline.ndjson`: with it, all that a verdict rests on. */
export const EVIDENCE_FILE = "evidence.json";

export interface EvidenceRead {
  readonly evidence: Evidence;
  /** Of the file's bytes. */
  readonly sha256: string;
}

/** Seals what was gathered with what stands on the timeline beside it, and writes it down. */
export async function writeEvidence(
  folder: string,
  draft: EvidenceDraft,
  events: readonly TimelineEvent[],
): Promise<EvidenceRead> {
  const evidence = evidenceSchema.parse({ ...draft, timeline: timelineDigest(events) });
  const text = `${JSON.stringify(evidence, null, 1)}\n`;
  await writeFile(join(folder, EVIDENCE_FILE), text);
  // What is judged is what can be read again.
  return { evidence: evidenceSchema.parse(JSON.parse(text)), sha256: sha256Of(text) };
}

/** @throws UserError where there is none, or as `parseEvidence` */
export async function readEvidence(folder: string): Promise<EvidenceRead> {
  return parseEvidence(await readEvidenceText(folder), folder);
}

/** @throws UserError where there is none */
export async function readEvidenceText(folder: string): Promise<string> {
  try {
    return await readText(join(folder, EVIDENCE_FILE));
  } catch (error) {
    throw new UserError(`${messageOf(error)}: only a run that wrote its evidence down can be judged again.`);
  }
}

/** @throws UserError with the place in it that is not as it has to be */
export function parseEvidence(text: string, folder: string): EvidenceRead {
  const path = join(folder, EVIDENCE_FILE);
  const json = parseJson(text, path);
  const version = typeof json === "object" && json !== null && "version" in json ? json.version : undefined;
  if (typeof version === "number" && version > EVIDENCE_VERSION)
    throw new UserError(`${path} is of version ${version}, this ferryman reads up to ${EVIDENCE_VERSION}.`);
  const parsed = evidenceSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const place = issue === undefined || issue.path.length === 0 ? "the whole" : issue.path.map(String).join(".");
    throw new UserError(`${path} is torn or was changed: ${place}: ${issue?.message ?? "it does not fit"}.`);
  }
  return { evidence: parsed.data, sha256: sha256Of(text) };
}

export function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
