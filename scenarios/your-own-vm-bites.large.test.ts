import { existsSync, mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunRecord } from "../harness/base/run-record.ts";
import { STORAGE, type TimelineEvent } from "../harness/base/timeline.ts";
import { ensureEngine } from "../harness/fleet/engine.ts";
import { writeDebianDisk } from "../harness/fleet/images.ts";
import { type Ferryman, startFerryman } from "../harness/library/ferryman.ts";
import type { HistoryClient } from "../harness/run/custom/history-client.ts";
import type { Reach } from "../harness/run/net/reach.ts";
import { Saboteur } from "../harness/run/saboteur.ts";
import type { Scenario } from "../harness/run/scenario.ts";
import { noFault } from "./examples/debian.scenario.ts";
import { sqlClient } from "./examples/sql-client.ts";

/**
 * The checks of a VM of which nothing is known are shown to hold, with a probe of every kind, and to bite: a server in the
 * guest that ends, a transaction that was acknowledged and is gone, a disk whose format is damaged. Each has to be found by
 * the check that is there for it.
 */

/** Making the disk and booting from it takes minutes: with a folder of one's own both are there the next time. */
const kept = process.env.FERRYMAN_DEBIAN_FOLDER;
const folder = kept ?? mkdtempSync(join(tmpdir(), "ferryman-own-bites-"));
const disk = join(folder, "debian.qcow2");
const CONFIGURATION = { images: [{ path: disk, format: "qcow2" }], snapshot: join(folder, "booted") } as const;
const LIVES = { serial: "systemctl is-system-running", answer: "^(running|degraded|starting)" } as const;
let ferryman: Ferryman;
let docker: Awaited<ReturnType<typeof ensureEngine>>;

beforeAll(async () => {
  const say = (): void => undefined;
  docker = await ensureEngine({ mayInstall: true, say });
  if (!existsSync(disk)) await writeDebianDisk(docker, disk, { say });
  ferryman = await startFerryman({ runs: join(folder, "runs"), memory_mib: 512, accel: "tcg" });
  // What it is to answer with is set up in each run: what all begin with is the Debian as it is.
  if (!existsSync(CONFIGURATION.snapshot))
    await ferryman.run(noFault, { recovery: "stock", configuration: { ...CONFIGURATION, probes: [LIVES] } });
}, 900_000);

afterAll(async () => {
  await ferryman[Symbol.asyncDispose]();
  if (kept === undefined) rmSync(folder, { recursive: true });
});

const DATABASE = 7777;
const WEB = 8080;
/** A line on the console five times a second, and a web server: both of programs that every Debian has. */
const TICKS = "i=0; while sleep 0.2; do i=$((i+1)); echo tick $i >/dev/ttyS0; done";
const ANSWER = "read line; printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok'";
const SET_UP = [
  "systemctl is-active --quiet web && exit",
  "systemd-run --quiet --unit=ticks sh /root/ticks",
  `systemd-run --quiet --unit=web systemd-socket-activate --listen=${WEB} --accept --inetd sh /root/answer`,
].join("\n");

/** Has the database's shell write a file, as only an administrator's could. */
const put = (path: string, text: string): string => `select writefile('${path}', '${text.replaceAll("'", "''")}');\n`;

/** Sends words to the database, and waits until it has done them: it answers with the last. */
async function tell(vm: Reach, words: string): Promise<void> {
  const socket: Socket = await vm.dial(DATABASE, 10_000);
  try {
    let text = "";
    const told = new Promise<void>((resolve, reject) => {
      socket.once("close", () => reject(new Error(`the connection ended: ${text}`)));
      socket.on("data", (bytes: Buffer) => {
        text += bytes.toString("utf8");
        if (text.includes("that is done")) resolve();
      });
    });
    socket.write(`.timeout 10000\n${words}select 'that is done';\n`);
    await told;
  } finally {
    socket.destroy();
  }
}

/** As the Debian's client, in a guest that it has set up first; what it reaches the guest by is told. */
function settingUp(onReach: (vm: Reach) => void): HistoryClient {
  return {
    name: sqlClient.name,
    start(vm, settings) {
      onReach(vm);
      const client = sqlClient.start(vm, settings);
      let ready = false;
      return {
        invoke: async (n) => {
          if (!ready)
            await tell(
              vm,
              `${put("/root/ticks", TICKS)}${put("/root/answer", ANSWER)}${put("/root/set-up", SET_UP)}.shell sh /root/set-up\n`,
            );
          ready = true;
          return await client.invoke(n);
        },
        check: (history) => client.check(history),
        close: () => client.close?.(),
      };
    },
  };
}

async function play(
  client: HistoryClient,
  onEvent: (event: TimelineEvent) => void = () => undefined,
): Promise<RunRecord> {
  const scenario: Scenario = { ...noFault, client };
  const { record } = await ferryman.run(scenario, {
    recovery: "stock",
    onEvent,
    configuration: {
      ...CONFIGURATION,
      probes: [LIVES, { tcp: DATABASE }, { http: WEB, path: "/" }, { console: "tick (\\d+)" }],
    },
  });
  console.log(`${record.verdict}, ${record.timings.total_ms} ms; ${record.why}`);
  return record;
}

const saidFalse = ({ checks }: RunRecord): readonly string[] =>
  checks.filter(({ verdict }) => verdict === false).map(({ check }) => check);
const summaryOf = ({ checks }: RunRecord, name: string): string =>
  checks.find(({ check }) => check === name)?.summary ?? "it was not checked";

test("a probe of every kind answers once more where all is well", async () => {
  const record = await play(settingUp(() => undefined));
  expect([record.verdict, record.as_expected], record.why).toEqual(["intact", true]);
  for (const probe of ["serial=", `tcp=${DATABASE}`, `http=${WEB}/`, "console=tick"])
    expect(summaryOf(record, "probes")).toContain(probe);
}, 600_000);

test("a server that has ended, a transaction that is gone and a damaged disk are each found by their check", async () => {
  let vm: Reach | undefined;
  let inside: Promise<void> | undefined;
  const inGuest = (event: TimelineEvent): void => {
    // Early: the probe is asked all the time, and has to have ended when it is asked for the last time.
    if (event.kind !== "migration.step" || event.step !== "target-running" || vm === undefined) return;
    inside ??= tell(
      vm,
      "delete from ledger where n = (select n from ledger order by n limit 1 offset 4);\n.shell systemctl stop web\n",
    );
    inside.catch(() => undefined);
  };
  const outside = new Saboteur(docker).follow(
    async (at) => {
      // Where the table of reference counts stands says the header (QEMU: docs/interop/qcow2.rst).
      const [image, header] = ["/dev/shm/overlays/disk0", 48];
      const table = (await at.read(STORAGE, image, header, 8)).readBigUInt64BE(0);
      await at.write(STORAGE, image, Number(table), Buffer.alloc(8));
    },
    ({ kind }) => kind === "run.settled",
  );
  const client = settingUp((reach) => {
    vm = reach;
  });
  const record = await play(client, (event) => {
    inGuest(event);
    outside.onEvent(event);
  });
  if (inside === undefined) throw new Error("nothing was damaged in the guest");
  await inside;
  await outside.done();
  expect(record.verdict).toBe("corrupt");
  expect(saidFalse(record)).toEqual(["probes", "disk-images", "client-history"]);
  expect(summaryOf(record, "probes")).toContain(`http=${WEB}/ does not answer any more`);
  expect(summaryOf(record, "client-history")).toContain("1 acknowledged transactions are not there");
  expect(summaryOf(record, "disk-images")).toContain("disk0 is damaged");
}, 600_000);
