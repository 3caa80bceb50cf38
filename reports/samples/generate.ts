import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RUN_RECORD_VERSION, type RunRecord } from "../../harness/base/run-record.ts";
import type { HostRole, Lane, TimelineEvent, TimelineEventBody } from "../../harness/base/timeline.ts";

/**
 * Made-up runs for the tests of the reports, deterministic by seed. They are samples, never results: their id says
 * so, and nothing outside the tests reads them.
 */
export interface SampleRun {
  readonly record: RunRecord;
  readonly events: readonly TimelineEvent[];
  readonly logs: Readonly<Record<string, string>>;
}

export const HOSTILE_LINE = `</script><img src=x onerror="document.title='owned'"><!-- ]]> & \u2028 \u001b[31m`;

/** Mulberry32: a small generator with a 32-bit state, good enough for samples. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

class Writer {
  readonly events: TimelineEvent[] = [];
  add(at_ms: number, lane: Lane, body: TimelineEventBody): void {
    this.events.push({ at_ms: Math.round(at_ms * 1_000) / 1_000, lane, ...body });
  }
  done(): TimelineEvent[] {
    return this.events.sort((a, b) => a.at_ms - b.at_ms);
  }
}

export interface SampleOptions {
  readonly seed?: number;
  readonly recovery?: "stock" | "txsync";
  readonly outcome?: "intact" | "lost" | "corrupt";
  readonly hostile?: boolean;
  /** Adds log lines until the timeline has as many events. */
  readonly events_min?: number;
}

