import { join } from "node:path";
import { parseTimeline } from "../../reports/read.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { readText } from "../base/read-text.ts";
import type { RunRecord } from "../base/run-record.ts";
import { CHECKS } from "../checks/index.ts";
import { EVIDENCE_FILE } from "../run/evidence-file.ts";
import { judgeFolder } from "./judge.ts";

/** How many of the places in which files contradict each other are named. */
const NAMED = 3;

/**
 * Why nobody can believe what a run's record says, one sentence each: its files contradict each other, one of them is not
 * there, or its verdict does not follow from them. Where it was judged by checks of somebody else's too, which nobody has
 * here, that its verdict follows is not asked.
 */
export async function doubtsOf(folder: string, record: RunRecord): Promise<readonly string[]> {
  try {
    if (!(await hasEvidence(folder, record))) return [];
    const { judged, contradictions } = await judgeFolder(folder);
    const more = contradictions.length - NAMED;
    if (contradictions.length > 0)
      return [
        ...contradictions.slice(0, NAMED).map((text) => `${folder} is not of one piece: ${text}`),
        ...(more > 0 ? [`${folder} is not of one piece: … and in ${more} more places`] : []),
      ];
    if (judged.verdict === record.verdict || record.checks.some(isForeign)) return [];
    return [
      `${folder}: timeline.ndjson and evidence.json come to ${judged.verdict} (${judged.why}), run.json to ${record.verdict}`,
    ];
  } catch (thrown) {
    if (thrown instanceof UserError) return [thrown.message];
    throw thrown;
  }
}

function isForeign({ check }: RunRecord["checks"][number]): boolean {
  return !CHECKS.some(({ name }) => name === check);
}

/**
 * Whether the run was sealed with its evidence: of before that was written down there is nothing to judge by.
 * @throws UserError where that cannot be told, for its timeline cannot be read
 */
async function hasEvidence(folder: string, { evidence_sha256 }: RunRecord): Promise<boolean> {
  if (evidence_sha256 !== undefined) return true;
  const path = join(folder, "timeline.ndjson");
  const { events, problems } = parseTimeline(await readText(path));
  if (events.some((event) => event.kind === "run.finished" && event.evidence_sha256 !== undefined)) return true;
  const there = await readText(join(folder, EVIDENCE_FILE)).then(
    () => true,
    (thrown: unknown) => !messageOf(thrown).endsWith("is missing"),
  );
  if (there) return true;
  const [first] = problems;
  if (first !== undefined) throw new UserError(`${folder}: ${first}`);
  if (events.length === 0) throw new UserError(`${path} is empty`);
  return false;
}
