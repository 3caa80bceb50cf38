import type { JsonValue, TimelineEvent } from "../base/timeline.ts";
import type { LedgerEntry } from "../guests/integrity/ledger-area.ts";
import type { AppendOperation, LedgerOperation } from "../guests/integrity/ledger-history.ts";
import { type Check, judged } from "./check.ts";
import { type Instance, instancesOf } from "./instances.ts";
import { entriesOf, held, historyOf } from "./ledger.ts";
import { toldBack, toldBy } from "./told-back.ts";

/** Of what was lost so many are told one by one. */
const TOLD_MAX = 50;

/** A counter of the guest that the world had seen further than it was later. */
export interface WentBack {
  /** "the ledger's length", "the steps of vCPU 0". */
  readonly counter: string;
  /** How far the world had seen it, and by what. */
  readonly seen: number;
  readonly seen_by: string;
  readonly back_to: number;
  readonly back_by: string;
  /** What the world had been told and is no more, one by one. */
  readonly lost: readonly string[];
  readonly lost_count: number;
}

/**
 * Whether the ledger's length went back: an append that got a place which had been taken, a read that found nothing where
 * something had been, or an end that is shorter than it was seen to be.
 * @param end what the ledger holds at the end, where somebody could find out
 */
export function ledgerBack(
  history: readonly LedgerOperation[],
  end: readonly LedgerEntry[] | undefined,
): WentBack | undefined {
  const answered = history.filter((operation) => operation.outcome === "acknowledged");
  const began = [...answered].sort((a, b) => a.invoked_at - b.invoked_at);
  const ended = [...answered].sort((a, b) => a.ended_at - b.ended_at);
  let [seen, seen_by, next] = [0, "", 0];
  let worst: Omit<WentBack, "lost" | "lost_count"> | undefined;
  const say = (back_to: number, back_by: string): void => {
    if (worst === undefined || back_to < worst.back_to)
      worst = {
        counter: "the ledger's length",
        seen: worst?.seen ?? seen,
        seen_by: worst?.seen_by ?? seen_by,
        back_to,
        back_by,
      };
  };
  const taken = new Map<string, number>();
  const nameOf = ({ client, client_seq }: AppendOperation): string => `${client}/${client_seq}`;
  const learn = (before: (typeof answered)[number]): void => {
    const length =
      before.kind === "length"
        ? before.length
        : before.kind === "read" && before.found === "absent"
          ? 0
          : before.index + 1;
    if (length > seen) [seen, seen_by] = [length, wordsOf(before)];
  };
  for (const operation of began) {
    for (
      let before = ended[next];
      before !== undefined && before.ended_at < operation.invoked_at;
      before = ended[++next]
    )
      learn(before);
    if (operation.kind === "append") {
      // An append that is repeated under its name may be answered with its place of long ago.
      const known = taken.get(nameOf(operation));
      if (operation.index < seen && known !== operation.index) say(operation.index, wordsOf(operation));
      taken.set(nameOf(operation), operation.index);
    } else if (operation.kind === "read") {
      if (operation.found === "absent" && operation.index < seen) say(operation.index, wordsOf(operation));
    } else if (operation.length < seen) say(operation.length, wordsOf(operation));
  }
  for (let before = ended[next]; before !== undefined; before = ended[++next]) learn(before);
  if (end !== undefined && end.length < seen) say(end.length, `the ledger holds ${end.length} entries at the end`);
  if (worst === undefined) return undefined;
  const { back_to } = worst;
  const gone = answered.filter((operation): operation is AppendOperation & typeof operation => {
    if (operation.kind !== "append" || operation.index < back_to) return false;
    const there = end?.[operation.index];
    return there === undefined || there.client !== operation.client || there.client_seq !== operation.client_seq;
  });
  const lost = gone.slice(0, TOLD_MAX).map(wordsOf);
  return { ...worst, lost, lost_count: gone.length };
}

function wordsOf(operation: LedgerOperation): string {
  if (operation.outcome !== "acknowledged") return `a ${operation.kind}`;
  switch (operation.kind) {
    case "append":
      return `append ${operation.client}/${operation.client_seq} (value ${operation.value}), acknowledged at index ${operation.index}`;
    case "read":
      return `a read that found ${operation.found === "absent" ? "nothing" : operation.found} at index ${operation.index}`;
    case "length":
      return `a length of ${operation.length}`;
  }
}

/** Whether a step counter that the guest told the world was less far once its vCPUs ran again. */
export function stepsBack(events: readonly TimelineEvent[], instances: readonly Instance[]): WentBack | undefined {
  const worst = toldBack(toldBy(events), instances, ({ step }) => step);
  if (worst === undefined) return undefined;
  const { before, after, by } = worst;
  return {
    counter: `the steps of vCPU ${after.cpu}`,
    seen: before.step,
    seen_by: `the guest's console on ${before.host}`,
    back_to: after.step,
    back_by: `the guest's console on ${after.host} after its vCPUs ran again`,
    lost: [`steps ${after.step + 1} to ${before.step}`],
    lost_count: by,
  };
}

/** How often the guest told the world its steps. */
function told(events: readonly TimelineEvent[]): number {
  return events.filter((event) => event.kind === "guest.progress" && event.outside === true).length;
}

/** What the world had seen is never undone: no counter of the guest that was seen outside went back. */
export const neverBack: Check = {
  name: "never-back",
  false_means: "rollback",
  needs: [held],
  applies: ({ evidence, events }) =>
    !evidence.held_still && (evidence.guest.can.includes("ledger") || told(events) > 0),
  judge({ evidence, events }) {
    const has_ledger = evidence.guest.can.includes("ledger");
    const found = held.of(evidence);
    const end = found.state === "got" ? entriesOf(found.value) : undefined;
    const client = found.state === "got" ? found.value.client : 0;
    const history = has_ledger ? historyOf(events, client) : [];
    const back = [ledgerBack(history, end), stepsBack(events, instancesOf(events))].filter((one) => one !== undefined);
    const [first] = back;
    if (first !== undefined) {
      const { counter, seen, seen_by, back_to, back_by, lost, lost_count } = first;
      return {
        verdict: false,
        summary: `rolled back: the world had seen ${counter} at ${seen} (${seen_by}), and it went back to ${back_to} (${back_by}); lost: ${lost_count}${lost.length === 0 ? "" : `, the first: ${lost[0]}, the last: ${lost.at(-1)}`}`,
        evidence: back.map((one) => ({ ...one, lost: [...one.lost] })) satisfies JsonValue,
      };
    }
    const steps = told(events);
    const seen = history.filter(({ outcome }) => outcome === "acknowledged").length;
    if (steps + seen === 0) return { verdict: "unknown", summary: "the world saw no counter of the guest" };
    const summary = `no counter that the world saw went back: ${seen} answers of the ledger, ${steps} steps told on the console`;
    // Where the end of the ledger is not known it may be shorter than it was seen to be.
    if (has_ledger && end === undefined)
      return judged(found, () => ({ verdict: "unknown", summary: "what the ledger holds at the end is not known" }));
    return { verdict: true, summary };
  },
};