/** A run of `target-qemu-killed`: boot, post-copy, the kill at 30 % of the pages, and what came of it. */
export function sampleRun(options: SampleOptions = {}): SampleRun {
  const {
    seed = 1,
    recovery = "txsync",
    outcome = recovery === "stock" ? "lost" : "intact",
    hostile = false,
  } = options;
  const next = random(seed);
  const out = new Writer();
  const pages_total = 32_898;
  out.add(0, "run", { kind: "run.started", scenario: "target-qemu-killed", recovery, seed });
  out.add(0.2, "run", { kind: "run.phase", phase: "fleet" });
  for (const [index, role] of (["source", "target", "escrow"] as const).entries()) {
    out.add(310 + index * 40, role, { kind: "host.started", container: `ferryman-sample-${role}` });
  }
  out.add(520, "run", { kind: "run.phase", phase: "boot" });
  out.add(560, "source", {
    kind: "qemu.started",
    pid: 21,
    version: "10.0.13",
    argv: ["qemu-system-x86_64", "-M", "q35"],
  });
  out.add(575, "target", {
    kind: "qemu.started",
    pid: 22,
    version: "10.0.13",
    argv: ["qemu-system-x86_64", "-incoming", "defer"],
  });
  out.add(710, "source", { kind: "guest.log", host: "source", line: "integrity: 128 MiB, seed 1, ready" });
  out.add(760, "run", { kind: "run.phase", phase: "work" });
  out.add(1_000, "run", { kind: "run.phase", phase: "migrate" });
  out.add(1_004, "migration", { kind: "migration.step", step: "setup" });
  out.add(1_006, "migration", { kind: "migration.status", side: "source", status: "setup" });
  out.add(1_020, "migration", { kind: "migration.step", step: "precopy" });
  out.add(1_021, "migration", { kind: "migration.status", side: "source", status: "active" });
  out.add(1_060, "migration", { kind: "migration.step", step: "switchover" });
  out.add(1_061, "source", { kind: "qmp.event", event: "STOP", data: {} });
  out.add(1_066, "migration", { kind: "migration.status", side: "source", status: "postcopy-active" });
  out.add(1_071, "migration", { kind: "migration.step", step: "target-running" });
  out.add(1_072, "target", { kind: "qmp.event", event: "RESUME", data: {} });
  const fault_ms = 1_840;
  const back_ms = recovery === "txsync" ? 2_512 : Number.POSITIVE_INFINITY;
  const end_ms = 4_000;
  let step = 0;
  for (let at_ms = 760; at_ms < end_ms - 300; at_ms += 25) {
    const host: HostRole = at_ms < 1_072 || at_ms > back_ms ? "source" : "target";
    if (at_ms > fault_ms && at_ms < back_ms) continue;
    step += Math.round(20 + next() * 15);
    out.add(at_ms, host, { kind: "guest.progress", host, cpu: 0, step });
    if (at_ms > 1_072 && at_ms < fault_ms) {
      const pages_arrived = Math.round(((at_ms - 1_072) / 2_560) * pages_total);
      out.add(at_ms + 1, "migration", {
        kind: "migration.progress",
        transferred_bytes: pages_arrived * 4_104,
        remaining_bytes: (pages_total - pages_arrived) * 4_096,
        total_bytes: pages_total * 4_096,
        pages_arrived,
        pages_total,
        pages_requested: Math.round((at_ms - 1_072) / 9),
      });
    }
  }
  let op = 0;
  for (let at_ms = 800; at_ms < end_ms - 400; at_ms += 60) {
    op += 1;
    const host: HostRole = at_ms < 1_072 || at_ms > back_ms ? "source" : "target";
    out.add(at_ms, "client", {
      kind: "client.op",
      op,
      name: op % 5 === 0 ? "read" : "append",
      phase: "invoked",
      host,
      value: op,
    });
    if (at_ms > fault_ms - 90 && at_ms < back_ms) {
      if (recovery === "stock") continue;
      out.add(at_ms + 400, "client", {
        kind: "client.op",
        op,
        name: "append",
        phase: "unknown",
        host: "none",
        value: op,
        error: "no answer within 400 ms",
      });
    } else {
      const latency = at_ms < 1_072 ? 2 + next() : 60 + next() * 70;
      out.add(at_ms + latency, "client", {
        kind: "client.op",
        op,
        name: "append",
        phase: "acknowledged",
        host,
        value: op,
        index: op,
      });
    }
  }
  if (recovery === "txsync") addTransactions(out, next, fault_ms);
  out.add(fault_ms, "fault", {
    kind: "fault.injected",
    fault: "kill-process",
    id: "f1",
    what: "SIGKILL of QEMU on target",
  });
  out.add(fault_ms + 2, "target", {
    kind: "qemu.exited",
    code: null,
    last_lines: ["qemu-system-x86_64: terminating on signal 9"],
  });
  out.add(fault_ms + 14, "migration", { kind: "migration.step", step: "postcopy-paused" });
  out.add(fault_ms + 14, "source", { kind: "qmp.event", event: "MIGRATION", data: { status: "postcopy-paused" } });
  out.add(fault_ms + 30, "link:source-target", {
    kind: "link.state",
    link: "source-target",
    direction: "both",
    state: "reset",
    detail: "the target's end is gone",
  });
  out.add(fault_ms + 900, "link:source-target", {
    kind: "link.state",
    link: "source-target",
    direction: "both",
    state: "up",
    detail: "",
  });
  for (let line = 0; line < 60; line += 1) {
    const host = (["source", "target", "escrow"] as const)[line % 3] ?? "source";
    out.add(900 + line * 41, host, {
      kind: "log",
      stream: line % 2 === 0 ? "agent" : "qemu",
      line: `sample line ${line}: relay at record ${line * 97}`,
    });
  }
  if (hostile) {
    out.add(fault_ms + 20, "target", { kind: "log", stream: "qemu", line: HOSTILE_LINE });
    out.add(fault_ms + 21, "run", { kind: "run.note", text: HOSTILE_LINE });
  }
  if (recovery === "txsync") addRecovery(out, fault_ms, back_ms);
  else out.add(3_600, "run", { kind: "run.settled", how: "no instance runs", owner: "none" });
  out.add(3_601, "run", { kind: "run.phase", phase: "check" });
  const verdict = outcome;
  const as_expected = outcome === (recovery === "stock" ? "lost" : "intact");
  const checks = sampleChecks(outcome, hostile);
  for (const [index, check] of checks.entries()) {
    out.add(3_640 + index * 40, "check", {
      kind: "check.result",
      check: check.check,
      verdict: check.verdict,
      summary: check.summary,
    });
  }
  out.add(3_950, "run", { kind: "run.phase", phase: "teardown" });
  out.add(end_ms, "run", { kind: "run.finished", verdict, as_expected });
  const missing = (options.events_min ?? 0) - out.events.length;
  for (let index = 0; index < missing; index += 1) fill(out, index, 760 + (index / missing) * 2_800);
  const events = out.done();
  const record: RunRecord = {
    version: RUN_RECORD_VERSION,
    id: `sample-${recovery}-${outcome}-${seed}`,
    started_at: "2026-01-02T03:04:05.678Z",
    scenario: "target-qemu-killed",
    title: "The target's QEMU is killed after 30 % of the pages",
    group: "target",
    recovery,
    accel: "tcg",
    accel_why: "sample",
    guest: "integrity",
    qemu: "10.0",
    qemu_version: "10.0.13",
    seed,
    memory_bytes: 134_217_728,
    faults: [{ fault: "kill-qemu", on: "target", at: "30 % of pages" }],
    expected: recovery === "stock" ? "lost" : "intact",
    verdict,
    as_expected,
    why: whyOf(outcome, hostile),
    checks,
    timings:
      recovery === "txsync"
        ? {
            total_ms: end_ms,
            fleet_ms: 520,
            boot_ms: 150,
            migration_ms: 2_600,
            check_ms: 350,
            detect_ms: 512,
            recover_ms: 160,
            downtime_ms: 672,
            lost_steps: 31,
            transactions: 8,
            pause_p50_ms: 9.1,
            pause_p90_ms: 14.8,
            pause_max_ms: 19.2,
          }
        : { total_ms: end_ms, fleet_ms: 520, boot_ms: 150, check_ms: 350 },
    command: `npx tsx harness/cli.ts run target-qemu-killed --recovery ${recovery} --seed ${seed}`,
    versions: { ferryman: "0.1.0", node: "24.0.0", qemu: "10.0.13" },
  };
  const logs = {
    "source-qemu.log": "qemu: started\n",
    "target-agent.log": `agent: ready\n${hostile ? `${HOSTILE_LINE}\n` : ""}agent: relay open\n`,
  };
  return { record, events, logs };
}

