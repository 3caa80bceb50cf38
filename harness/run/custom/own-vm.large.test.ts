import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noFault } from "../../../scenarios/controls/no-fault.ts";
import { targetHostKilled } from "../../../scenarios/target/target-host-killed.ts";
import type { Configuration, Net } from "../../base/configuration.ts";
import type { RunRecord } from "../../base/run-record.ts";
import type { CheckVerdict, TimelineEvent } from "../../base/timeline.ts";
import { within } from "../../base/wait.ts";
import type { Reach } from "../net/reach.ts";
import { prepareRuns } from "../prepare.ts";
import type { RunEnvironment, RunRequest } from "../request.ts";
import { runScenario } from "../run.ts";
import type { HistoryClient } from "./history-client.ts";
import { makeTinyGuest } from "./testing/tiny-guest.ts";

/**
 * A VM of somebody's own, with every kind of probe, two disks and a client with a history: well after it came back from the
 * escrow, and found out by each of the three checks when it harms itself.
 */

const ended = new AbortController();
const folder = mkdtempSync(join(tmpdir(), "ferryman-own-vm-"));
let environment: RunEnvironment;
let configuration: Configuration;

beforeAll(async () => {
  environment = { ...(await prepareRuns("10.0", ended.signal, { images: true })), runs_folder: folder };
  configuration = await tinyWith("virtio");
}, 600_000);

async function tinyWith(net: Net): Promise<Configuration> {
  const { docker, host_image: host, images_image: images = "" } = environment;
  const { kernel, initrd, disks } = await makeTinyGuest(docker, { host, images }, mkdtempSync(join(folder, net)), net);
  return {
    net,
    kernel,
    initrd,
    append: "console=ttyS0 quiet",
    images: disks.map((path) => ({ path, format: "raw" })),
    probes: [
      { console: "^tick (\\d+)" },
      { serial: "echo I am $((6 * 7))", answer: "^I am 42" },
      { tcp: 80 },
      { http: 80, path: "/health" },
    ],
  };
}

afterAll(() => {
  ended.abort();
  rmSync(folder, { recursive: true, force: true });
});

/** Long enough for TCP to send again what went to a host that is gone. */
const ANSWER_MS = 10_000;

async function asked(vm: Reach, words: string): Promise<string> {
  const socket = await vm.dial(80);
  try {
    let text = "";
    const over = new Promise<void>((resolve) => socket.once("close", resolve));
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString("latin1");
    });
    socket.write(`GET /cgi-bin/do?${words} HTTP/1.0\r\n\r\n`);
    await within({ what: `an answer to ${words}`, timeout_ms: ANSWER_MS }, over);
    return text;
  } finally {
    socket.destroy();
  }
}

/** Has numbers appended, and looks in the end whether all are there. `harm`: whether the VM is to harm itself now. */
function appending(harm: () => boolean): HistoryClient {
  return {
    name: "appending",
    start: (vm) => ({
      invoke: async (n) => {
        if (harm()) expect(await asked(vm, "harm")).toContain("harmed");
        const text = await asked(vm, `append=${n}`);
        if (!text.includes(`done ${n}`)) throw new Error(`the VM said ${text}`);
        return n;
      },
      check: async (history) => {
        const lines = (await asked(vm, "list")).split("\n");
        if (!lines.includes("end")) throw new Error("the VM did not list what it has");
        const missing = history.filter(({ n, outcome }) => outcome === "acknowledged" && !lines.includes(`${n}`));
        if (missing.length === 0) return { whole: true, summary: "every number is there" };
        return { whole: false, summary: `${missing.map(({ n }) => n).join(", ")} is not there` };
      },
    }),
  };
}

const ASKED = { guest: "custom", accel: "tcg", accel_why: "the test asks for it", seed: 5, keep: false } as const;
const OF_OWN_VM = ["probes", "client-history", "disk-images"];

function saidBy({ checks }: RunRecord): Readonly<Record<string, CheckVerdict | undefined>> {
  const verdicts = checks.filter(({ check }) => OF_OWN_VM.includes(check));
  for (const { check, summary } of verdicts) console.log(`${check}: ${summary}`);
  return Object.fromEntries(verdicts.map(({ check, verdict }) => [check, verdict]));
}

test.each(["virtio", "e1000e"] as const)(
  "is whole by its console, its shell, its port, its HTTP server, its client and its disks, when the target's host died: %s",
  async (net) => {
    const request: RunRequest = {
      ...ASKED,
      scenario: { ...targetHostKilled, guests: ["custom"], client: appending(() => false) },
      recovery: "txsync",
      memory_bytes: 192 * 1024 ** 2,
      configuration: net === "virtio" ? configuration : await tinyWith(net),
    };
    const { record } = await runScenario(environment, request);
    expect(record.verdict, record.why).toBe("intact");
    expect(saidBy(record)).toEqual({ probes: true, "client-history": true, "disk-images": true });
  },
  120_000,
);

test("is found out by each of the three checks when it loses what it acknowledged, its server fails and its disk is damaged", async () => {
  let due = false;
  let was_due = false;
  const request: RunRequest = {
    ...ASKED,
    scenario: {
      ...noFault,
      guests: ["custom"],
      client: appending(() => {
        const now = due;
        due = false;
        return now;
      }),
    },
    recovery: "stock",
    // The client's next operations, half a second each under TCG, are over before anybody looks.
    watch_ms: 6_000,
    memory_bytes: 128 * 1024 ** 2,
    configuration,
    onEvent: (event: TimelineEvent) => {
      // Told for the first time when everybody has answered often enough, and `watch_ms` before the migration.
      due ||= !was_due && event.kind === "host.usage";
      was_due ||= due;
    },
  };
  const { record } = await runScenario(environment, request);
  expect(record.error).toBeUndefined();
  expect(record.verdict, record.why).toBe("corrupt");
  expect(saidBy(record)).toEqual({ probes: false, "client-history": false, "disk-images": false });
}, 120_000);
