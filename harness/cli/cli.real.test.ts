import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunRecord } from "../base/run-record.ts";
import type { RunPhase } from "../base/timeline.ts";
import { findLeftovers } from "../fleet/clean.ts";
import { imageState } from "../fleet/images.ts";
import { runLabels } from "../fleet/labels.ts";
import { ownerOf } from "../fleet/owner.ts";
import { prepareImages, RUNS_FOLDER } from "../run/prepare.ts";
import { type Ended, Spawned } from "./spawned.ts";

/**
 * The command line as a person or a script meets it: a process with arguments, signals, two output streams and an exit
 * code. Other runs may go on beside these tests: only what belongs to the processes started here is looked at.
 */
/** Under stock recovery: what is tested is the command, several at a time, and agents need processors for their leases. */
const RUN = ["run", "no-fault", "--recovery", "stock", "--json", "--accel", "tcg", "--memory", "64", "--seed", "7"];
/** A guest of 64 MiB would have arrived in a second: slower, so that a busy machine's fault does not come after that. */
const SLOWLY = ["--bandwidth", "24"];
const DEAD_ENGINE = { DOCKER_HOST: "unix:///nonexistent/ferryman.sock" };
/** Nobody listens there, so nothing is asked of anybody outside. */
const NO_IMAGE = "127.0.0.1:9/no-such-image";
const QEMU_PATH = "/usr/bin/qemu-system-x86_64";

const LAST_WORDS = "qemu: no such thing as -impossible";

let docker: Docker;
const made: string[] = [];

beforeAll(async () => {
  ({ docker } = await prepareImages("10.0"));
});

afterAll(async () => {
  for (const image of made) {
    await docker
      .getImage(image)
      .remove({ force: true })
      .catch(() => undefined);
  }
});

/** An image as a user might bring it, whose QEMU tells its version, and then does as the lines of shell say. */
async function imageWithQemu(lines: string): Promise<string> {
  const base = (await imageState(docker, "10.0")).find(({ what }) => what !== "toxiproxy" && what.includes("10.0"));
  if (base === undefined) throw new Error("there is no base image of QEMU 10.0");
  const name = `ferryman-test/exits:${randomBytes(4).toString("hex")}`;
  const qemu = `#!/bin/sh\n[ "$1" = --version ] && exec ${QEMU_PATH}.real --version\n${lines}\n`;
  const script = [
    `mv ${QEMU_PATH} ${QEMU_PATH}.real`,
    `echo ${Buffer.from(qemu).toString("base64")} | base64 -d >${QEMU_PATH}`,
    `chmod +x ${QEMU_PATH}`,
  ].join(" && ");
  const container = await docker.createContainer({
    Image: base.tag,
    Entrypoint: ["/bin/sh", "-c"],
    Cmd: [script],
    User: "0",
    Labels: runLabels(name, ownerOf(process.pid) ?? ""),
    NetworkDisabled: true,
  });
  try {
    await container.start();
    expect((await container.wait()).StatusCode).toBe(0);
    const [repo, tag] = name.split(":");
    await container.commit({ repo, tag });
    made.push(name);
  } finally {
    await container.remove({ force: true });
  }
  return name;
}

/** Runs what was made of a user's image, and makes a note of the host image that came of it. */
async function runOn(image: string): Promise<{ readonly command: Spawned; readonly ended: Ended }> {
  const command = new Spawned([...RUN, "--qemu", image]);
  const ended = await command.ended();
  const host = (await imageState(docker, image)).find(({ what }) => what === "host");
  if (host?.found) made.unshift(host.tag);
  return { command, ended };
}

/** The folder of a run, by its name. */
function folderOf(run: string): string | undefined {
  if (run === "" || !existsSync(RUNS_FOLDER)) return undefined;
  return readdirSync(RUNS_FOLDER)
    .map((suite) => join(RUNS_FOLDER, suite, run))
    .find((folder) => existsSync(folder));
}

/** The one JSON object that a command wrote. */
function onlyLine(stdout: string): Record<string, unknown> {
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(stdout) as Record<string, unknown>;
}

const REFUSED = "run no-fault --recovery stock --accel tcg --qemu 10.0 --capability multifd".split(" ");