/** Samples for a suite: several scenarios, both recoveries, a few seeds. */
export function sampleSuite(repeat = 3): SampleRun[] {
  const scenarios = [
    { scenario: "target-qemu-killed", fault: "kill-qemu", on: "target", at: "30 % of pages" },
    { scenario: "source-host-killed", fault: "kill-host", on: "source", at: "30 % of pages" },
    { scenario: "target-killed-before-switchover", fault: "kill-qemu", on: "target", at: "precopy" },
    { scenario: "link-cut-silent-healed", fault: "cut-link-silent", on: "source-target", at: "target-running" },
    { scenario: "no-fault", fault: "", on: "", at: "" },
  ];
  return scenarios.flatMap(({ scenario, fault, on, at }, kind) =>
    (["stock", "txsync"] as const).flatMap((recovery) =>
      Array.from({ length: repeat }, (_, turn) => {
        const next = random(kind * 100 + turn);
        const fatal = recovery === "stock" && (kind === 0 || kind === 1);
        const wrong = recovery === "txsync" && kind === 1 && turn === 2;
        const base = sampleRun({ seed: turn + 1, recovery, outcome: wrong ? "corrupt" : fatal ? "lost" : "intact" });
        const expected = fatal ? "lost" : "intact";
        const timings =
          recovery === "txsync" && fault !== ""
            ? {
                ...base.record.timings,
                detect_ms: 480 + next() * 80,
                recover_ms: 90 + next() * 200,
                downtime_ms: 600 + next() * 250,
              }
            : { total_ms: base.record.timings.total_ms };
        const record: RunRecord = {
          ...base.record,
          id: `sample-${scenario}-${recovery}-${turn + 1}`,
          scenario,
          title: scenario,
          group: scenario.split("-")[0] ?? "",
          faults: fault === "" ? [] : [{ fault, on, at }],
          expected,
          as_expected: expected === base.record.verdict,
          timings,
        };
        return { ...base, record };
      }),
    ),
  );
}

/** Writes a sample as a run folder. @returns the folder. */
export async function writeSample(folder: string, run: SampleRun): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "run.json"), `${JSON.stringify(run.record, undefined, 2)}\n`);
  await writeFile(join(folder, "timeline.ndjson"), run.events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  for (const [name, text] of Object.entries(run.logs)) await writeFile(join(folder, name), text);
  return folder;
}

function addTransactions(out: Writer, next: () => number, fault_ms: number): void {
  out.add(1_075, "target", { kind: "protection", state: "on", why: "transaction 0 is the package" });
  out.add(1_140, "target", { kind: "base.covered" });
  out.add(1_075, "escrow", { kind: "generation.opened", generation: 1, owner: "target" });
  for (let n = 1; n <= 8; n += 1) {
    const at_ms = 1_080 + n * 92;
    const stop_ms = 2 + next() * 8;
    const pages = Math.round(60 + next() * 200);
    const pause_ms = stop_ms + 2.2 + 1.5 + 0.4 + next();
    out.add(at_ms, "target", {
      kind: "tx.taken",
      generation: 1,
      n,
      pages,
      bytes: pages * 4_104 + 32_768,
      stop_ms,
      device_ms: 2.2,
      find_ms: 1.5,
      copy_ms: 0.4,
      pause_ms,
    });
    if (at_ms + 30 > fault_ms) continue;
    const latency_ms = 12 + next() * 14;
    out.add(at_ms + latency_ms - 2, "escrow", { kind: "tx.stored", generation: 1, n, bytes: pages * 4_104 + 32_800 });
    out.add(at_ms + latency_ms, "target", { kind: "tx.committed", generation: 1, n, latency_ms });
    out.add(at_ms + latency_ms + 1, "target", {
      kind: "gate.released",
      generation: 1,
      n,
      bytes: 48,
      waited_ms: 40 + next() * 70,
    });
  }
}

