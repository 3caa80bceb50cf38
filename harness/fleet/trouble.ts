import type { HostRole } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import { AGENT_FILES } from "./agent-files.ts";
import type { StartedHost } from "./host.ts";

/**
 * What an agent's files and clocks do to it, where it was started with the library for that: orders in a file that it has
 * mapped (fixtures/native/agent-trouble.c has the same numbers). The agent knows nothing of it.
 */
const AT = {
  monotonic_ns: 0,
  wall_ns: 8,
  fails: 16,
  failed: 24,
  monotonic_read: 28,
  here: 32,
  wall_read: 36,
  prefix: 64,
} as const;
const ORDERS_BYTES = 4096;
const TOLD_BYTES = 64;
const PREFIX_BYTES = 255;
const LOOK_AGAIN_MS = 20;

export const FAILING_CALLS = { writes: 1, reads: 2, all: 3 } as const;
/** Linux's numbers: asm-generic/errno-base.h. */
export const FILE_ERRORS = { eio: 5, full: 28 } as const;
export type AgentClock = "monotonic" | "wall";

/** How the agent's supervisor starts it, in front of its command: a shell's words. */
export const TROUBLED = `LD_PRELOAD=${AGENT_FILES.trouble} FERRYMAN_TROUBLE=${AGENT_FILES.orders}`;

/** The host that the agent is on: what of it is needed. */
type Shell = Pick<StartedHost, "role" | "run">;

interface Told {
  readonly monotonic_ns: bigint;
  readonly wall_ns: bigint;
  readonly fails: number;
  readonly failed: number;
  readonly monotonic_read: number;
  readonly wall_read: number;
}

/** Before the agent is started: nothing goes wrong yet. What was ordered of an earlier one stays. */
export async function makeOrders(host: Shell, file: string = AGENT_FILES.orders): Promise<void> {
  await host.run(`[ -e ${file} ] || head -c ${ORDERS_BYTES} /dev/zero >${file}`);
}

/** The orders of one host's agent. */
export class AgentTrouble {
  readonly #host: Shell;
  readonly #role: HostRole;
  readonly #file: string;

  constructor(host: Shell, file: string = AGENT_FILES.orders) {
    this.#host = host;
    this.#role = host.role;
    this.#file = file;
  }

  /**
   * Calls of the agent's on files whose path begins so fail from now on.
   * @returns once one has, which is when it is sure that this strikes at all
   * @throws Error when none does within `timeout_ms`, or others fail already; then they do not any more, or only those
   */
  async fail(
    prefix: string,
    { calls, error }: { readonly calls: keyof typeof FAILING_CALLS; readonly error: keyof typeof FILE_ERRORS },
    timeout_ms: number,
  ): Promise<void> {
    const before = await this.#told();
    if (before.fails !== 0) throw new Error(`files of the agent on ${this.#role} fail already`);
    if (Buffer.byteLength(prefix) > PREFIX_BYTES) throw new Error(`${prefix} is too long`);
    await this.#write(AT.prefix, Buffer.from(`${prefix}\0`));
    const order = Buffer.alloc(8);
    order.writeUInt32LE(FAILING_CALLS[calls], 0);
    order.writeUInt32LE(FILE_ERRORS[error], 4);
    await this.#write(AT.fails, order);
    try {
      const what = `a call of the agent's on ${this.#role} on ${prefix}… to fail`;
      await this.#until(what, timeout_ms, ({ failed }) => failed !== before.failed);
    } catch (cause) {
      await this.mend();
      throw cause;
    }
  }

  /** No call fails any more. */
  async mend(): Promise<void> {
    await this.#write(AT.fails, Buffer.alloc(8));
  }

  /**
   * The clock is so much further from the kernel's than before.
   * @returns once the agent has read it
   * @throws Error when it does not within `timeout_ms`; the clock stays as it is then
   */
  async step(clock: AgentClock, by_ms: number, timeout_ms: number): Promise<void> {
    const before = await this.#told();
    const order = Buffer.alloc(8);
    const is_ns = before[`${clock}_ns`] + BigInt(by_ms) * 1_000_000n;
    order.writeBigInt64LE(is_ns);
    await this.#write(AT[`${clock}_ns`], order);
    // What is as the kernel's again is not counted.
    if (is_ns === 0n) return;
    const what = `the agent on ${this.#role} to read its ${clock} clock`;
    await this.#until(what, timeout_ms, (told) => told[`${clock}_read`] !== before[`${clock}_read`]);
  }

  async #until(what: string, timeout_ms: number, is: (told: Told) => boolean): Promise<void> {
    await waitFor({ what, timeout_ms, interval_ms: LOOK_AGAIN_MS }, async () =>
      is(await this.#told()) ? true : undefined,
    );
  }

  async #told(): Promise<Told> {
    const text = await this.#host.run(`head -c ${TOLD_BYTES} ${this.#file} 2>/dev/null | base64 -w0`);
    const bytes = Buffer.from(text.trim(), "base64");
    if (bytes.length < TOLD_BYTES || bytes.readUInt32LE(AT.here) === 0)
      throw new Error(`the agent on ${this.#role} was started without what makes its files fail and its clocks step`);
    return {
      monotonic_ns: bytes.readBigInt64LE(AT.monotonic_ns),
      wall_ns: bytes.readBigInt64LE(AT.wall_ns),
      fails: bytes.readUInt32LE(AT.fails),
      failed: bytes.readUInt32LE(AT.failed),
      monotonic_read: bytes.readUInt32LE(AT.monotonic_read),
      wall_read: bytes.readUInt32LE(AT.wall_read),
    };
  }

  async #write(at: number, bytes: Buffer): Promise<void> {
    const dd = `dd of=${this.#file} bs=${bytes.length} seek=${at} oflag=seek_bytes conv=notrunc status=none`;
    await this.#host.run(`echo ${bytes.toString("base64")} | base64 -d | ${dd}`);
  }
}
