import { createHash } from "node:crypto";
import { UserError } from "../base/errors.ts";

/** One machine's part of a campaign; `index` counts from 1. */
export interface Shard {
  readonly index: number;
  readonly of: number;
  /** Who said so, for people. */
  readonly from: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** `2/5`. @throws UserError */
export function parseShard(text: string, from = "--shard"): Shard {
  const found = /^(\d+)\/(\d+)$/.exec(text);
  const [index, of] = [Number(found?.[1]), Number(found?.[2])];
  if (found === null || index < 1 || index > of)
    throw new UserError(`${from} is i/n, the i-th of n machines, such as 1/4; it is "${text}".`);
  return { index, of, from };
}

/**
 * Which part this machine has, by what spreads jobs: GitLab (parallel), CircleCI (parallelism), Kubernetes Indexed Jobs,
 * Slurm arrays, or FERRYMAN_SHARD, by which anything else can say it (a GitHub workflow's matrix: strategy.job-index).
 * @throws UserError where it says half of it
 */
export function shardIn(environment: Environment): Shard | undefined {
  const { FERRYMAN_SHARD: said } = environment;
  if (said !== undefined && said !== "") return parseShard(said, "FERRYMAN_SHARD");
  return (
    counted(environment, "GitLab", "CI_NODE_INDEX", "CI_NODE_TOTAL", 1) ??
    counted(environment, "CircleCI", "CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0) ??
    slurm(environment) ??
    kubernetes(environment)
  );
}

function counted(
  environment: Environment,
  who: string,
  index_name: string,
  total_name: string,
  first: 0 | 1,
): Shard | undefined {
  const [index, total] = [numberIn(environment, index_name), numberIn(environment, total_name)];
  // GitLab sets CI_NODE_TOTAL to 1, and no index, for a job that is not parallel.
  if (index === undefined || total === undefined) return undefined;
  return checked({
    index: index - first + 1,
    of: total,
    from: `${who} (${index_name}=${index}, ${total_name}=${total})`,
  });
}

/** The controller tells the index only: the manifest says again how many there are. */
function kubernetes(environment: Environment): Shard | undefined {
  const index = numberIn(environment, "JOB_COMPLETION_INDEX");
  if (index === undefined) return undefined;
  const of = numberIn(environment, "JOB_COMPLETIONS");
  if (of === undefined)
    throw new UserError(
      `JOB_COMPLETION_INDEX is ${index}: of how many? Set JOB_COMPLETIONS in the manifest to what its completions are, or --shard.`,
    );
  return checked({ index: index + 1, of, from: `Kubernetes (JOB_COMPLETION_INDEX=${index}, JOB_COMPLETIONS=${of})` });
}

/** An array need not begin at 0, nor count by one: `--array=4-16:4`. */
function slurm(environment: Environment): Shard | undefined {
  const id = numberIn(environment, "SLURM_ARRAY_TASK_ID");
  if (id === undefined) return undefined;
  const [least = 0, step = 1, count] = ["MIN", "STEP", "COUNT"].map((name) =>
    numberIn(environment, `SLURM_ARRAY_TASK_${name}`),
  );
  if (count === undefined) throw new UserError(`SLURM_ARRAY_TASK_ID is ${id}, and SLURM_ARRAY_TASK_COUNT is not set.`);
  const from = `Slurm (task ${id} of ${count})`;
  return checked({ index: (id - least) / step + 1, of: count, from });
}

function checked(shard: Shard): Shard {
  const { index, of, from } = shard;
  if (Number.isInteger(index) && index >= 1 && index <= of) return shard;
  throw new UserError(`${from} makes no sense: part ${index} of ${of}. Say it with --shard i/n, or --shard none.`);
}

function numberIn(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

/**
 * Which of n shards, counted from 1, has a job: the one with the greatest hash of job and shard (rendezvous hashing).
 * With a machine more each of the others loses its share to it, and nothing moves between them.
 */
export function shardOf(job: string, of: number): number {
  let best = 1;
  let greatest = "";
  for (let index = 1; index <= of; index += 1) {
    const hash = createHash("sha256").update(`${job}\n${index}`).digest("hex");
    if (hash > greatest) [best, greatest] = [index, hash];
  }
  return best;
}

export function isMine(job: string, shard: Shard | undefined): boolean {
  return shard === undefined || shardOf(job, shard.of) === shard.index;
}
