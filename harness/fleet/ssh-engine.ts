import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { within } from "../base/wait.ts";
import { privateFolder } from "./private-folder.ts";

/** What DOCKER_HOST=ssh://… says. */
export interface SshPlace {
  /** DOCKER_HOST as it was given, for people. */
  readonly name: string;
  readonly host: string;
  readonly user: string | undefined;
  readonly port: string | undefined;
  /** The engine's socket on that machine. */
  readonly socket: string;
}

const ENGINE_SOCKET = "/var/run/docker.sock";
/** The other machine says this when whoever comes has been let in. */
const UP = "ferryman-is-let-in";
const CONNECT_S = 15;
/** ssh's own limit comes first, and tells why. */
const OPEN_MS = (CONNECT_S + 15) * 1_000;
const LAST_BYTES = 4_096;

/**
 * ssh as a user has it set up (~/.ssh/config, an agent, known hosts), with what it must not do here: ask anybody (there
 * is nobody at a terminal to ask), share or leave a connection behind, or end because a forwarding of the user's own is
 * in use already.
 */
const OPTIONS = [
  "BatchMode=yes",
  `ConnectTimeout=${CONNECT_S}`,
  "ServerAliveInterval=5",
  "ServerAliveCountMax=3",
  "ControlMaster=no",
  "ControlPath=none",
  "RemoteCommand=none",
  "PermitLocalCommand=no",
  "ExitOnForwardFailure=no",
  "StreamLocalBindUnlink=yes",
];

/** Whether DOCKER_HOST leads through ssh. */
export function isSsh(docker_host: string | undefined): docker_host is string {
  return docker_host?.startsWith("ssh://") === true;
}

/** `ssh://[user@]machine[:port][/path/of/the/engine's/socket]`, the machine by its name in ~/.ssh/config too. @throws UserError */
export function sshPlace(name: string): SshPlace {
  const url = URL.canParse(name) ? new URL(name) : undefined;
  if (url === undefined || url.hostname === "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw new UserError(
      `DOCKER_HOST=${withoutPassword(name)} is no address such as ssh://me@machine, without a password.`,
    );
  return {
    name,
    host: decodeURIComponent(url.hostname.replace(/^\[|\]$/g, "")),
    user: url.username === "" ? undefined : decodeURIComponent(url.username),
    port: url.port === "" ? undefined : url.port,
    socket: url.pathname === "" || url.pathname === "/" ? ENGINE_SOCKET : decodeURIComponent(url.pathname),
  };
}

const withoutPassword = (name: string): string => name.replace(/(\/\/[^/@]*):[^/@]*@/, "$1:…@");

/** What ssh is told: two sockets in `folder`, of which one is the engine's, and one leads to any port of that machine. */
export function sshArguments({ host, user, port, socket }: SshPlace, folder: string): readonly string[] {
  return [
    ...["-T", "-a", "-x"],
    ...OPTIONS.flatMap((option) => ["-o", option]),
    ...(user === undefined ? [] : ["-l", user]),
    ...(port === undefined ? [] : ["-p", port]),
    ...["-L", `${engineSocket(folder)}:${socket}`],
    // A path is taken here as it is with -L (OpenSSH's parse_forward), so that no other user of this machine finds it.
    ...["-D", portsSocket(folder)],
    // It ends when its input does, and ssh with it: also when this process was killed.
    ...["--", host, `echo ${UP} && exec cat`],
  ];
}

const engineSocket = (folder: string): string => join(folder, "engine");
const portsSocket = (folder: string): string => join(folder, "ports");

/** An engine on another machine, and the ports of that machine's loopback, through one ssh connection. */
export class SshEngine {
  readonly place: SshPlace;
  readonly #folder: string;
  readonly #child: ChildProcess;
  #last = "";
  #ended: string | undefined;

  private constructor(place: SshPlace, folder: string, child: ChildProcess) {
    this.place = place;
    this.#folder = folder;
    this.#child = child;
  }

