import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../base/wait.ts";

/**
 * The array script on a real Slurm (Debian's slurm-wlm, as root): a controller and two nodes on this machine, of which one
 * dies in the middle of its part. What is run there is a part of sleeps, so that it costs nothing; with FERRYMAN on this
 * repository and MATRIX said it is the real thing.
 */

const ROOT = join(import.meta.dirname, "..", "..");
const ABLE = process.getuid?.() === 0 && existsSync("/usr/sbin/slurmctld") && existsSync("/usr/sbin/slurmd");
const NODES = ["n1", "n2"];
const RUNS = 8;

/** In the command line's place: runs of half a second, each told by a file with its node in it; it goes on where it was. */
const PART = `
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
const said = (word: string) => process.argv.includes(word) ? process.argv[process.argv.indexOf(word) + 1] : undefined;
const [begun, resumed] = [said("--folder"), said("--resume")];
const folder = begun ?? resumed ?? "";
if (begun !== undefined) mkdirSync(folder);
if (begun !== undefined) writeFileSync(join(folder, "campaign.json"), "{}");
for (let run = 1; run <= ${RUNS}; run += 1) {
  const file = join(folder, "run-" + run);
  if (existsSync(file)) continue;
  await setTimeout(500);
  writeFileSync(file, process.env.SLURMD_NODENAME + (resumed === undefined ? " begun" : " resumed"), { flag: "wx" });
}
`;

const folder = mkdtempSync(join(tmpdir(), "ferryman-slurm-"));
const results = join(folder, "results");
const daemons = new Map<string, ChildProcess>();
const environment = { ...process.env, SLURM_CONF: join(folder, "slurm.conf") };

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

function start(name: string, program: string, ...words: string[]): void {
  const child = spawn(program, ["-D", ...words], { env: environment, stdio: "ignore" });
  daemons.set(name, child);
}

async function slurm(program: string, ...words: string[]): Promise<string> {
  return (await promisify(execFile)(program, words, { env: environment, timeout: 20_000 })).stdout.trim();
}

beforeAll(async () => {
  if (!ABLE) return;
  const [controller, ...ports] = await Promise.all([freePort(), freePort(), freePort()]);
  mkdirSync(results);
  for (const name of ["state", ...NODES.map((node) => `spool.${node}`)]) mkdirSync(join(folder, name));
  const conf = [
    "ClusterName=ferryman",
    `SlurmctldHost=${hostname()}(127.0.0.1)`,
    `SlurmctldPort=${controller}`,
    "SlurmUser=root",
    "SlurmdUser=root",
    // Nobody else's processes are asked for: this Slurm is on loopback, and ends with the test.
    "AuthType=auth/none",
    "CredType=cred/none",
    "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
    `StateSaveLocation=${folder}/state`,
    `SlurmdSpoolDir=${folder}/spool.%n`,
    `SlurmctldPidFile=${folder}/controller.pid`,
    `SlurmdPidFile=${folder}/%n.pid`,
    `SlurmctldLogFile=${folder}/controller.log`,
    `SlurmdLogFile=${folder}/%n.log`,
    "ProctrackType=proctrack/linuxproc",
    "TaskPlugin=task/none",
    "SelectType=select/cons_tres",
    "SelectTypeParameters=CR_CPU",
    "SlurmdParameters=config_overrides",
    "MpiDefault=none",
    "SwitchType=switch/none",
    "AccountingStorageType=accounting_storage/none",
    "JobCompType=jobcomp/none",
    "JobAcctGatherType=jobacct_gather/none",
    "ReturnToService=2",
    "SlurmdTimeout=10",
    "KillWait=5",
    "JobRequeue=1",
    ...NODES.map(
      (node, index) => `NodeName=${node} NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${ports[index]} CPUs=1`,
    ),
    `PartitionName=all Nodes=${NODES.join(",")} Default=YES MaxTime=INFINITE State=UP`,
  ];
  writeFileSync(join(folder, "slurm.conf"), `${conf.join("\n")}\n`);
  mkdirSync(join(folder, "project", "harness"), { recursive: true });
  writeFileSync(join(folder, "project", "package.json"), `{ "type": "module" }\n`);
  writeFileSync(join(folder, "project", "harness", "cli.ts"), PART);
  symlinkSync(join(ROOT, "node_modules"), join(folder, "project", "node_modules"));
  start("controller", "/usr/sbin/slurmctld", "-f", environment.SLURM_CONF);
  for (const node of NODES) start(node, "/usr/sbin/slurmd", "-f", environment.SLURM_CONF, "-N", node);
  await waitFor(
    { what: "both nodes to be there", timeout_ms: 60_000, interval_ms: 500, lastLines: controllerSaid },
    async () => ((await slurm("sinfo", "-h", "-o", "%T %D").catch(() => "")) === "idle 2" ? true : undefined),
  );
});

