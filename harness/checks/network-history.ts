import * as z from "zod";
import type { CheckResult } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

/**
 * What a client outside did by the VM's network card: its number, when it asked and when it was answered (ms by its clock,
 * -1: never), the guest's counter in the answer (-1: none), and the number of the connection.
 */
const operation = z.tuple([z.number(), z.number(), z.number(), z.number(), z.number()]);
export type NetworkOperation = z.infer<typeof operation>;

/**
 * What a client of the guest's store did: the client's number, the key, 1 to set it and 0 to read it, the value that was set
 * or read, and when it began and was answered, as places in the one order in which all clients did so; -1: no answer came.
 */
const keyOperation = z.tuple([z.number(), z.number(), z.number(), z.number(), z.number(), z.number()]);
export type KeyOperation = z.infer<typeof keyOperation>;

const networkSchema = z.object({
  operations: z.array(operation).readonly(),
  /** Of the clients that read and write the same keys; runs of before there were any do not have them. */
  keys: z.array(keyOperation).readonly().optional(),
  /** Connections that ended without the client's doing, and why. */
  broken: z.array(z.string()).readonly(),
  /** Answers that nobody had asked for. */
  strays: z.array(z.string()).readonly(),
  /** Frames by the card: from the VM, to the VM. */
  from_vm: z.number(),
  to_vm: z.number(),
  /** Datagrams of a storm that were sent to it, and that came back. */
  storm: z.object({ sent: z.number(), came: z.number() }).optional(),
});
export type NetworkFindings = Readonly<z.infer<typeof networkSchema>>;

export const seen = finding({
  name: "network",
  stage: "quiet",
  of_vm: false,
  schema: networkSchema,
  look: async ({ network }) => network?.(),
});

export interface NetworkHistory {
  readonly wrong: readonly string[];
  readonly answered: number;
  readonly unanswered: number;
  readonly connections: number;
  /** The longest that the client waited for an answer that came, ms. */
  readonly longest_ms: number;
}

/**
 * Each operation takes the guest's counter one further. So an answer has to be the one before it and one more, and may be
 * higher by the operations in between of which nobody knows whether they were done. A counter that is lower has forgotten
 * what a client was told; one that is higher did something twice.
 */
export function readHistory({ operations, broken, strays }: NetworkFindings): NetworkHistory {
  const wrong: string[] = [];
  let [last, unknown, answered, unanswered, longest_ms] = [0, 0, 0, 0, 0];
  for (const [seq, asked_ms, answered_ms, count] of operations) {
    if (answered_ms < 0) {
      unknown += 1;
      unanswered += 1;
      continue;
    }
    const [least, most] = [last + 1, last + 1 + unknown];
    if (count < least)
      wrong.push(`operation ${seq} made the counter ${count}, which had been ${last} for a client: it went back`);
    if (count > most)
      wrong.push(`operation ${seq} made the counter ${count}, at most ${most} were asked for: one was done twice`);
    last = count;
    unknown = 0;
    answered += 1;
    longest_ms = Math.max(longest_ms, answered_ms - asked_ms);
  }
  for (const why of broken) wrong.push(`the client's connection broke: ${why}`);
  for (const stray of strays) wrong.push(`an answer came that nobody had asked for: ${stray}`);
  const connections = new Set(operations.map(([, , , , connection]) => connection)).size;
  return { wrong, answered, unanswered, connections, longest_ms };
}

/**
 * How long after the first fault the VM answered its client again, ms: to the nearest answer that came after it, whenever that
 * was asked for; where the VM was made again, to the first answer of the one that runs now, for another may have been under
 * way when the host died. The client's clock is the machine's, and so is that of QEMU's stamps, by which it is put onto the
 * timeline; what a stamp came late at best makes it so much longer. Undefined where nothing struck, or no answer came afterwards.
 */
export function servedAfterFault_ms(
  { operations }: Pick<NetworkFindings, "operations">,
  events: readonly TimelineEvent[],
): number | undefined {
  const fault = events.find(({ kind }) => kind === "fault.injected");
  const offsets = events.flatMap((event) =>
    event.kind === "qmp.event" && event.qemu_ms !== undefined ? [event.at_ms - event.qemu_ms] : [],
  );
  if (fault === undefined || offsets.length === 0) return undefined;
  const offset_ms = offsets.reduce((least, each) => Math.min(least, each));
  const restored = events.findLast(({ kind, at_ms }) => kind === "restore.running" && at_ms > fault.at_ms);
  const since_ms = (restored ?? fault).at_ms;
  const after = operations
    .filter(([, , answered_ms]) => answered_ms >= 0)
    .map(([, , answered_ms]) => answered_ms + offset_ms)
    .filter((ms) => ms > since_ms);
  return after.length === 0 ? undefined : Math.round(Math.min(...after) - fault.at_ms);
}

const figuresSchema = z.object({
  answered: z.number(),
  unanswered: z.number(),
  connections: z.number(),
  /** ms */
  longest_ms: z.number(),
  /** ms; absent: nothing struck */
  served_ms: z.number().optional(),
});

/** What a run's record says of it; undefined where no client talked to its VM. */
export function networkFigures(checks: readonly CheckResult[]): z.infer<typeof figuresSchema> | undefined {
  const found = checks.find(({ check }) => check === networkHistory.name);
  return figuresSchema.safeParse(found?.evidence).data;
}

const SHOWN = 8;

/** What a TCP client outside was told by the VM holds: one stream of answers, nothing forgotten, nothing done twice. */
export const networkHistory: Check = {
  name: "network-history",
  false_means: "corrupt",
  needs: [seen],
  applies: ({ evidence }) => evidence.guest.can.includes("network") && !evidence.held_still,
  judge: ({ evidence, events }) =>
    judged(seen.of(evidence), (found) => {
      const { wrong, answered, unanswered, connections, longest_ms } = readHistory(found);
      const { from_vm, to_vm, storm } = found;
      const frames = { from_vm, to_vm };
      const served_ms = servedAfterFault_ms(found, events);
      const figures = {
        answered,
        unanswered,
        connections,
        longest_ms,
        ...(served_ms === undefined ? {} : { served_ms }),
        frames,
        ...(storm === undefined ? {} : { storm }),
      };
      if (wrong.length > 0)
        return {
          verdict: false,
          summary: `${wrong[0]}${wrong.length > 1 ? `, and ${wrong.length - 1} more` : ""}`,
          evidence: { ...figures, wrong: wrong.slice(0, SHOWN) },
        };
      if (answered === 0) return { verdict: "unknown", summary: "the client had no answer at all", evidence: figures };
      const [seq, , answered_ms] = found.operations.at(-1) ?? [0, 0, 0];
      if (answered_ms < 0 && evidence.owner !== "none") {
        const summary = `operation ${seq}, the last one, was never answered, though ${evidence.owner} has the VM`;
        return { verdict: "unknown", summary, evidence: figures };
      }
      if (storm?.came === 0 && evidence.owner !== "none")
        return { verdict: "unknown", summary: `of ${storm.sent} datagrams none came back`, evidence: figures };
      const over = connections === 1 ? "one connection" : `${connections} connections`;
      return {
        verdict: true,
        summary: `${answered} operations over ${over}, each answer the one before and one more; the longest wait was ${longest_ms} ms${served_ms === undefined ? "" : `, the next answer after the fault came within ${served_ms} ms`}`,
        evidence: figures,
      };
    }),
};
