import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SCENARIOS } from "../../scenarios/index.ts";
import { HOST_ROLES } from "../base/timeline.ts";
import type { FaultSpec } from "../faults/index.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { LINK_NAMES } from "../run/scenario-schema.ts";
import { STEP_NAMES, stepOf } from "../run/steps.ts";
import { GrammarError } from "./cursor.ts";
import { FAULT_NAMES, parseFault, printFault, usageOf } from "./fault-grammar.ts";

/** Optional settings are sometimes not there, as data has them. */
function spec<T extends FaultSpec>(
  fault: T["fault"],
  needed: Readonly<Record<string, fc.Arbitrary<unknown>>>,
  optional: Readonly<Record<string, fc.Arbitrary<unknown>>> = {},
): fc.Arbitrary<FaultSpec> {
  const all = { fault: fc.constant(fault), ...needed, ...optional };
  // Which keys are needed is known at run time only.
  const requiredKeys = ["fault", ...Object.keys(needed)] as never[];
  return fc.record(all, { requiredKeys }) as unknown as fc.Arbitrary<FaultSpec>;
}

const host = fc.constantFrom(...HOST_ROLES);
const process = fc.constantFrom("qemu", "agent");
const link = fc.constantFrom(...LINK_NAMES);
const direction = fc.constantFrom("both", "forward", "backward");
const one = { connection: fc.integer({ min: 1, max: 4 }) };
const way = { ...one, direction };
const count = fc.integer({ min: 1, max: 2 ** 40 });
const ms = fc.nat(100_000);
const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/);

const FAULTS_ANY: { readonly [Name in FaultSpec["fault"]]: fc.Arbitrary<FaultSpec> } = {
  bandwidth: spec("bandwidth", { link, bytes_per_s: count }, way),
  "byte-limit": spec("byte-limit", { link, bytes: count }, way),
  "cpu-pressure": spec("cpu-pressure", { host, processes: fc.integer({ min: 1, max: 64 }) }),
  "clock-step": fc.oneof(
    spec("clock-step", { host, clock: fc.constant("monotonic"), by_ms: fc.integer({ min: 1, max: 86_400_000 }) }),
    spec(
      "clock-step",
      { host, clock: fc.constant("wall"), by_ms: fc.integer({ min: 1, max: 86_400_000 }) },
      { back: fc.constant(true) },
    ),
  ),
  "cut-reset": spec("cut-reset", { link }, { ...one, direction: fc.constantFrom("forward", "backward") }),
  "cut-silent": spec("cut-silent", { link, direction }, one),
  "deny-writes": spec("deny-writes", { host, what: fc.constantFrom("promises", "memory") }),
  "detach-host": spec("detach-host", { host }),
  fill: fc.oneof(
    spec("fill", { host, what: fc.constant("shm") }, { bytes: count }),
    spec("fill", { host, what: fc.constant("disk"), bytes: count }),
  ),
  "freeze-host": spec("freeze-host", { host }),
  "freeze-process": spec("freeze-process", { host, process }),
  "io-error": fc.oneof(
    spec(
      "io-error",
      { host, what: fc.constantFrom("promises", "memory") },
      { calls: fc.constantFrom("writes", "reads", "all"), error: fc.constant("eio") },
    ),
    spec("io-error", { host, what: fc.constantFrom("promises", "memory"), error: fc.constant("full") }),
  ),
  "kill-host": spec("kill-host", { host }),
  "kill-manager": spec("kill-manager", {
    host: fc.constantFrom("source", "target"),
    part: fc.constantFrom("daemon", "client"),
  }),
  "kill-process": spec("kill-process", { host, process }, { stays_away: fc.constant(true) }),
  "kill-storage": spec("kill-storage", { what: fc.constant("server") }),
  latency: spec("latency", { link, latency_ms: ms, jitter_ms: ms }, way),
  qmp: spec(
    "qmp",
    { host: fc.constantFrom("source", "target"), command: name.map((text) => `query-${text}`) },
    {
      oob: fc.constant(true),
      within_ms: fc.integer({ min: 1, max: 50_000 }),
      answer: fc.constantFrom("in-time", "never", "either"),
      arguments: fc.dictionary(name, fc.oneof(fc.string(), fc.boolean(), fc.constant({ "a}": [1, "@,"] }))),
    },
  ),
  "replace-host": spec("replace-host", { host: fc.constant("escrow") }),
  slice: spec("slice", { link, bytes_mean: count, bytes_variation: fc.nat(9_999), delay_us: ms }, way),
};

