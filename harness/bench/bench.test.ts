import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Docker from "dockerode";
import { afterAll, describe, expect, it } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { makeRecord } from "../run/make-record.ts";
import type { RunRequest } from "../run/request.ts";
import type { runSuite } from "../run/suite.ts";
import { benchRuns } from "./bench.ts";
import { configurationsOf, partsOf, planOf } from "./plan.ts";
import type { Sample } from "./result.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-bench-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A suite that runs nothing, and tells of each request what a run would. */
function suiteOf(asked: RunRequest[], onRun: (nth: number) => void = () => undefined): typeof runSuite {
  return async (_environment, requests) => {
    asked.push(...requests);
    onRun(asked.length);
    return requests.map((request) => {
      request.onEvent?.({
        at_ms: 1,
        lane: "target",
        kind: "gate.released",
        generation: 1,
        n: 1,
        bytes: 1,
        waited_ms: request.seed,
      });
      return { record: makeRecord({ seed: request.seed }), folder: join(folder, "runs", "one"), untidy: [] };
    });
  };
}

async function run(suite: typeof runSuite, signal: AbortSignal): Promise<readonly Sample[]> {
  const environment = {
    docker: new Docker(),
    host_image: "",
    toxiproxy_image: "",
    qemu: "10.0",
    qemu_version: "",
    qemu_binary: "",
    versions: {},
    runs_folder: join(folder, "runs"),
    commandOf: () => "",
    signal,
  };
  return benchRuns(
    {
      environment,
      plan: planOf(configurationsOf([128, 256], [20_000]), 2, 7, partsOf(["migration", "protected"], "agent")),
      by: "agent",
      scenario: (id) => ({ ...noFault, id }),
      accel: { accel: "tcg", why: "asked for" },
      folder,
      vm: "memory",
      onStarted: () => undefined,
      onSample: () => undefined,
    },
    suite,
  );
}

describe("the runs of a bench", () => {
  it("are asked of the runner as they are planned, and each is measured by its own timeline", async () => {
    const asked: RunRequest[] = [];
    const samples = await run(suiteOf(asked), new AbortController().signal);
    expect(samples).toHaveLength(20);
    expect(asked[0]).toMatchObject({
      memory_bytes: 128 * 1024 ** 2,
      keep_log: false,
      work: { write_rate_pages_per_s: 20_000 },
      seed: 7,
    });
    expect(asked[0]).toMatchObject({ recovery: "stock", configuration: { switchover: "after-one-pass" } });
    expect(asked[0]).not.toHaveProperty("txsync");
    expect(asked[1]?.txsync).toEqual({ switchover_by: "agent" });
    expect(asked[2]).toMatchObject({ txsync: { switchover_by: "agent", epoch_ms: 25 }, watch_ms: 4_000 });
    expect(samples.map(({ output_waits_ms }) => output_waits_ms[0])).toEqual(asked.map(({ seed }) => seed));
    expect(samples[0]).toMatchObject({ scenario: "no-fault", recovery: "stock", turn: 1, run: "runs/one" });
  });

  it("end with an interrupt; what was measured is handed back, and not the run that was torn down", async () => {
    const interrupt = new AbortController();
    const samples = await run(
      suiteOf([], (nth) => {
        if (nth === 4) interrupt.abort();
      }),
      interrupt.signal,
    );
    expect(samples).toHaveLength(3);
  });
});
