import { type Check, judged } from "./check.ts";
import { type KeyOperation, seen } from "./network-history.ts";
import { stale } from "./register.ts";

/**
 * What several clients outside read and wrote under the same keys is what one store does that was never put back: each key is
 * linearizable, so every write that was acknowledged is there, or was written over by another one.
 */
export const serviceHistory: Check = {
  name: "service-history",
  false_means: "rollback",
  needs: [seen],
  applies: ({ evidence }) => {
    const found = evidence.guest.can.includes("network") ? seen.of(evidence) : undefined;
    return found !== undefined && !evidence.held_still && !(found.state === "got" && found.value.keys === undefined);
  },
  judge: ({ evidence }) =>
    judged(seen.of(evidence), ({ keys = [] }) => {
      const answered = keys.filter(([, , , , , ended]) => ended >= 0);
      const figures = { answered: answered.length, unanswered: keys.length - answered.length };
      const wrong = [...byKey(keys)].flatMap(([key, operations]) => {
        const why = stale(
          operations.map(([, , sets, value, began, ended]) => ({ sets: sets === 1, value, began, ended })),
        );
        return why === undefined ? [] : [`key ${key}: ${why}`];
      });
      const [first] = wrong;
      if (first !== undefined) return { verdict: false, summary: first, evidence: { ...figures, wrong } };
      if (answered.length === 0)
        return { verdict: "unknown", summary: "none of the store's clients had an answer", evidence: figures };
      const clients = new Set(keys.map(([client]) => client)).size;
      return {
        verdict: true,
        summary: `${answered.length} reads and writes by ${clients} clients are those of one store: every key is linearizable`,
        evidence: figures,
      };
    }),
};

function byKey(operations: readonly KeyOperation[]): ReadonlyMap<number, readonly KeyOperation[]> {
  const keys = new Map<number, KeyOperation[]>();
  for (const operation of operations) {
    const of_key = keys.get(operation[1]);
    if (of_key === undefined) keys.set(operation[1], [operation]);
    else of_key.push(operation);
  }
  return keys;
}