afterAll(async () => {
  if (ABLE) await slurm("scancel", "--user=root").catch(() => undefined);
  for (const daemon of daemons.values()) daemon.kill("SIGTERM");
  for (const node of NODES) for (const pid of processesOn(node)) kill(pid);
  rmSync(folder, { recursive: true, force: true });
});

const controllerSaid = (): readonly string[] =>
  existsSync(join(folder, "controller.log"))
    ? readFileSync(join(folder, "controller.log"), "utf8").trimEnd().split("\n").slice(-15)
    : [];

/** What this Slurm's jobs run on a node, and the steps' own daemons, which are the parents of their scripts. */
function processesOn(node: string): readonly number[] {
  const found = new Set<number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const words = read(`/proc/${name}/environ`).split("\0");
    if (!words.includes(`SLURMD_NODENAME=${node}`) || !words.includes(`RESULTS=${results}`)) continue;
    found.add(Number(name));
    const parent = Number(/^\d+ \(.*\) \S (\d+)/s.exec(read(`/proc/${name}/stat`))?.[1]);
    if (read(`/proc/${parent}/comm`).startsWith("slurmstepd")) found.add(parent);
  }
  return [...found];
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

const runsOf = (part: number): readonly string[] =>
  Array.from({ length: RUNS }, (_, index) => read(join(results, `part-${part}`, `run-${index + 1}`)));

test.skipIf(!ABLE)(
  "a task whose node is killed is queued again, and goes on where it was on the node that is left",
  { timeout: 400_000 },
  async () => {
    const exported = `ALL,FERRYMAN=${join(folder, "project")},RESULTS=${results}`;
    const output = join(folder, "task-%a.out");
    const job = await slurm(
      "sbatch",
      "--parsable",
      "--array=1-2",
      `--export=${exported}`,
      `--output=${output}`,
      join(ROOT, ".ci/many/slurm.sh"),
    );
    const looking = { timeout_ms: 60_000, interval_ms: 100, lastLines: controllerSaid };
    await waitFor(
      { what: "the first part to be in its third run", ...looking },
      () => runsOf(1)[1] !== "" || undefined,
    );
    const node = runsOf(1)[0]?.split(" ")[0] ?? "";
    expect(NODES).toContain(node);

    daemons.get(node)?.kill("SIGKILL");
    for (const pid of processesOn(node)) kill(pid);

    await waitFor(
      { what: "the node to be given up", ...looking, interval_ms: 1_000, timeout_ms: 120_000 },
      () => controllerSaid().some((line) => /[Rr]equeu/.test(line)) || undefined,
    );
    // Slurm lets two minutes pass before it starts a task again whose node has failed.
    const id = (await slurm("squeue", "-h", "-o", "%i")).split("\n").find((one) => one.startsWith(job)) ?? `${job}_1`;
    await slurm("scontrol", "update", `JobId=${id}`, "StartTime=now").catch(() => undefined);
    await waitFor(
      { what: "both parts to be whole", ...looking, interval_ms: 1_000, timeout_ms: 200_000 },
      () => [1, 2].every((part) => runsOf(part).every((run) => run !== "")) || undefined,
    );

    const other = NODES.find((one) => one !== node);
    const where = runsOf(1).map((run) => run);
    expect(where.slice(0, 2)).toEqual([`${node} begun`, `${node} begun`]);
    expect(where.at(-1)).toBe(`${other} resumed`);
    expect(new Set(runsOf(2))).toEqual(new Set([`${other} begun`]));
  },
);
