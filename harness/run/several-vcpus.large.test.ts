import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { PAGE_BYTES } from "../base/page.ts";
import type { CheckResult, RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { RAM_PATH } from "../fleet/vm.ts";
import { pageLeftAlone } from "../guests/integrity/left-alone.ts";
import { prepareRuns } from "./prepare.ts";
import type { RunEnvironment } from "./request.ts";
import { runScenario } from "./run.ts";
import { type Deed, Saboteur } from "./saboteur.ts";

/** The checks are shown to bite what goes wrong with one of several vCPUs, while the others are well. */

const VCPUS = 2;
/** Steps that a vCPU does not do between settling and being looked at; fewer than its region has pages. */
const STEPS_AHEAD = 6_000;
const ELF = "/opt/ferryman/guests/integrity/integrity.elf";

const ended = new AbortController();
const folder = mkdtempSync(join(tmpdir(), "ferryman-several-vcpus-"));
let environment: RunEnvironment;

beforeAll(async () => {
  environment = { ...(await prepareRuns("10.0", ended.signal)), runs_folder: folder };
}, 600_000);

afterAll(() => {
  ended.abort();
  rmSync(folder, { recursive: true, force: true });
});

const settled = ({ kind }: TimelineEvent): boolean => kind === "run.settled";
const arrived = (event: TimelineEvent): boolean =>
  event.kind === "migration.status" && event.side === "target" && event.status === "completed";

async function damaged<T>(
  deed: Deed<T>,
  when: (event: TimelineEvent) => boolean,
): Promise<{ readonly record: RunRecord; readonly deed: T }> {
  const saboteur = new Saboteur(environment.docker).follow(deed, when);
  const { record } = await runScenario(environment, {
    scenario: noFault,
    recovery: "stock",
    guest: "integrity",
    accel: "tcg",
    accel_why: "the test asks for it",
    seed: 7,
    memory_bytes: 64 * 1024 ** 2,
    configuration: { vcpus: VCPUS },
    keep: false,
    onEvent: saboteur.onEvent,
  });
  const done = await saboteur.done();
  expect(record.error).toBeUndefined();
  return { record, deed: done };
}

function saidFalse({ checks }: RunRecord): readonly string[] {
  return checks.filter(({ verdict }) => verdict === false).map(({ check }) => check);
}

function resultOf({ checks }: RunRecord, name: string): CheckResult | undefined {
  return checks.find(({ check }) => check === name);
}

/** Address of a variable of a program, by its symbol table (System V ABI, Object Files: ELF32, little-endian). */
function addressOf(elf: Buffer, symbol: string): number {
  const [sections, section_bytes, count] = [elf.readUInt32LE(32), elf.readUInt16LE(46), elf.readUInt16LE(48)];
  const section = (index: number, field: number): number => elf.readUInt32LE(sections + index * section_bytes + field);
  for (let index = 0; index < count; index += 1) {
    if (section(index, 4) !== 2) continue;
    const [at, bytes, names] = [section(index, 16), section(index, 20), section(section(index, 24), 16)];
    for (let entry = at; entry < at + bytes; entry += 16) {
      const name = names + elf.readUInt32LE(entry);
      if (elf.toString("latin1", name, elf.indexOf(0, name)) === symbol) return elf.readUInt32LE(entry + 4);
    }
  }
  throw new Error(`the program has no symbol ${symbol}`);
}

test("one bit that is wrong in the second vCPU's region is found, and its page named", async () => {
  const { record, deed: page } = await damaged(async (at) => {
    const { cpus, first_address } = await at.status("target");
    const second = cpus[1];
    if (second === undefined) throw new Error("the guest has no second processor");
    const chosen = pageLeftAlone(second, STEPS_AHEAD);
    expect(chosen).toBeGreaterThanOrEqual(second.region.first_page);
    await at.flip("target", RAM_PATH, first_address + chosen * PAGE_BYTES + 2000);
    return chosen;
  }, arrived);
  expect(record.verdict).toBe("corrupt");
  expect(saidFalse(record)).toEqual(["memory-model", "guest-self-check"]);
  const { summary, evidence } = resultOf(record, "memory-model") ?? {};
  expect(summary).toContain(`page ${page},`);
  expect(evidence).toMatchObject({ wrong_pages: [{ page, found: "as expected but for 1 word" }] });
}, 120_000);

test("a second vCPU that does nothing any more is found, though the VM runs and its memory is whole", async () => {
  const { record } = await damaged(async (at) => {
    const elf = Buffer.from(await at.run("target", `base64 -w0 ${ELF}`), "base64");
    // As if the first one had asked it to stand still, and had gone away (fixtures/guests/integrity/smp.c, obey).
    const hold = Buffer.alloc(4);
    hold.writeUInt32LE(0x7fffffff);
    await at.write("target", RAM_PATH, addressOf(elf, "hold"), hold);
  }, settled);
  expect(record.verdict).toBe("corrupt");
  expect(saidFalse(record)).toEqual(["guest-self-check"]);
  expect(resultOf(record, "guest-self-check")?.summary).toContain("vCPU 1 does no step any more");
}, 120_000);
