import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { CAMPAIGN_FILE, type Campaign, counting, type Done, doneOf, readCampaign } from "./campaign.ts";

/** A machine's part of a campaign, as it lies in its folder. */
export interface Part {
  readonly folder: string;
  readonly campaign: Campaign;
  readonly done: readonly Done[];
}

export interface Merged {
  /** Of each job the run that counts. */
  readonly done: readonly Done[];
  /** What ought to be there and is not, one sentence each. */
  readonly missing: readonly string[];
}

/** How many of what is missing are named. */
const NAMED = 5;

/**
 * The parts in these folders: each is a campaign's, or holds such folders, as artifacts of many machines do when they are
 * fetched into one.
 * @throws UserError where one has none
 */
export async function partsIn(folders: readonly string[]): Promise<readonly Part[]> {
  const found: string[] = [];
  for (const folder of folders) {
    if (!existsSync(folder)) throw new UserError(`There is no folder ${folder}.`);
    const inside = existsSync(join(folder, CAMPAIGN_FILE))
      ? [folder]
      : (await readdir(folder, { withFileTypes: true }))
          .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, CAMPAIGN_FILE)))
          .map(({ name }) => join(folder, name));
    if (inside.length === 0)
      throw new UserError(`${folder} is no part of a campaign, and holds none: run --matrix and explore write them.`);
    found.push(...inside);
  }
  return await Promise.all(
    found.map(async (folder) => ({ folder, campaign: await readCampaign(folder), done: await doneOf(folder) })),
  );
}

/** One suite of the parts of one campaign. @throws UserError where they are not of one */
export function mergeParts(parts: readonly Part[]): Merged {
  const [first] = parts;
  if (first === undefined) throw new UserError("There is nothing to put together.");
  for (const { folder, campaign } of parts) {
    const { kind, plan, shard } = campaign;
    if (kind !== first.campaign.kind || plan !== first.campaign.plan)
      throw new UserError(
        `${folder} is of another campaign than ${first.folder}: its command is ${campaign.command}, theirs ${first.campaign.command}.`,
      );
    if (shard?.of !== first.campaign.shard?.of)
      throw new UserError(
        `${folder} is a part of ${shard?.of ?? 1}, and ${first.folder} of ${first.campaign.shard?.of ?? 1}.`,
      );
  }
  const done = counting(parts.flatMap((part) => part.done));
  const of = first.campaign.shard?.of ?? 1;
  const there = new Set(parts.map(({ campaign }) => campaign.shard?.index ?? 1));
  const missing: string[] = [];
  for (let index = 1; index <= of; index += 1)
    if (!there.has(index)) missing.push(`part ${index} of ${of} is missing: nothing of it is in these folders`);
  const ran = new Set(done.map(({ job }) => job));
  for (const { campaign, folder } of parts) {
    const left = campaign.jobs.filter((job) => !ran.has(job));
    if (left.length === 0) continue;
    const named = left.slice(0, NAMED).join(", ");
    const more = left.length > NAMED ? `, and ${left.length - NAMED} more` : "";
    missing.push(`${left.length} of ${campaign.jobs.length} runs of ${folder} were not made: ${named}${more}`);
  }
  return { done, missing };
}
