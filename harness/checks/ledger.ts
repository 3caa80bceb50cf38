import * as z from "zod";
import type { TimelineEvent } from "../base/timeline.ts";
import type { LedgerEntry } from "../guests/integrity/ledger-area.ts";
import { checkLedgerHistory, type LedgerOperation } from "../guests/integrity/ledger-history.ts";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";
import { memory } from "./memory-model.ts";

/** An entry: value, client, and the client's number for it; its index is its place. */
const entry = z.tuple([z.number(), z.number(), z.number()]);
const ledgerSchema = z.object({
  /** The client whose operations stand on the timeline. */
  client: z.number(),
  /** What the ledger holds at the end, from the guest's memory; absent: nobody could find out. */
  entries: z.array(entry).readonly().optional(),
});
export type LedgerFindings = Readonly<z.infer<typeof ledgerSchema>>;

export const held = finding({
  name: "ledger",
  stage: "quiet",
  schema: ledgerSchema,
  look: async ({ guest }) => await guest.ledger(),
});

/** The entries as the rule's own words have them. */
export function entriesOf({ entries }: LedgerFindings): readonly LedgerEntry[] | undefined {
  return entries?.map(([value, client, client_seq], index) => ({ index, value, client, client_seq }));
}

/** What a client did, as the timeline tells it, in the order in which it was asked for. */
export function historyOf(events: readonly TimelineEvent[], client: number): readonly LedgerOperation[] {
  const invoked = new Map<number, { readonly at_ms: number; readonly value?: number; readonly index?: number }>();
  const ended = new Map<number, LedgerOperation>();
  for (const event of events) {
    if (event.kind !== "client.op") continue;
    const { op, name, phase, at_ms } = event;
    if (phase === "invoked") {
      invoked.set(op, event);
      continue;
    }
    const began = invoked.get(op);
    if (began === undefined) continue;
    const base = { invoked_at: began.at_ms };
    const end = { ended_at: at_ms };
    if (name === "append") {
      const append = { kind: name, client, client_seq: op, value: event.value ?? began.value ?? 0, ...base } as const;
      if (phase === "acknowledged" && event.index !== undefined)
        ended.set(op, { ...append, outcome: "acknowledged", ...end, index: event.index });
      else if (phase === "failed") ended.set(op, { ...append, outcome: "refused", ...end });
      else ended.set(op, { ...append, outcome: "unknown" });
    } else {
      const read = { kind: name, index: event.index ?? began.index ?? 0, ...base } as const;
      if (phase === "acknowledged")
        ended.set(op, { ...read, outcome: "acknowledged", ...end, found: event.value ?? "absent" });
      else if (phase === "failed") ended.set(op, { ...read, outcome: "refused", ...end });
      else ended.set(op, { ...read, outcome: "unknown" });
    }
  }
  // What was asked and has no end on the timeline may have been done all the same.
  return [...invoked].flatMap(([op, { at_ms, value, index }]): LedgerOperation[] => {
    const known = ended.get(op);
    if (known !== undefined) return [known];
    const base = { invoked_at: at_ms, outcome: "unknown" } as const;
    if (value !== undefined) return [{ kind: "append", client, client_seq: op, value, ...base }];
    return [{ kind: "read", index: index ?? 0, ...base }];
  });
}

/** Every acknowledged append is there, once, in order; no read ever went back. */
export const ledger: Check = {
  name: "ledger",
  false_means: "corrupt",
  // The ledger's end lies in the guest's memory: it is read where that is looked at.
  needs: [memory, held],
  applies: ({ evidence }) => evidence.guest.can.includes("ledger") && !evidence.held_still,
  judge: ({ evidence: seen, events }) =>
    judged(held.of(seen), (found) => {
      const { verdict, summary, evidence } = checkLedgerHistory(historyOf(events, found.client), entriesOf(found));
      return { verdict, summary, evidence: [...evidence] };
    }),
};
