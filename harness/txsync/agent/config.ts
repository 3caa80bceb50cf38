import { readFile } from "node:fs/promises";
import * as z from "zod";
import { DISK_BUSES } from "../../base/configuration.ts";
import { messageOf, UserError } from "../../base/errors.ts";
import type { DiskNode } from "../../qemu/disk-devices.ts";
import { ALL_RULES, type Config } from "../core/index.ts";

const address = z.strictObject({ host: z.string(), port: z.int().min(1).max(65535) });

export const agentConfigSchema = z.strictObject({
  role: z.enum(["source", "target", "escrow"]),
  /** 32 bytes that only the three agents of this migration know, in hex. */
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  /** 16 bytes that name the migration, in hex. */
  migration: z.string().regex(/^[0-9a-f]{32}$/),
  /** Where the other two agents are reached. */
  peers: z.partialRecord(
    z.enum(["source", "target", "escrow"]),
    address.extend({
      /** At the same host: for pages, records and bases, which never share a connection with votes and leases. */
      bulk_port: z.int().min(1).max(65535),
    }),
  ),
  /** Where the other agents reach this one. */
  listen: address,
  /** Where they reach it with bulk data. */
  listen_bulk: address,
  /** Where whoever manages the agent reaches it; and the receiving edge of the VM's output. */
  control: address.extend({
    /** What has to be shown first, by every connection, in hex. */
    token: z.string().regex(/^[0-9a-f]{32,}$/),
  }),
  /** On a disk: what was promised. */
  state_folder: z.string(),
  /** On a tmpfs: the guest's memory, and what a restarted agent of the same host has to find again. */
  memory_folder: z.string(),
  /**
   * The VM's disks: names of exports, where the storage host is reached, for how long one that does not answer is waited
   * for, and what they are for the guest; absent: it has none.
   */
  disks: z.exactOptional(
    z.strictObject({
      names: z.array(z.string()).min(1),
      storage: address,
      patience_ms: z.int().min(1),
      /** Those of them in which a qcow2 lies that QEMU reads; absent: none. */
      qcow2: z.exactOptional(z.array(z.string())),
      /** Default: blk. */
      bus: z.exactOptional(z.enum(DISK_BUSES)),
    }),
  ),
  /** The file that is the guest's RAM while it runs here. */
  ram_path: z.string(),
  qemu: z.string(),
  pagescan: z.string(),
  /** The library that makes QEMU's userfaultfd note written pages; without it pages are compared. */
  shim: z.string().nullable(),
  lease_ms: z.int().min(50).max(60_000),
  heartbeat_ms: z.int().min(10).max(10_000),
  epoch_ms: z.int().min(10).max(5_000),
  durability: z.enum(["host", "process"]),
  log_sync: z.enum(["memory", "disk"]),
  /** `always`: protection goes on after the handoff, and begins anew after a restore, for as long as there are three hosts. */
  protect: z.enum(["until-handoff", "always"]),
  /** What becomes of output while the escrow is not heard: it leaves, and that is said, or it is held back. */
  unprotected: z.enum(["go", "hold"]),
  /**
   * So much of the VM's output waits here at most, nearly: with more it stands still until half of that has gone; absent:
   * 32 MiB.
   */
  output_held_bytes: z.exactOptional(
    z
      .int()
      .min(4096)
      .max(64 * 2 ** 20),
  ),
  /**
   * Who has the VM change hosts: the source's QEMU by a migration of its own, or the agents, which copy its memory to the
   * target while it runs and make the package themselves; its QEMU then never migrates, and can always go on.
   */
  switchover_by: z.enum(["agent", "qemu"]),
  /** Where the agents switch over: whether memory goes to the target before; else all of it comes in post-copy. */
  memory_ahead: z.boolean(),
  /**
   * So much of the guest's memory, 0 to 1, is copied to the escrow before switchover, in at most so long. Where memory goes
   * ahead to the target the escrow's copy begins with the switchover; 0: nothing is copied ahead, to nobody.
   */
  base_ahead: z.number().min(0).max(1),
  base_ahead_ms: z.int().min(0),
  /** Keep the log when the migration is over, for a look at it. */
  keep_log: z.boolean(),
  /**
   * Names the escrow that comes in the place of one that is gone, at the address of that one: 16 bytes in hex, which nobody
   * else knows. In the configuration of such an escrow alone; the others are told (`escrow`), and keep it on disk.
   */
  escrow_key: z.exactOptional(z.string().regex(/^[0-9a-f]{32}$/)),
  /** How changed pages are found: the quick way where the kernel offers it, or always by comparison. */
  find: z.enum(["auto", "sure"]),
});

/** What an agent is told when it is started. Sizes are bytes, times milliseconds. */
export type AgentConfig = z.infer<typeof agentConfigSchema>;

/** @throws UserError that says what is wrong with the file. */
export async function loadConfig(path: string): Promise<AgentConfig> {
  try {
    return agentConfigSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new UserError(`the agent's configuration ${path} cannot be used: ${why}`);
  }
}

/** The VM's disks as QEMU has them. */
export function diskNodes({ disks }: Pick<AgentConfig, "disks">): readonly DiskNode[] {
  const { names = [], qcow2 = [] } = disks ?? {};
  return names.map((name) => ({ name, format: qcow2.includes(name) ? "qcow2" : "raw" }));
}

/** What the core has to know of it. */
export function coreConfig(config: AgentConfig): Config {
  const { role, lease_ms, heartbeat_ms, epoch_ms, durability, log_sync, protect, unprotected } = config;
  const timing = { lease_ms, heartbeat_ms, epoch_ms };
  const joins = role === "escrow" && config.escrow_key !== undefined;
  const settles = config.disks !== undefined;
  return { role, ...timing, durability, logSync: log_sync, protect, unprotected, joins, settles, rules: ALL_RULES };
}
