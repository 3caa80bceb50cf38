import { createHash } from "node:crypto";
import * as z from "zod";
import { HOST_ROLES, type TimelineEvent } from "../base/timeline.ts";
import { gatheredSchema } from "./finding.ts";
import { storageAwaySchema } from "./storage-away.ts";

/** Version of `evidence.json`. A reader accepts this one: it is read with the checks that wrote it, or later ones. */
export const EVIDENCE_VERSION = 1;

/**
 * What a guest can be asked for. `memory`: every byte of it can be told from outside; `ledger`: it keeps one for clients;
 * `network`: it answers a client by its network card; `disks`: what it has written to them can be told from outside;
 * `probes`: the user has said how one sees that it is well; `client`: a client of the user's is at work in it; `images`: it
 * is at work on disks of the user's until the end, of which only format and file systems can be told.
 */
export const GUEST_ABILITIES = [
  "memory",
  "ledger",
  "self-check",
  "network",
  "disks",
  "probes",
  "client",
  "images",
] as const;
export type GuestAbility = (typeof GUEST_ABILITIES)[number];

const host = z.enum(HOST_ROLES);
const hosts = z.array(host).readonly();

/** Two looks at the step counter of the instance on a host; undefined: no instance, or none that could be read. */
const progressSchema = z.object({
  host,
  before: z.number().optional(),
  after: z.number().optional(),
  watched_ms: z.number().nonnegative(),
  /** Why the instance that is there could not be looked at even once. */
  failed: z.string().optional(),
});
export type ProgressSample = Readonly<z.infer<typeof progressSchema>>;

const fileSchema = z.object({
  name: z.string().refine((name) => !name.split("/").some((part) => part === "" || part === ".."), {
    error: "it is no path in the run's folder",
  }),
  bytes: z.int().nonnegative(),
});

/** All that a run found out, beside its timeline: what the checks judge. */
export const evidenceSchema = z.object({
  version: z.literal(EVIDENCE_VERSION),
  /** What stood on the timeline when this was written: how many events, and the SHA-256 of their lines. */
  timeline: z.object({ events: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  guest: z.object({ kind: z.string(), can: z.array(z.enum(GUEST_ABILITIES)).readonly() }),
  /** A target held still makes no progress, and must not. */
  held_still: z.boolean(),
  /** What leaves the VM is held at a gate and received at an edge: an instance can be there and not be heard. */
  gated: z.boolean(),
  /** What the scenario does with the VM that has arrived. */
  afterwards: z.string().optional(),
  owner: z.enum([...HOST_ROLES, "none"]),
  settled: z.string(),
  /** The VM was to be protected for good and is not: what its protection lacks. Absent: nothing is known against it. */
  unprotected: z.string().optional(),
  /** Why a VM that is there was not looked at: what would be found there proves nothing. */
  not_looked_at: z.string().optional(),
  progress: z.array(progressSchema).readonly(),
  /** Where the VM's link to its disks was broken for good; then what else was found was found with it mended. */
  storage_away: storageAwaySchema.optional(),
  /**
   * Hosts whose instance has been succeeded, by what came out at the receiving edge: the owner lets output out in a newer
   * generation, and from there nothing new has come since. "unheard": the owner let nothing out. Where there is a gate.
   */
  succeeded: z.union([hosts, z.literal("unheard")]).optional(),
  /**
   * What else lay in the run's folder by then, by its path there: nothing is judged by it, and it has to be there still.
   * Absent: a run of before that was written down.
   */
  files: z.array(fileSchema).readonly().optional(),
  /** By the name of the finding. */
  findings: z.record(z.string(), gatheredSchema),
  /** Why the harness failed, where it did: then nothing of this was seen to the end. */
  error: z.string().optional(),
});
export type Evidence = Readonly<z.infer<typeof evidenceSchema>>;

/** What `evidence.json` says of the timeline beside it. */
export function timelineDigest(events: readonly TimelineEvent[]): Evidence["timeline"] {
  const hash = createHash("sha256");
  for (const event of events) hash.update(`${JSON.stringify(event)}\n`);
  return { events: events.length, sha256: hash.digest("hex") };
}
