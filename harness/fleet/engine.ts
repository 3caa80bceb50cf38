import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { messageOf, UserError } from "../base/errors.ts";
import { waitFor, within } from "../base/wait.ts";
import { canInstall, installPackages } from "./images/apt.ts";
import { runCommand } from "./images/command.ts";
import { privateFolder } from "./private-folder.ts";
import { publishedOn } from "./published.ts";
import { isSsh, openedSshEngine, sshEngine } from "./ssh-engine.ts";

/** How long the engine may take for one thing that it is asked for; it takes tenths of a second when nothing is wrong. */
export const ENGINE_MS = 30_000;

const ANSWER_TIMEOUT_MS = 3_000;
const START_TIMEOUT_MS = 60_000;
const PACKAGES = ["docker.io", "iptables", "ca-certificates"];

export interface EngineOptions {
  /** Whether packages may be installed and a daemon started where no engine answers. */
  readonly mayInstall: boolean;
  readonly say: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The container engine that answers: at DOCKER_HOST, or on the usual sockets. Changes nothing; undefined: none does.
 * @throws UserError where DOCKER_HOST, or what belongs to it, cannot be used
 */
export async function findEngine(): Promise<Docker | undefined> {
  for (const docker of await candidates()) {
    if ((await answerOf(docker)) === "yes") return docker;
  }
  return undefined;
}

/**
 * A container engine that answers. Where none does and it may (root, apt-get, `mayInstall`), it installs Debian's
 * docker.io and starts the daemon, and says so.
 * @throws UserError with the exact commands to run, where it may not or where that did not help; for an engine on another
 * machine whose ports cannot be reached.
 */
export async function ensureEngine(options: EngineOptions): Promise<Docker> {
  // One whose ports nobody could reach is refused before anything is built there.
  await publishedOn();
  const found = await findEngine();
  if (found) return found;
  const answers = await Promise.all((await candidates()).map(answerOf));
  const host = process.env["DOCKER_HOST"];
  if (host)
    throw new UserError(
      `no container engine answers at DOCKER_HOST=${host} (${answers.join(", ")}): start it, or unset DOCKER_HOST`,
    );
  const complaint = answers.find((answer) => /EACCES/.test(answer));
  if (complaint) {
    throw new UserError(
      'the container engine runs, but this user may not talk to it. Run:\n  sudo usermod -aG docker "$USER"\nthen log in again',
    );
  }
  const installed = onPath("dockerd") !== undefined;
  if (!canInstall(options.mayInstall) && !(installed && options.mayInstall && process.getuid?.() === 0)) {
    throw new UserError(`no container engine answers. Run:\n${commandsToRun(installed)}\nthen try again`);
  }
  if (!installed) {
    // A machine may have a docker client in its PATH and no engine: only the daemon counts.
    await installPackages(PACKAGES, "no container engine answers", options.say, options.signal);
    const started = await answered(2_000);
    if (started) return started;
  }
  return startDaemon(options);
}

/** What a person has to type where Ferryman may not do it. */
export function commandsToRun(installed: boolean): string {
  const sudo = process.getuid?.() === 0 ? "" : "sudo ";
  const install = installed ? "" : `  ${sudo}apt-get update && ${sudo}apt-get install --yes ${PACKAGES.join(" ")}\n`;
  const start = isSystemd()
    ? `  ${sudo}systemctl start docker`
    : `  ${sudo}sh -c 'setsid dockerd >/var/log/dockerd.log 2>&1 &'`;
  const group = sudo ? `\n  sudo usermod -aG docker "$USER"   # and log in again` : "";
  return `${install}${start}${group}`;
}

async function startDaemon({ say, signal }: EngineOptions): Promise<Docker> {
  if (isSystemd()) {
    say("starting the container engine: systemctl start docker");
    await runCommand("systemctl", ["start", "docker"], { signal });
    const docker = await answered(START_TIMEOUT_MS);
    if (docker) return docker;
    throw new UserError("the container engine was started, but does not answer: see `journalctl -u docker`");
  }
  const log = join(privateFolder(), "dockerd.log");
  say(`starting the container engine: dockerd (it stays when Ferryman ends; log: ${log})`);
  const output = openSync(log, "w");
  const daemon = spawn("dockerd", [], { detached: true, stdio: ["ignore", output, output] });
  closeSync(output);
  let ended: string | undefined;
  daemon.once("error", (error) => {
    ended = error.message;
  });
  daemon.once("exit", (code, killed) => {
    ended = `ended with ${killed ?? `code ${code}`}`;
  });
  daemon.unref();
  const lastLines = () => readFileSync(log, "utf8").trimEnd().split("\n").slice(-8);
  try {
    return await waitFor(
      { what: "dockerd to answer", timeout_ms: START_TIMEOUT_MS, interval_ms: 100, signal, lastLines },
      async () => {
        if (ended !== undefined) throw new Error(`dockerd ${ended}\nlast lines:\n  ${lastLines().join("\n  ")}`);
        return findEngine();
      },
    );
  } catch (error) {
    if (ended === undefined) daemon.kill("SIGTERM");
    throw new UserError(`the container engine did not start on this machine: ${messageOf(error)}`);
  }
}

async function answered(timeout_ms: number): Promise<Docker | undefined> {
  return waitFor({ what: "the engine", timeout_ms, interval_ms: 100 }, findEngine).catch(() => undefined);
}

async function candidates(): Promise<readonly Docker[]> {
  // Only now: it takes a quarter of a second to load, and whoever is refused for what was typed needs none of it.
  const { default: Docker } = await import("dockerode");
  const named = process.env["DOCKER_HOST"];
  // What docker-modem itself knows of ssh is neither ~/.ssh/config nor the ports of that machine.
  if (isSsh(named)) {
    const { engine_socket: socketPath } = await sshEngine(named);
    return [new Docker({ socketPath, host: "", protocol: "http" })];
  }
  if (named) return [at(named, Docker)];
  const sockets = ["/var/run/docker.sock"];
  const runtime = process.env["XDG_RUNTIME_DIR"];
  if (runtime) sockets.push(join(runtime, "docker.sock"));
  return sockets.filter((path) => existsSync(path)).map((socketPath) => new Docker({ socketPath }));
}

/** The engine at DOCKER_HOST, by TLS where the environment says so. @throws UserError where that is not said rightly */
function at(name: string, Docker: new () => Docker): Docker {
  const { DOCKER_TLS_VERIFY: tls, DOCKER_CERT_PATH: certificates } = process.env;
  if (tls !== undefined && tls !== "" && tls !== "1")
    throw new UserError(`DOCKER_TLS_VERIFY is 1, or is not set; it is "${tls}".`);
  try {
    return new Docker();
  } catch (error) {
    const where = certificates ? ` with DOCKER_CERT_PATH=${certificates} (ca.pem, cert.pem, key.pem)` : "";
    throw new UserError(`DOCKER_HOST=${name}${where} cannot be used: ${messageOf(error)}`);
  }
}

/** "yes", or why not. */
async function answerOf(docker: Docker): Promise<string> {
  try {
    await within({ what: "the engine", timeout_ms: ANSWER_TIMEOUT_MS }, docker.ping());
    return "yes";
  } catch (error) {
    // Behind ssh a connection that is refused there is only closed here: ssh has the reason.
    const words = openedSshEngine()?.lastWords();
    return words === undefined ? messageOf(error) : `${messageOf(error)}; ssh: ${words}`;
  }
}

function isSystemd(): boolean {
  return existsSync("/run/systemd/system");
}

function onPath(program: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}