function addRecovery(out: Writer, fault_ms: number, back_ms: number): void {
  out.add(fault_ms + 505, "source", { kind: "lease.lost", peer: "target", silent_ms: 501 });
  out.add(fault_ms + 508, "escrow", { kind: "lease.lost", peer: "target", silent_ms: 503 });
  out.add(fault_ms + 512, "source", { kind: "vote.asked", generation: 2 });
  out.add(fault_ms + 516, "escrow", { kind: "vote.promised", generation: 2, to: "source" });
  out.add(fault_ms + 517, "escrow", { kind: "generation.closed", generation: 1 });
  out.add(fault_ms + 518, "source", { kind: "generation.opened", generation: 2, owner: "source" });
  out.add(fault_ms + 520, "source", { kind: "restore.started", generation: 2, n: 8 });
  out.add(back_ms - 20, "source", {
    kind: "qemu.started",
    pid: 40,
    version: "10.0.13",
    argv: ["qemu-system-x86_64", "-incoming", "unix:restore"],
  });
  out.add(back_ms - 1, "source", { kind: "restore.running", generation: 2 });
  out.add(back_ms - 2, "source", { kind: "restore.finished", generation: 2, n: 8, pages: 1_420, restore_ms: 132 });
  out.add(back_ms, "source", { kind: "qmp.event", event: "RESUME", data: {} });
  out.add(back_ms + 5, "source", { kind: "protection", state: "off", why: "the target is gone" });
  out.add(3_600, "run", { kind: "run.settled", how: "the VM runs on source, generation 2", owner: "source" });
}

function fill(out: Writer, index: number, at_ms: number): void {
  const host = (["source", "target", "escrow"] as const)[index % 3] ?? "source";
  if (index % 4 === 0)
    out.add(at_ms, "client", {
      kind: "client.op",
      op: 1_000_000 + index,
      name: "append",
      phase: "invoked",
      host,
      value: index,
    });
  else if (index % 4 === 1)
    out.add(at_ms, "client", {
      kind: "client.op",
      op: 1_000_000 + index - 1,
      name: "append",
      phase: "acknowledged",
      host,
      value: index,
      index,
    });
  else if (index % 4 === 2) out.add(at_ms, host, { kind: "qmp.event", event: "MIGRATION_PASS", data: { pass: index } });
  else
    out.add(at_ms, host, {
      kind: "log",
      stream: "agent",
      line: `sample filler ${index}: page ${(index * 7_919) % 32_768} served in ${(index % 50) / 10} ms`,
    });
}

function sampleChecks(outcome: string, hostile: boolean): RunRecord["checks"] {
  if (outcome === "lost") {
    return [
      { check: "progress", verdict: false, summary: "no instance of the VM makes progress" },
      { check: "one-owner", verdict: true, summary: "no two instances ran" },
      { check: "memory", verdict: "unknown", summary: "there is no VM whose memory could be compared" },
    ];
  }
  if (outcome === "corrupt") {
    const wrong_pages = Array.from({ length: 12 }, (_, index) => ({
      block: index < 10 ? "ram0" : "pc.bios",
      page: 4_096 + index * 37,
      expected: `step ${9_000 + index} seed 1: 5e1f00d${index.toString(16)}…`,
      found: hostile && index === 0 ? HOSTILE_LINE : `step ${8_900 + index} seed 1: 0badc0de…`,
      last_written_by: `transaction ${(index % 8) + 1}`,
    }));
    return [
      {
        check: "memory",
        verdict: false,
        summary: "12 of 32,768 pages differ from the model",
        evidence: { wrong_total: 12, wrong_pages },
      },
      { check: "progress", verdict: true, summary: "the VM runs on source" },
      { check: "one-owner", verdict: true, summary: "only source ran" },
      { check: "ledger", verdict: "unknown", summary: "the ledger could not be read back within 2 s" },
    ];
  }
  return [
    { check: "progress", verdict: true, summary: "the VM runs on source, 1,204 steps in 500 ms" },
    { check: "one-owner", verdict: true, summary: "only source ran after generation 2 opened" },
    { check: "memory", verdict: true, summary: "32,768 of 32,768 pages equal the model" },
    { check: "ledger", verdict: true, summary: "31 of 31 acknowledged entries are there, once, in order" },
    { check: "nothing-left", verdict: true, summary: "no container, network or process is left" },
  ];
}

function whyOf(outcome: string, hostile: boolean): string {
  const why = {
    lost: "No instance of the VM makes progress after the target's QEMU was killed.",
    corrupt: "12 pages of the VM's memory are not what (seed, step) says.",
    intact: "The VM runs on the source from the last committed transaction, all pages equal the model.",
  }[outcome];
  return hostile ? `${why} ${HOSTILE_LINE}` : (why ?? outcome);
}