  /** @throws UserError with ssh's own last words when it does not get there */
  static async open(place: SshPlace, folder: string, program = "ssh"): Promise<SshEngine> {
    // A group of its own: Ctrl-C at the terminal is not for ssh, without which nothing could be taken down.
    const child = spawn(program, sshArguments(place, folder), { stdio: ["pipe", "pipe", "pipe"], detached: true });
    const engine = new SshEngine(place, folder, child);
    // What that machine says to who may come, but not work there.
    let said = "";
    const over = new Promise<never>((_resolve, reject) => {
      child.once("error", (error: NodeJS.ErrnoException) => {
        const missing =
          error.code === "ENOENT" ? "there is no ssh on this machine (Debian: openssh-client)" : undefined;
        reject(engine.#failure(missing ?? error.message));
      });
      child.once("close", (code, signal) => {
        engine.#ended = engine.lastWords(said) ?? `it ended with ${signal ?? `code ${code}`}`;
        reject(engine.#failure(engine.#ended));
      });
    });
    over.catch(() => undefined);
    child.stdin.on("error", () => undefined);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      engine.#last = (engine.#last + text).slice(-LAST_BYTES);
    });
    const let_in = new Promise<void>((resolve) => {
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-LAST_BYTES);
        if (!said.includes(UP)) return;
        said = "";
        resolve();
      });
    });
    // It is there for as long as this process is, and does not keep it.
    child.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr]) if ("unref" in stream) (stream as Socket).unref();
    try {
      await within({ what: `ssh to reach ${place.host}`, timeout_ms: OPEN_MS }, Promise.race([let_in, over]));
      if (!existsSync(engine.engine_socket) || !existsSync(portsSocket(folder)))
        throw await engine.#withoutSockets(over);
      return engine;
    } catch (error) {
      engine.close();
      throw error;
    }
  }

  /** Where on this machine the engine is. */
  get engine_socket(): string {
    return engineSocket(this.#folder);
  }

  /** Why it is no more; undefined: it is there. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** What ssh said last, of a forwarding that was refused for example, and the other machine. */
  lastWords(said = ""): string | undefined {
    const lines = [this.#last, said].map((text) => text.trim().split("\n").at(-1)?.trim() ?? "");
    return lines.filter((line) => line !== "").join("; ") || undefined;
  }

  /**
   * A connection to a port of that machine's loopback address, as it is being made; `connected` tells.
   * ssh takes it by SOCKS 4: one question, one answer of eight bytes, then the port's own.
   */
  connect(port: number): { readonly socket: Socket; readonly connected: Promise<void> } {
    const socket = createConnection(portsSocket(this.#folder));
    const connected = new Promise<void>((resolve, reject) => {
      const refused = (): void =>
        reject(
          new Error(
            `port ${port} of ${this.place.host}: ${this.#ended ?? this.lastWords() ?? "ssh closed the connection"}`,
          ),
        );
      socket.once("connect", () => socket.write(Uint8Array.of(4, 1, port >> 8, port & 0xff, 127, 0, 0, 1, 0)));
      socket.once("error", refused).once("close", refused);
      // Nobody speaks before it: not even a port whose owner speaks first.
      socket.on("readable", function look() {
        const answer: Buffer | null = socket.read(8);
        if (answer === null) return;
        socket.off("readable", look);
        if (answer[1] === 90) resolve();
        else refused();
      });
    });
    return { socket, connected };
  }

  close(): void {
    this.#child.kill("SIGTERM");
  }

  /** Its words are whole when it has ended. */
  async #withoutSockets(over: Promise<never>): Promise<UserError> {
    this.#child.stdin?.end();
    await within({ what: "ssh to end", timeout_ms: 2_000 }, over).catch(() => undefined);
    return this.#failure(this.lastWords() ?? "it forwards nothing");
  }

  #failure(words: string): UserError {
    return new UserError(`DOCKER_HOST=${this.place.name}: ssh does not get there: ${words}`);
  }
}

let opened: SshEngine | undefined;
let opening: Promise<SshEngine> | undefined;

/** The engine that this process reaches through ssh, if it does. */
export function openedSshEngine(): SshEngine | undefined {
  return opened;
}

/** Opens the way once for this process, and again where it has broken off. @throws UserError when ssh does not get there */
export async function sshEngine(docker_host: string): Promise<SshEngine> {
  if (opened !== undefined && opened.ended === undefined) return opened;
  opening ??= open(sshPlace(docker_host)).finally(() => {
    opening = undefined;
  });
  return await opening;
}

async function open(place: SshPlace): Promise<SshEngine> {
  const known = opened !== undefined;
  const folder = folderOf(process.pid);
  removeLeftovers();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (!known)
    process.once("exit", () => {
      opened?.close();
      rmSync(folder, { recursive: true, force: true });
    });
  opened = await SshEngine.open(place, folder);
  return opened;
}

const FOLDER = /^ssh-(\d+)$/;
const folderOf = (pid: number): string => join(privateFolder(), `ssh-${pid}`);

/** Sockets of processes that were killed. */
function removeLeftovers(): void {
  for (const name of readdirSync(privateFolder())) {
    const [, pid] = FOLDER.exec(name) ?? [];
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(folderOf(Number(pid)), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
