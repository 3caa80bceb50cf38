import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Three } from "./testing/three.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-data-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("records on their way", () => {
  const operation = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("write" as const),
        block: fc.nat(1),
        page: fc.nat(95),
        value: fc.nat(300),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("commit" as const),
        since: fc.constantFrom("last" as const, "base" as const),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("drop" as const),
        since: fc.constantFrom("last" as const, "base" as const),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("break" as const),
        a: fc.constantFrom("target" as const, "source" as const),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constantFrom("restart-escrow" as const, "restart-source" as const, "restore" as const),
      }),
    },
  );

  it("are what the memory was: base and log give it again, whatever was dropped, cut, or started again on the way", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(1000), fc.array(operation, { maxLength: 40 }), async (seed, operations) => {
        const three = await Three.make(folder, seed);
        for (const now of operations) {
          if (now.do === "write") three.guest.write(now.block, now.page, now.value);
          else if (now.do === "commit") await three.take(now.since, true);
          else if (now.do === "drop") await three.take(now.since, false);
          else if (now.do === "break") three.net.breakBetween(now.a, "escrow");
          else if (now.do === "restart-escrow") await three.startEscrow();
          else if (now.do === "restart-source") three.startSource();
          else if (three.last > 0) await three.restored();
        }
        if (three.last > 0) await three.restored();
        await three.escrow?.close();
        three.source.forget();
        expect(
          [three.escrow_shell, three.source_shell]
            .flatMap(({ events }) => events)
            .filter(({ kind }) => kind === "violation"),
        ).toEqual([]);
      }),
      { numRuns: 60 },
    );
  }, 120_000);

  it("tell once, before their end is sent, that half of their pages are on their way", async () => {
    const three = await Three.make(folder, 1);
    for (let page = 0; page < 96; page++) three.guest.write(0, page, 7);
    const record = three.record("base");
    await three.offer(record);
    const { generation, n } = record.header;
    const told = three.target.events.filter(({ kind }) => kind === "tx.sending");
    expect(told).toEqual([{ kind: "tx.sending", generation, n, pages_sent: expect.any(Number) }]);
    expect(told).toMatchObject([{ pages_sent: expect.toSatisfy((pages) => pages * 2 >= record.spool.pages) }]);
    await three.close();
  });
});
