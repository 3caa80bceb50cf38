import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { UserError } from "../base/errors.ts";
import { VERDICTS, type Verdict } from "../base/timeline.ts";
import { ownerLives, ownerOf } from "../fleet/owner.ts";

/** Version of `campaign.json`. */
export const CAMPAIGN_VERSION = 1;
export const CAMPAIGN_FILE = "campaign.json";

const campaignSchema = z.object({
  version: z.literal(CAMPAIGN_VERSION),
  kind: z.enum(["matrix", "explore"]),
  command: z.string(),
  started_at: z.string(),
  /** The process that runs it, or ran it last (fleet/owner.ts). */
  owner: z.string(),
  /** Of the whole campaign's jobs, on all machines: shards of the same campaign have the same. */
  plan: z.string(),
  seed: z.number(),
  shard: z.exactOptional(z.object({ index: z.number(), of: z.number() })),
  /** What this machine has to do; of an exploration nobody knows before. */
  jobs: z.array(z.string()),
});

/** `campaign.json`: what a folder of runs is part of, so that it can be gone on with and be put together with others. */
export type Campaign = Readonly<z.infer<typeof campaignSchema>>;

/** A run that is there whole. */
export interface Done {
  readonly job: string;
  readonly folder: string;
  readonly verdict: Verdict;
  readonly as_expected: boolean;
  readonly total_ms: number;
}

const recordSchema = z.looseObject({
  job: z.string(),
  verdict: z.enum(VERDICTS),
  as_expected: z.boolean(),
  error: z.exactOptional(z.string()),
  timings: z.looseObject({ total_ms: z.number() }),
});

/** Begins a campaign in a new folder. */
export async function beginCampaign(folder: string, about: Omit<Campaign, "version" | "owner">): Promise<void> {
  await mkdir(folder, { recursive: true });
  await write(folder, { ...about, version: CAMPAIGN_VERSION, owner: ownerOf(process.pid) ?? "" });
}

/** @throws UserError when the folder is of no campaign */
export async function readCampaign(folder: string): Promise<Campaign> {
  const file = join(folder, CAMPAIGN_FILE);
  if (!existsSync(file))
    throw new UserError(
      `${folder} is no campaign: there is no ${CAMPAIGN_FILE}, which run --matrix and explore write.`,
    );
  const parsed = campaignSchema.safeParse(jsonOf(await readFile(file, "utf8")));
  if (!parsed.success) throw new UserError(`${file} cannot be read: ${parsed.error.issues[0]?.message ?? "?"}.`);
  return parsed.data;
}

/**
 * Takes a campaign over whose process has ended, however it did. What was under way then has left half a folder: it
 * goes, and the run is made again.
 * @returns what is done, and the names of what was thrown away
 * @throws UserError when its process still runs
 */
export async function resumeCampaign(
  folder: string,
): Promise<{ readonly campaign: Campaign; readonly done: readonly Done[]; readonly dropped: readonly string[] }> {
  const campaign = await readCampaign(folder);
  // A process of another machine nobody can see from here: whoever spreads jobs does not give one to two.
  const here = campaign.owner.startsWith(`${hostname()}/`);
  if (here && ownerLives(campaign.owner) && campaign.owner !== ownerOf(process.pid))
    throw new UserError(`${folder} is being run by a process that lives (${campaign.owner}): let it end first.`);
  await write(folder, { ...campaign, owner: ownerOf(process.pid) ?? "" });
  const done: Done[] = [];
  const dropped: string[] = [];
  for (const name of await runFoldersIn(folder)) {
    const found = await doneIn(join(folder, name));
    if (found !== undefined) done.push(found);
    else {
      await rm(join(folder, name), { recursive: true, force: true });
      dropped.push(name);
    }
  }
  return { campaign, done, dropped };
}

/** The whole runs of a campaign's folder. */
export async function doneOf(folder: string): Promise<readonly Done[]> {
  const done: Done[] = [];
  for (const name of await runFoldersIn(folder)) {
    const found = await doneIn(join(folder, name));
    if (found !== undefined) done.push(found);
  }
  return done;
}

/** A folder of a run has a timeline from its first moment on. */
async function runFoldersIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, "timeline.ndjson")))
    .map(({ name }) => name)
    .sort();
}

async function doneIn(folder: string): Promise<Done | undefined> {
  const text = await readFile(join(folder, "run.json"), "utf8").catch(() => "");
  const parsed = recordSchema.safeParse(jsonOf(text));
  // What a person or a signal ended proves nothing of the VM, and is made again.
  if (!parsed.success || parsed.data.error === "interrupted") return undefined;
  const { job, verdict, as_expected, timings } = parsed.data;
  return { job, folder, verdict, as_expected, total_ms: timings.total_ms };
}

/** A run that proved nothing is made once more; what it says then stays. */
const TRIES = 2;

/** Whether a job has to be run, after these runs of it. */
export function isOpen(runs: readonly Pick<Done, "verdict">[]): boolean {
  return runs.length < TRIES && !runs.some(({ verdict }) => verdict !== "unknown");
}

/** The run that counts for each job: the last that said something. */
export function counting(done: readonly Done[]): readonly Done[] {
  return [...Map.groupBy(done, ({ job }) => job).values()].flatMap((runs) => {
    const last = runs.findLast(({ verdict }) => verdict !== "unknown") ?? runs.at(-1);
    return last === undefined ? [] : [last];
  });
}

async function write(folder: string, campaign: Campaign): Promise<void> {
  const file = join(folder, CAMPAIGN_FILE);
  // In one step: who is killed in the middle of it leaves the old one.
  await writeFile(`${file}.new`, `${JSON.stringify(campaign, null, 2)}\n`);
  await rename(`${file}.new`, file);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
