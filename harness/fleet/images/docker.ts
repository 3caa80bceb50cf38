import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type Docker from "dockerode";
import { within } from "../../base/wait.ts";
import { runLabels } from "../labels.ts";
import { ownerLives, ownerOf } from "../owner.ts";

/** Label of every image that Ferryman made. */
export const IMAGE_LABEL = "ferryman";
export const IMAGE_LABEL_VALUE = "image";

/** What every step of making images is handed. */
export interface Making {
  readonly docker: Docker;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
  readonly mayInstall: boolean;
  readonly progress: (image: string, step: string, fraction: number) => void;
}

/** What the engine says about an image, undefined when it does not have it. */
export async function inspectImage(docker: Docker, name: string): Promise<Docker.ImageInspectInfo | undefined> {
  try {
    return await docker.getImage(name).inspect();
  } catch (error) {
    const status = (error as { statusCode?: number }).statusCode;
    // 400: no valid name; to whoever asks that is an image that does not exist.
    if (status === 404 || status === 400) return undefined;
    throw error;
  }
}

/** Gives an image a tag of ours, `repository:tag`. */
export async function tagImage(docker: Docker, image: string, tag: string): Promise<void> {
  await docker.getImage(image).tag(splitTag(tag));
}

export function splitTag(name: string): { readonly repo: string; readonly tag: string } {
  const at = name.lastIndexOf(":");
  return { repo: name.slice(0, at), tag: name.slice(at + 1) };
}

/**
 * Pulls an image.
 * @throws Error when the registry cannot be reached, or sends nothing for 20 s, or does not have it.
 */
export async function pullImage(making: Making, name: string): Promise<void> {
  const silent = new AbortController();
  const signal = AbortSignal.any([making.signal, silent.signal]);
  let timer = setTimeout(() => silent.abort(new Error(`pulling ${name}: nothing came for 20 s`)), 20_000);
  try {
    const stream = await making.docker.pull(name, { abortSignal: signal });
    await readProgress(stream as Readable, signal, () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(new Error(`pulling ${name}: nothing came for 20 s`)), 20_000);
    });
  } catch (error) {
    making.signal.throwIfAborted();
    throw silent.signal.aborted ? silent.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

export interface BuildSpec {
  /** For progress and errors. */
  readonly image: string;
  /** Absent: the image stays untagged, for checking it first. */
  readonly tag?: string;
  /** Folder that holds the Dockerfile and all it copies. */
  readonly context: string;
  readonly args?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/**
 * `docker build` by the classic builder, which every engine since 20.10 has; returns the image's id. A build that
 * fails or is aborted leaves no container (forcerm).
 */
export async function buildImage(making: Making, spec: BuildSpec): Promise<string> {
  const stream = await making.docker.buildImage(
    { context: spec.context, src: readdirSync(spec.context) },
    {
      ...(spec.tag === undefined ? {} : { t: spec.tag }),
      rm: true,
      forcerm: true,
      pull: false,
      buildargs: { ...spec.args },
      labels: { [IMAGE_LABEL]: IMAGE_LABEL_VALUE, ...spec.labels },
      abortSignal: making.signal,
    },
  );
  let id: string | undefined;
  const last: string[] = [];
  try {
    await readProgress(stream as Readable, making.signal, (message) => {
      if (message.aux?.ID) id = message.aux.ID;
      for (const line of (message.stream ?? "").split("\n").filter((text) => text.trim() !== "")) {
        last.push(line);
        if (last.length > 12) last.shift();
        const step = /^Step (\d+)\/(\d+) : (.*)/.exec(line);
        if (step) making.progress(spec.image, step[3] ?? "", (Number(step[1]) - 1) / Number(step[2]));
      }
    });
  } catch (error) {
    making.signal.throwIfAborted();
    throw new Error(`building ${spec.image}: ${String(error)}; last lines:\n  ${last.join("\n  ")}`);
  }
  if (id === undefined) throw new Error(`building ${spec.image}: the engine named no image at the end`);
  return id;
}

/** Runs a shell script in a throw-away container without network; returns what it wrote. Its code must be 0. */
export async function runInImage(docker: Docker, image: string, script: string): Promise<string> {
  const container = await docker.createContainer({
    Image: image,
    Entrypoint: ["/bin/sh", "-c", script],
    Cmd: [],
    User: "0:0",
    Tty: true,
    Labels: runLabels("images", ownerOf(process.pid) ?? String(process.pid)),
    HostConfig: { NetworkMode: "none" },
  });
  try {
    await container.start();
    const ended = await within({ what: `a look into image ${image}`, timeout_ms: 30_000 }, container.wait());
    const output = (await container.logs({ stdout: true, stderr: true, follow: false })).toString("utf8").trim();
    if ((ended as { StatusCode: number }).StatusCode !== 0) throw new Error(output || "it ended with an error");
    return output.replaceAll("\r\n", "\n");
  } finally {
    await container.remove({ force: true, v: true });
  }
}

interface EngineMessage {
  readonly stream?: string;
  readonly status?: string;
  readonly error?: string;
  readonly aux?: { readonly ID?: string };
}

/** Reads the engine's JSON lines to the end. An answer that stops because of an abort is an error, not an end. */
export async function readProgress(
  stream: Readable,
  signal: AbortSignal,
  onMessage: (message: EngineMessage) => void,
): Promise<void> {
  let rest = "";
  const take = (line: string): void => {
    if (line.trim() === "") return;
    const message = JSON.parse(line) as EngineMessage;
    if (message.error !== undefined) throw new Error(message.error.trim());
    onMessage(message);
  };
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  }
  signal.throwIfAborted();
  take(rest);
}

/** A temporary folder that goes when disposed of; what a killed process left behind goes here, too. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const prefix = "ferryman-images-";
  for (const name of readdirSync(tmpdir())) {
    const owner = name.startsWith(prefix) ? name.slice(prefix.length).split("-").slice(0, 2) : undefined;
    const [pid, started] = owner ?? [];
    if (pid === undefined || started === undefined) continue;
    const mine = (ownerOf(process.pid) ?? "").split("/")[0] ?? "";
    if (!ownerLives(`${mine}/${pid}/${started}`)) removeTree(join(tmpdir(), name));
  }
  const [, pid, started] = (ownerOf(process.pid) ?? `/${process.pid}/0`).split("/");
  const path = mkdtempSync(join(tmpdir(), `${prefix}${pid}-${started}-`));
  return { path, [Symbol.dispose]: () => removeTree(path) };
}

/** Removes a folder, unless something is mounted in it: /dev of a chroot is the machine's own. */
function removeTree(path: string): void {
  if (readFileSync("/proc/self/mounts", "utf8").includes(` ${path}/`)) return;
  rmSync(path, { recursive: true, force: true });
}
