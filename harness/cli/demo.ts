import type { Command } from "commander";
import { SCENARIOS } from "../../scenarios/index.ts";
import type { Configuration } from "../base/configuration.ts";
import type { Recovery, RunRecord } from "../base/run-record.ts";
import { networkFigures } from "../checks/network-history.ts";
import { DEFAULT_QEMU } from "../fleet/images.ts";
import { say } from "../run/prepare.ts";
import { textTable } from "../run/table.ts";
import type { Chosen } from "./choose.ts";
import { configurationWords } from "./configuration.ts";
import { examine, findingsTable } from "./doctor.ts";
import { interruptible } from "./interrupt.ts";
import { qemuName } from "./options.ts";
import { runScenarios } from "./run.ts";

/** One that succeeds, and failures of source and network, of the guest whose every byte can be told. */
const SHOWN = ["no-fault", "source-host-killed", "link-cut-for-good"];
/** And a VM as people have it, which a client outside talks to: a Linux with a network card and a disk. */
const SHOWN_AT_WORK = "target-host-killed";
const AT_WORK: Configuration = { net: "virtio", disks: ["ext4"] };

/** What became of each VM under stock QEMU, and under transaction synchronisation. */
function sideBySide(records: readonly RunRecord[]): string {
  const of = (id: string, recovery: Recovery): RunRecord | undefined =>
    records.find((record) => record.scenario === id && record.recovery === recovery);
  const time = (ms: number | undefined): string => (ms === undefined ? "-" : `${ms} ms`);
  const rows = [...SHOWN, SHOWN_AT_WORK].map((id) => {
    const [stock, txsync] = [of(id, "stock"), of(id, "txsync")];
    const { detect_ms, recover_ms, downtime_ms } = txsync?.timings ?? {};
    const vm = id === SHOWN_AT_WORK ? "Linux, network, disk" : "bare metal";
    const times = [time(detect_ms), time(recover_ms), time(downtime_ms)];
    return [id, vm, stock?.verdict ?? "-", txsync?.verdict ?? "-", ...times];
  });
  return textTable(["scenario", "VM", "stock", "txsync", "detected", "restored", "longest stillness"], rows);
}

/** What somebody saw who talked to the Linux guest by its network card while its host died. */
function clientSaw(records: readonly RunRecord[]): string {
  const rows = records
    .filter(({ scenario }) => scenario === SHOWN_AT_WORK)
    .map((record) => {
      const seen = networkFigures(record.checks);
      const disk = record.checks.find(({ check }) => check === "disk-history");
      return [
        record.recovery,
        seen === undefined ? "-" : String(seen.answered),
        seen === undefined ? "-" : `${seen.longest_ms} ms`,
        seen === undefined || seen.unanswered > 0 ? "broken off" : "one connection, to the end",
        disk?.verdict === true ? disk.summary : "not there any more",
      ];
    });
  return textTable(
    ["under", "answers", "longest wait", "a client's TCP connection", "the disk, read afterwards"],
    rows,
  );
}

function atWork(): readonly Chosen[] {
  return SCENARIOS.filter(({ id }) => id === SHOWN_AT_WORK).map((scenario) => ({
    scenario: { ...scenario, guests: ["linux"], configuration: AT_WORK },
    named: [SHOWN_AT_WORK, ...configurationWords(AT_WORK)].join(" "),
  }));
}

export function registerDemo(program: Command): void {
  program
    .command("demo")
    .description("the demonstration: a migration that works, then the source, the network and the target fail")
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .action(({ qemu }: { qemu: string }) =>
      interruptible(async (signal) => {
        say("Ferryman carries a VM over by post-copy, breaks something on the way, and judges what arrives.");
        say(`${findingsTable(await examine(qemu))}\n`);
        const scenarios = SHOWN.flatMap((id) =>
          SCENARIOS.filter((scenario) => scenario.id === id).map((scenario) => ({ scenario, named: id })),
        );
        const options = {
          recovery: "both",
          accel: "auto",
          qemu,
          memory: 128,
          repeat: 1,
          // Hosts start and are taken down while another run carries its VM; VMs are carried one at a time.
          jobs: 2,
          oneAtATime: true,
        } as const;
        const records = await runScenarios([...scenarios, ...atWork()], options, signal);
        console.log(`\n${sideBySide(records)}`);
        console.log(
          `\nWhat a client outside saw of the Linux guest when the target's host died:\n${clientSaw(records)}`,
        );
        console.log(
          '\n"lost" is what stock QEMU is expected to do with a guest that fails in the post-copy phase; txsync brings it back.',
        );
        process.exitCode = records.every(({ as_expected }) => as_expected) ? 0 : 1;
      }),
    );
}
