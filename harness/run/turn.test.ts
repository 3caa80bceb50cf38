import { describe, expect, it } from "vitest";
import { Turn } from "./turn.ts";

const never = new AbortController().signal;

/** So many turns of the event loop: whoever may go on has gone on. */
async function turns(count = 10): Promise<void> {
  for (let turn = 0; turn < count; turn++) await Promise.resolve();
}

describe("a turn", () => {
  it("is one's alone, in the order in which it was asked for", async () => {
    const turn = new Turn();
    const told: string[] = [];
    const work = async (name: string): Promise<void> => {
      using _ = await turn.take(never);
      told.push(`${name} begins`);
      await turns();
      told.push(`${name} ends`);
    };
    await Promise.all(["a", "b", "c"].map(work));
    expect(told).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  });

  it("passes over whoever does not wait any more, and not before it is given back", async () => {
    const turn = new Turn();
    const abort = new AbortController();
    const first = await turn.take(never);
    const given_up = turn.take(abort.signal);
    let third = false;
    const waiting = turn.take(never).then((taken) => {
      third = true;
      return taken;
    });
    abort.abort(new Error("told to end"));
    await expect(given_up).rejects.toThrow("told to end");
    await turns();
    expect(third).toBe(false);
    first[Symbol.dispose]();
    (await waiting)[Symbol.dispose]();
    await expect(turn.take(abort.signal)).rejects.toThrow("told to end");
    (await turn.take(never))[Symbol.dispose]();
  });
});
