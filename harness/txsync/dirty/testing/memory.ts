import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PAGE_BYTES } from "../../../base/page.ts";
import { within } from "../../../base/wait.ts";
import type { LocatedBlock } from "../../../qemu/ram-blocks.ts";
import { ByteQueue } from "../byte-queue.ts";
import { readShimStatus } from "../shim-status.ts";
import type { NativeTools } from "./native.ts";

export const BLOCK_NAMES = ["ram0", "pc.bios"] as const;
export type BlockNumber = 0 | 1;

/** Content of a page in one of its versions; 0 is all zeros (fixtures/native/testing/memory.c, fill). */
export function contentOf(version: number): Buffer {
  const content = Buffer.alloc(PAGE_BYTES);
  if (version === 0) return content;
  for (let i = 0; i < PAGE_BYTES / 4; i++) content.writeUInt32LE((Math.imul(version, 2654435761) + i) >>> 0, i * 4);
  return content;
}

/** A process whose memory is a guest's, and that does nothing by itself: real pages, real userfaultfd, the real library. */
export class GuestMemory implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines = new ByteQueue();
  readonly #waiting: ((line: string) => void)[] = [];
  /** A tmpfs folder that lives as long as the process. */
  readonly folder: string;
  readonly pages: readonly [number, number];
  blocks: readonly LocatedBlock[] = [];

  private constructor(tools: NativeTools, pages: readonly [number, number]) {
    this.pages = pages;
    this.folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "guest-memory-"));
    this.#child = spawn(tools.memory, [this.#ram_path, ...pages.map(String)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, LD_PRELOAD: tools.shim, FERRYMAN_UFFD_STATUS: this.status_path },
    });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.#lines.push(chunk);
      for (let line = this.#lines.takeLine(256); line !== undefined; line = this.#lines.takeLine(256)) {
        this.#waiting.shift()?.(line);
      }
    });
  }

  static async start(tools: NativeTools, pages: readonly [number, number]): Promise<GuestMemory> {
    const guest = new GuestMemory(tools, pages);
    const [word, address = "0"] = (await guest.#next()).split(" ");
    if (word !== "ready") throw new Error(`the guest's memory is not there: ${word}`);
    const where = [
      { kind: "file", path: guest.#ram_path },
      { kind: "process", address: BigInt(`0x${address}`) },
    ] as const;
    guest.blocks = BLOCK_NAMES.map((name, i) => ({
      name,
      bytes: (pages[i] ?? 0) * PAGE_BYTES,
      where: where[i] ?? where[0],
    }));
    return guest;
  }

  get #ram_path(): string {
    return join(this.folder, "ram");
  }

  get status_path(): string {
    return join(this.folder, "uffd");
  }

  /** Whether the kernel notes here what is written. */
  get tracked(): boolean {
    return existsSync(this.status_path) && readShimStatus(readFileSync(this.status_path, "utf8")).tracking;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  async place(block: BlockNumber, page: number, version: number): Promise<void> {
    await this.#ask(`place ${block} ${page} ${version}`);
  }

  async write(block: BlockNumber, page: number, version: number): Promise<void> {
    await this.#ask(`write ${block} ${page} ${version}`);
  }

  /** As at the end of a migration: the kernel notes nothing any more. */
  async end(): Promise<void> {
    await this.#ask("end");
  }

  async #ask(line: string): Promise<void> {
    const answer = this.#next();
    this.#child.stdin?.write(`${line}\n`);
    const got = await answer;
    if (got !== "ok") throw new Error(`the guest's memory answered "${got}" to "${line}"`);
  }

  async #next(): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#waiting.push(resolve);
    return await within({ what: "the guest's memory to answer", timeout_ms: 5000 }, promise);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) resolve();
    else this.#child.once("exit", () => resolve());
    this.#child.kill("SIGKILL");
    await promise;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
