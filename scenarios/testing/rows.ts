import { afterAll, describe, test } from "vitest";
import { accelFor, prepareRuns } from "../../harness/run/prepare.ts";
import { checkConfigured } from "../../harness/run/probe.ts";
import type { RunEnvironment, RunRequest } from "../../harness/run/request.ts";
import { Turns } from "../../harness/run/turn.ts";
import { halved, MEMORY_MIB, play, playWithAgents, wrong } from "../testing.ts";

const MIB = 1024 ** 2;

/** One run of a table, which is a vitest test of its own. */
export interface Row {
  readonly what: string;
  readonly qemu: string;
  readonly target_qemu?: string;
  readonly asked: RunRequest;
}

/** The same at half the memory and half the rate, but for those of another size or with an operating system. */
export function halvedRows(rows: readonly Row[]): readonly Row[] {
  return rows.map((row) => {
    const { asked } = row;
    if (asked.guest !== "integrity" || asked.memory_bytes !== MEMORY_MIB * MIB) return row;
    const { scenario, memory_mib } = halved(asked.scenario);
    return { ...row, asked: { ...asked, scenario, memory_bytes: memory_mib * MIB } };
  });
}

/**
 * Declares a test for each row; two of them go on side by side, and their VMs are carried one after the other, whichever
 * QEMU they have (`Turns`).
 */
export function eachRow(title: string, rows: readonly Row[]): void {
  const ended = new AbortController();
  afterAll(() => ended.abort());
  const turns = new Turns();
  const environments = new Map<string, Promise<RunEnvironment>>();
  const environmentOf = ({ qemu, target_qemu = qemu }: Row): Promise<RunEnvironment> => {
    const key = `${qemu} ${target_qemu}`;
    const known = environments.get(key) ?? prepareRuns(qemu, ended.signal, { target_qemu });
    environments.set(key, known);
    return known;
  };
  describe(title, () => {
    test.concurrent.for<Row>(rows)("$what", async (row, { expect, skip }) => {
      const { asked } = row;
      const environment = await environmentOf(row);
      const why = await lacking(environment, asked);
      if (why !== undefined) skip(why);
      if (asked.configuration !== undefined) await checkConfigured(environment, [asked]);
      const records =
        asked.recovery === "txsync"
          ? await playWithAgents({ ...environment, turns }, [asked])
          : await play({ ...environment, turns }, [asked]);
      expect(wrong(records)).toEqual([]);
      if (asked.configuration === undefined) return;
      expect(records.map(({ configuration }) => configuration)).toEqual([asked.configuration]);
    });
  });
}

/** Why it cannot be played here: no guest runs under KVM. */
async function lacking(environment: RunEnvironment, { accel }: RunRequest): Promise<string | undefined> {
  if (accel !== "kvm") return undefined;
  const found = await accelFor(environment, "integrity", "auto");
  return found.accel === "kvm" ? undefined : found.why;
}
