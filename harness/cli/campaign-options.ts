import { type Command, InvalidArgumentError } from "commander";
import type { Manager } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import type { GuestKind, Recovery } from "../base/run-record.ts";
import type { QemuPair, Setting } from "../explore/job.ts";
import { parseShard, type Shard, shardIn } from "../explore/shard.ts";
import type { AccelAsked } from "../qemu/accel.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";
import type { Laboratory } from "./laboratory.ts";

/** What a matrix and an exploration have in common. */
export interface CampaignOptions {
  readonly guests?: readonly GuestKind[];
  readonly accels?: readonly AccelAsked[];
  readonly resume?: string;
  readonly shard?: string;
  readonly folder?: string;
}

export function addCampaignOptions(command: Command): Command {
  return command
    .option("--guests <list>", "matrix, explore: integrity, linux", listOf<GuestKind>("integrity", "linux"))
    .option("--accels <list>", "matrix, explore: tcg, kvm, auto", listOf<AccelAsked>("tcg", "kvm", "auto"))
    .option("--resume <folder>", "matrix, explore: goes on with what was interrupted")
    .option(
      "--shard <i/n>",
      "matrix, explore: this machine's part; auto (default): as GitLab, CircleCI, Kubernetes, Slurm or FERRYMAN_SHARD say; none",
    )
    .option("--folder <folder>", "matrix, explore: where the runs go; default is a new folder under reports/runs");
}

function listOf<T extends string>(...words: readonly T[]): (text: string) => readonly T[] {
  return (text) =>
    text.split(",").map((item) => {
      const word = words.find((known) => known === item);
      if (word === undefined) throw new InvalidArgumentError(`It is of ${words.join(", ")}, by commas.`);
      return word;
    });
}

/** @throws UserError */
export function shardFor({ shard = "auto" }: CampaignOptions): Shard | undefined {
  if (shard === "none") return undefined;
  return shard === "auto" ? shardIn(process.env) : parseShard(shard);
}

/** Every combination of what is asked for that there is. The accelerator of each is found out by then. */
export async function settingsAsked(
  laboratory: Laboratory,
  asked: {
    readonly recoveries: readonly Recovery[];
    /** Under stock, each in settings of its own; absent: the usual one. */
    readonly managers?: readonly Manager[] | undefined;
    readonly manager_patience_ms?: number | undefined;
    readonly qemus: readonly QemuPair[];
    readonly guests: readonly GuestKind[];
    readonly accels: readonly AccelAsked[];
    readonly memory_mib: number;
    readonly txsync: Partial<TxsyncSettings>;
  },
): Promise<readonly Setting[]> {
  const { managers, manager_patience_ms: patience_ms } = asked;
  if ((managers ?? patience_ms) !== undefined && !asked.recoveries.includes("stock"))
    throw new UserError("A manager drives a stock migration: --manager goes with --recovery stock, or both.");
  const by: readonly (Manager | undefined)[] = managers ?? [undefined];
  const settings: Setting[] = [];
  for (const recovery of asked.recoveries)
    for (const qemus of asked.qemus)
      for (const guest of asked.guests)
        for (const accel of asked.accels) {
          const choice = await laboratory.accel(qemus, guest, accel);
          const usual = { recovery, qemus, guest, accel: choice.accel, memory_mib: asked.memory_mib };
          if (recovery === "txsync") settings.push({ ...usual, txsync: asked.txsync });
          else
            for (const manager of by)
              settings.push({
                ...usual,
                txsync: {},
                ...(manager === undefined ? {} : { manager }),
                ...(patience_ms === undefined ? {} : { manager_patience_ms: patience_ms }),
              });
        }
  if (settings.length === 0) throw new UserError("Nothing is asked for: name at least one of each.");
  return settings;
}