const after = { after_ms: fc.integer({ min: 1, max: 200_000 }) };
function trigger(needed: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<Trigger> {
  const all = fc.record({ ...needed, ...after }, { requiredKeys: Object.keys(needed) as never[] });
  return all as unknown as fc.Arbitrary<Trigger>;
}
const anyTrigger: fc.Arbitrary<Trigger> = fc.oneof(
  trigger({ on: fc.constant("step"), step: fc.constantFrom(...STEP_NAMES) }),
  trigger({ on: fc.constant("step"), step: fc.constantFrom(...STEP_NAMES), since: fc.nat(5) }),
  trigger({
    on: fc.constant("step"),
    step: fc.constantFrom(...STEP_NAMES.filter((step) => stepOf(step).part !== "migration")),
    by: host,
  }),
  trigger({ on: fc.constant("pages"), percent: fc.integer({ min: 1, max: 1000 }).map((tenths) => tenths / 10) }),
  trigger({ on: fc.constantFrom("requests", "bytes", "transactions"), count }),
  trigger({ on: fc.constantFrom("fault", "healed"), index: fc.nat(5) }),
);
const anyPlan: fc.Arbitrary<FaultPlan> = fc.record(
  { fault: fc.oneof(...Object.values(FAULTS_ANY)), at: anyTrigger, heal: anyTrigger },
  { requiredKeys: ["fault", "at"] },
);

describe("a fault as it is typed", () => {
  it("is what was printed: any fault, at any moment, healed or not", () => {
    fc.assert(
      fc.property(anyPlan, fc.nat(5), (plan, index) => {
        const text = printFault(plan, index);
        expect(parseFault(text, index)).toEqual(plan);
        expect(printFault(parseFault(text, index), index)).toBe(text);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    "kill-host:target@pages=30%",
    "cut-silent:source-target,forward@step=target-running+200ms..heal=1s",
    "cut-reset:source-target,connection=2@step=precopy",
    "latency:source-target,backward,delay=50ms,jitter=5ms@step=setup..heal=step=completing",
    "bandwidth:target-escrow,rate=4MiB@transactions=3",
    "kill-process:escrow,agent,stays-away@step=vote-promised:escrow",
    "kill-process:escrow,agent@fault=0,step=vote-promised:escrow+5ms",
    "qmp:target,stop,within=5s,never@step=postcopy-paused",
    'qmp:target,migrate-recover,oob,arguments={"uri":"tcp:0.0.0.0:1"}@step=postcopy-paused+10ms',
    "fill:escrow,disk,bytes=8MiB@fault=0+1.5s..heal=healed=1",
    "slice:source-escrow,size=500,pause=300us@bytes=1MiB",
    "cut-reset:source-target,backward@pages=30%..heal=1s",
    "io-error:escrow,memory@transactions=3..heal=1s",
    "io-error:target,promises,full@pages=30%",
    "clock-step:target,monotonic,by=3s@pages=30%",
    "clock-step:escrow,wall,by=30s,back@pages=30%..heal=2s",
    "freeze-process:target,qemu@requests=100..heal=fault=2+1s",
  ])("reads and prints %s", (text) => {
    expect(printFault(parseFault(text, 0), 0)).toBe(text.replace("1.5s", "1500ms"));
  });

  it("says every fault of our scenarios", () => {
    for (const { faults } of SCENARIOS)
      for (const [index, plan] of faults.entries()) expect(parseFault(printFault(plan, index), index)).toEqual(plan);
  });

  it.each<[string, number, RegExp]>([
    ["melt:target@pages=30%", 0, /a fault is one of bandwidth, /],
    ["packet-loss:source-target@pages=30%", 0, /packets are neither lost nor damaged here: Toxiproxy/],
    ["clock-step:escrow@pages=30%", 17, /which of the agent's clocks is needed/],
    ["clock-step:escrow,monotonic,by=3s,back@pages=30%", 11, /never goes back/],
    ["io-error:escrow,memory,reads,full@pages=30%", 9, /can be read/],
    ["full-disk:escrow@pages=30%", 0, /has an agent's disk full/],
    ["cut-reset:source-target,both@pages=30%", 24, /no part of it/],
    ["kill-host@pages=30%", 9, /":" is needed, and where: kill-host:source\|target\|escrow/],
    ["kill-host:tarhet@pages=30%", 10, /a host is needed: kill-host:source\|target\|escrow/],
    ["kill-host:target", 16, /"@" is needed, and when it strikes/],
    ["kill-host:target@lunch", 17, /what is waited for is one of step, pages/],
    ["kill-host:target@pages=30", 23, /a share is needed, such as 30%/],
    ["kill-host:target@pages=130%", 23, /at most 100%/],
    ["kill-host:target@step=lunch", 22, /a step \(list --steps tells them\) is one of setup, /],
    ["kill-host:target@step=switchover:source", 32, /no agent tells of it/],
    ["kill-host:target@step=switchover+5", 33, /a time with its unit is needed/],
    ["kill-host:target@step=switchover+0ms", 33, /longer than nothing/],
    ["kill-host:target@fault=0,pages=3%", 25, /"step=" is needed, and which one once/],
    ["kill-host:target@pages=30%,heal=1s", 26, /"\.\.heal=" and a time or a moment/],
    ["kill-host:target@pages=30%..heal=0s", 33, /was never broken/],
    ["kill-host:target@pages=30%..heal=1sec", 33, /a time with its unit is needed/],
    ["kill-host:target,now@pages=30%", 17, /no part of it, or not in its place/],
    ["cut-silent:source-target,delay=3ms@pages=30%", 25, /no part of it/],
    ["latency:source-target@pages=30%", 21, /how much later all comes is needed: latency:/],
    ["cut-reset:source-target,connection=9@pages=30%", 10, /connection: /],
    ["fill:escrow,disk@pages=30%", 5, /how many bytes\?/],
    ["qmp:target,stop,arguments={@pages=30%", 26, /a JSON object is needed/],
    ["kill-process:source,agent@requests=0", 35, /at least 1/],
    ["", 0, /at its end: a fault is one of/],
  ])("%j is refused, and where it is wrong is said", (text, at, why) => {
    let thrown: unknown;
    try {
      parseFault(text, 0);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(GrammarError);
    expect((thrown as GrammarError).message).toMatch(why);
    expect((thrown as GrammarError).at).toBe(at);
  });

  it("never fails in another way than by saying where", () => {
    const pieces = fc.constantFrom(
      "kill-host",
      ":",
      ",",
      "target",
      "@",
      "pages=",
      "30%",
      "..heal=",
      "1s",
      "{",
      "=",
      "x",
    );
    fc.assert(
      fc.property(fc.array(pieces), (parts) => {
        try {
          parseFault(parts.join(""), 0);
        } catch (error) {
          expect(error).toBeInstanceOf(GrammarError);
        }
      }),
    );
  });

  it("is shown how to be typed, each fault", () => {
    expect(FAULT_NAMES.map(usageOf)).toContain(
      "cut-silent:source-target|source-escrow|target-escrow|source-storage|target-storage|escrow-storage|libvirt[,both|forward|backward][,connection=…]",
    );
  });
});