describe.concurrent("wrong usage or environment is exit code 2 and a sentence on standard error", () => {
  test.each([
    ["an unknown command", ["frobnicate"], /unknown command 'frobnicate'/],
    ["what QEMU refuses", REFUSED, /QEMU 10\.0\S* .*refuses the capabilities multifd: "Postcopy is not yet compatible/],
    ["a guest larger than memory", ["run", "no-fault", "--memory", "1048576"], /1048576 MiB need \d+ MiB of memory/],
    ["an image that is nowhere", ["run", "no-fault", "--qemu", NO_IMAGE], /no image 127\.0\.0\.1:9\/no-such-image/],
  ])("%s", async (_, args, sentence) => {
    const { code, stdout, stderr } = await new Spawned(args).ended();
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(3);
    expect([code, stdout]).toEqual([2, ""]);
  });

  test.each([
    ["run", ["run", "no-fault", "--json"]],
    ["setup", ["setup"]],
    ["clean", ["clean"]],
  ])("%s where no engine answers", async (_, args) => {
    const { code, stdout, stderr } = await new Spawned(args, DEAD_ENGINE).ended();
    expect(stderr).toMatch(/^ferryman: no container engine answers.*\n$/i);
    expect([code, stdout]).toEqual([2, ""]);
  });

  test("doctor where no engine answers says what is missing, and what to do", async () => {
    const { code, stdout } = await new Spawned(["doctor"], DEAD_ENGINE).ended();
    expect(stdout).toMatch(/container engine +missing +none answers at DOCKER_HOST=.*; start it, or unset DOCKER_HOST/);
    expect(code).toBe(2);
  });
});

test("a run under txsync, the default, leaves the escrow's log, which is whole", async () => {
  const command = new Spawned(["run", "target-host-killed", "--json", "--accel", "tcg", "--memory", "64", ...SLOWLY]);
  const { code, stdout } = await command.ended();
  const line = onlyLine(stdout);
  expect(line).toMatchObject({ recovery: "txsync", verdict: "intact", asExpected: true });
  expect(code).toBe(0);
  const run = String(line["run"]);
  const verified = await new Spawned(["log", "verify", join(run, "escrow-log")]).ended();
  expect(verified.stdout).toMatch(/whole transactions, \d+ bytes, sound/);
  expect(verified.code).toBe(0);
  expect(await command.things(docker)).toEqual([]);
});

describe.concurrent("a run", () => {
  test.each([
    ["alone", RUN],
    ["beside another", RUN],
  ])("%s is one JSON object on standard output, a folder, exit code 0, and nothing left", async (_, args) => {
    const command = new Spawned(args);
    const { code, stdout, stderr } = await command.ended();
    expect([code, stderr]).toEqual([0, expect.not.stringMatching(/^\s+at /m)]);
    const line = onlyLine(stdout);
    expect(line).toMatchObject({
      scenario: "no-fault",
      recovery: "stock",
      accel: "tcg",
      guest: "integrity",
      qemu: "10.0",
      seed: 7,
      verdict: "intact",
      asExpected: true,
    });
    expect(Object.keys(line)).toEqual(expect.arrayContaining(["checks", "timings", "run"]));
    const folder = String(line["run"]);
    const files = readdirSync(folder);
    for (const file of ["run.json", "timeline.ndjson", "source-qmp.log", "target-qmp.log", "source-console.log"]) {
      expect(files).toContain(file);
    }
    const record = JSON.parse(readFileSync(join(folder, "run.json"), "utf8")) as RunRecord;
    expect(record).toMatchObject({ verdict: "intact", seed: 7, checks: line["checks"], timings: line["timings"] });
    expect(record.command).toContain("run no-fault --recovery stock --accel tcg --qemu 10.0");
    expect(readFileSync(join(folder, "source-qmp.log"), "utf8")).toContain('"execute":"migrate"');
    const timeline = readFileSync(join(folder, "timeline.ndjson"), "utf8").trimEnd().split("\n");
    expect(JSON.parse(timeline.at(-1) ?? "")).toMatchObject({ kind: "run.finished", verdict: "intact" });
    expect(await command.things(docker)).toEqual([]);
  });

  test("that is put together is written out, strikes one connection, asks a monitor, and can be run again by its command", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ferryman-cli-"));
    try {
      const file = join(folder, "mine.scenario.ts");
      const faults = [
        "cut-reset:source-target,connection=1@pages=30%..heal=300ms",
        "qmp:target,query-status@step=target-running",
      ].flatMap((text) => ["--fault", text]);
      const command = new Spawned([...RUN.filter((word) => word !== "no-fault"), ...SLOWLY, ...faults, "--save", file]);
      const { code, stdout, stderr } = await command.ended();
      const line = onlyLine(stdout);
      expect(line, stderr).toMatchObject({ scenario: "mine", verdict: "intact", asExpected: true });
      expect([code, stderr]).toEqual([0, expect.stringContaining(`${file} is written`)]);
      expect(line["checks"]).toContainEqual(expect.objectContaining({ check: "answers", verdict: true }));
      const timeline = readFileSync(join(String(line["run"]), "timeline.ndjson"), "utf8");
      expect(timeline).toMatch(/"kind":"link\.state".*"detail":"connection 1: connections ended/);
      expect(timeline).toMatch(/"kind":"migration\.step","step":"recovering"/);
      const record = JSON.parse(readFileSync(join(String(line["run"]), "run.json"), "utf8")) as RunRecord;
      expect(record.command).toContain(`run ${file} --recovery stock`);
      const again = await new Spawned(["run", file, "--recovery", "stock", "--dry-run"]).ended();
      expect([again.code, again.stdout]).toEqual([0, expect.stringContaining(faults[1] ?? "?")]);
      expect(await command.things(docker)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("whose target's QEMU exits at once is unknown, says QEMU's last words, exit code 1, and nothing is left", async () => {
    const image = await imageWithQemu(
      `case "$*" in *ferryman-target*) echo "${LAST_WORDS}" >&2; exit 1;; esac; exec ${QEMU_PATH}.real "$@"`,
    );
    const { command, ended } = await runOn(image);
    const line = onlyLine(ended.stdout);
    expect(line).toMatchObject({ verdict: "unknown", asExpected: false });
    expect(line["why"]).toMatch(/QEMU on target exited at once: .*no such thing as -impossible/);
    expect(ended.code).toBe(1);
    expect(await command.things(docker)).toEqual([]);
  });

  test("on an image whose QEMU does not run at all is refused with QEMU's words, exit code 2", async () => {
    const { command, ended } = await runOn(await imageWithQemu(`echo "${LAST_WORDS}" >&2; exit 1`));
    expect(ended.stderr).toMatch(/^ferryman: .*no such thing as -impossible/m);
    expect([ended.code, ended.stdout]).toEqual([2, ""]);
    expect(await command.things(docker)).toEqual([]);
  });

  test.each<[NodeJS.Signals, RunPhase]>([
    ["SIGINT", "migrate"],
    ["SIGTERM", "fleet"],
    ["SIGINT", "check"],
  ])("told to end by %s in its phase %s takes everything down first", async (signal, phase) => {
    const command = new Spawned(RUN);
    await command.reached(docker, folderOf, phase);
    command.kill(signal);
    const { code, stderr } = await command.ended(30_000);
    expect(stderr).toContain("everything is being taken down");
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(code).toBe(130);
    expect(await command.things(docker)).toEqual([]);
  });

  test("that was killed leaves hosts behind, and the next command takes them away", async () => {
    const command = new Spawned(RUN);
    await command.reached(docker, folderOf, "migrate");
    expect((await command.things(docker)).length).toBeGreaterThan(0);
    command.kill("SIGKILL");
    expect((await command.ended()).signal).toBe("SIGKILL");
    const { code, stderr } = await new Spawned(["clean"]).ended();
    expect([code, stderr]).toEqual([0, ""]);
    expect(await command.things(docker)).toEqual([]);
  });

  test("with --keep leaves its hosts standing, also for the next clean, until that run is named", async () => {
    const command = new Spawned([...RUN, "--keep"]);
    const { code, stdout } = await command.ended();
    const line = onlyLine(stdout);
    const run = basename(String(line["run"]));
    try {
      expect(line).toMatchObject({ verdict: "intact", asExpected: true });
      expect(code).toBe(0);
      expect((await new Spawned(["clean"]).ended()).code).toBe(0);
      expect((await findLeftovers(docker, run)).containers).toHaveLength(4);
    } finally {
      expect((await new Spawned(["clean", "--run", run]).ended()).code).toBe(0);
    }
    expect(await findLeftovers(docker, run)).toEqual({ containers: [], networks: [] });
  });
});
