import { setTimeout as delay } from "node:timers/promises";
import type { Configuration, DiskBus, DiskKind, Net } from "../../base/configuration.ts";
import { messageOf, UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { chunksOf, whileMoving } from "../../base/patience.ts";
import type { Accel } from "../../base/run-record.ts";
import type { Emit, HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { GuestAbility } from "../../checks/evidence.ts";
import type { GuestFindings } from "../../checks/guest-self-check.ts";
import type { LedgerFindings } from "../../checks/ledger.ts";
import type { MemoryFindings } from "../../checks/memory-model.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import type { LedgerEntry } from "../../guests/integrity/ledger-area.ts";
import { type HelloAnswer, LedgerClient, LedgerUnknownError } from "../../guests/integrity/ledger-client.ts";
import { unacknowledged } from "../../guests/integrity/ledger-history.ts";
import { decodeStatusPage, STATUS_ADDRESS, STATUS_BYTES, type StatusPage } from "../../guests/integrity/status-page.ts";
import { verifyRam } from "../../guests/integrity/verify-ram.ts";
import type { HistoryClient } from "../custom/history-client.ts";
import { LOOKING, type Looking } from "../looking.ts";
import { BootWork } from "./boot-work.ts";
import { FIRST_NOT_ZERO } from "./first-not-zero.ts";
import type { GuestClock, GuestFiles, GuestUnderTest, Reached, Workload } from "./guest.ts";
import { whileStill } from "./while-still.ts";
import { checkWork, type GuestWork } from "./work.ts";

export interface GuestSettings {
  readonly seed: number;
  readonly memory_bytes: number;
  readonly accel: Accel;
  readonly emit: Emit;
  readonly work?: GuestWork;
  /** What the guest does with each of its disks. */
  readonly disks?: readonly DiskKind[];
  /** What they are for it; default blk. */
  readonly disk_bus?: DiskBus;
  /** Default 1; the Linux guest has a memory worker for each. */
  readonly vcpus?: number;
  /** Its network card; the Linux guest answers clients by it. Absent: it has none. */
  readonly net?: Net;
  /** What a custom guest boots, and what tells that it lives. */
  readonly configuration?: Configuration;
  /** A client of the user's. */
  readonly client?: HistoryClient;
  /** How whoever waits for the guest waits. */
  readonly looking?: Looking;
}

/** The guest checks its pages in parts that grow while they are quick, for at most so long: emulated KVM is slow. */
const VERIFY_PAGES_FIRST = 256;
const VERIFY_QUICK_MS = 100;
const VERIFY_BUDGET_MS = 2_000;
/** Half a second on a quiet machine. */
const ABOVE_MS_PER_GIB = 15_000;
/** Enough to change hundreds of pages in every phase, and not enough to keep a processor from everybody else. */
const DEFAULT_RATE = 1_000;
/** For one operation of a client, which the guest answers between two steps: nothing in it knows how much memory there is. */
const OPERATION_MS = 500;
/** What is typed while the agent that passes it on is away is lost, as on a line that nobody listens to. */
const GREETING_MS = 1_000;
/** For a guest that runs to answer at all. */
const ANSWERS_MS = 10_000;
const APPENDS_TO_WARM_UP = 10;
/** Every so many operations one reads what was written last: it must be there. */
const READ_EVERY = 4;
/** Between two looks whether there is a VM whose ledger can be reached. */
const LOOK_EVERY_MS = 20;
/** A host whose processors are busy takes more than a second to start two programs: three of 75 runs beside busy neighbours. */
const STATUS_MS = 5_000;
/** Between two operations on the ledger: the client's think time. */
const THINK_MS = 10;
const CLIENT_ID = 1;
/** A whole line that tells how far a processor is; of one that was torn in two the number may be torn too. */
const STEP_LINE = /^step cpu=(\d+) n=(\d+) errors=\d+ ledger=\d+ ms=\d+\r?$/;

function stepsOf({ cpus }: StatusPage): number {
  return cpus.reduce((sum, cpu) => sum + cpu.step_done, 0);
}

/** Asks the guest until it answers. */
function greet(client: LedgerClient): Promise<HelloAnswer> {
  return waitFor({ what: "the guest to answer on its second serial line", timeout_ms: ANSWERS_MS }, async () => {
    try {
      return await client.hello({ timeout_ms: GREETING_MS });
    } catch (error) {
      if (error instanceof LedgerUnknownError) return undefined;
      throw error;
    }
  });
}

/** The bare-metal guest: its memory is a pure function of seed and step, its ledger lies behind COM2. */
export class IntegrityGuest implements GuestUnderTest {
  readonly kind = "integrity";
  readonly can: readonly GuestAbility[] = ["memory", "ledger", "self-check"];
  /** Hundreds of steps, even where each takes milliseconds. */
  readonly still_after_ms = 500;
  readonly files: GuestFiles;
  readonly clock: GuestClock = {
    offset_bytes: STATUS_ADDRESS,
    bytes: STATUS_BYTES,
    read: (bytes) => {
      if (bytes.every((byte) => byte === 0)) return undefined;
      try {
        const page = decodeStatusPage(Buffer.concat([bytes, Buffer.alloc(PAGE_BYTES - bytes.length)]));
        return { step: stepsOf(page), ran_ms: page.uptime_ms };
      } catch (error) {
        // It is being written, or is none: the next look may tell.
        if (error instanceof UserError) return undefined;
        throw error;
      }
    },
  };
  readonly #emit: Emit;
  /** The line that ended its boot, well or not. */
  #boot: string | undefined;
  /** Lines on its console that tell how far its boot is. */
  #boot_lines = 0;
  readonly #looking: Looking;
  /** The ledger as it was found in the guest's memory; nothing while nobody has looked. */
  #entries: readonly LedgerEntry[] | undefined;
  #next_seq = 1;

  constructor({ seed, memory_bytes, accel, emit, work = {}, looking = LOOKING }: GuestSettings) {
    checkWork("integrity", memory_bytes, work);
    const { write_rate_pages_per_s: rate = DEFAULT_RATE, working_set_bytes: set, chatter_lines_per_s: chatter } = work;
    const [within, talk] = [set && ` set=${set / 1024 ** 2}`, chatter && ` chatter=${chatter}`];
    const fill = accel === "kvm" ? "head" : "full";
    this.files = {
      kernel: "/opt/ferryman/guests/integrity/integrity.elf",
      // Filling every word of every page takes minutes where each instruction is emulated; three words of each do there.
      append: `seed=${seed} rate=${rate}${within || ""}${talk || ""} fill=${fill}`,
    };
    this.#emit = emit;
    this.#looking = looking;
  }

  onConsole(host: HostRole, line: string): void {
    this.#emit(host, { kind: "guest.log", host, line });
    if (line.startsWith("ferryman-integrity ")) this.#boot ??= line;
    const [, cpu, step] = STEP_LINE.exec(line) ?? [];
    if (cpu === undefined) this.#boot_lines += 1;
    else this.#emit(host, { kind: "guest.progress", host, cpu: Number(cpu), step: Number(step), outside: true });
  }

  async booted(vm: StartedVm): Promise<void> {
    // It says how far it is while it fills its memory, so that a large guest has the time that it takes.
    const boot = await this.#whileItBoots(vm, "the integrity guest to boot", () => {
      if (vm.process.gone) throw new Error(`QEMU exited: ${vm.process.lastLines().join(" | ")}`);
      return this.#boot;
    });
    if (!boot.startsWith("ferryman-integrity boot")) throw new UserError(`the guest does not boot: ${boot}`);
  }

  async #whileItBoots<T>(vm: StartedVm, what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
    const work = new BootWork();
    const moves = async (): Promise<string> =>
      `${this.#boot_lines} lines on its console, ${await work.of(vm)} s of a processor`;
    return await whileMoving(
      { what, ...this.#looking, interval_ms: 20, moves, lastLines: () => vm.process.lastLines() },
      look,
    );
  }

  async steps(vm: StartedVm): Promise<number | undefined> {
    const page = await this.#status(vm);
    return page === undefined ? undefined : stepsOf(page);
  }

  async #status(vm: StartedVm): Promise<StatusPage | undefined> {
    const page = STATUS_ADDRESS / PAGE_BYTES;
    const text = await vm.host.run(
      `dd if=${vm.ram_path} bs=${PAGE_BYTES} skip=${page} count=1 status=none | base64 -w0`,
      STATUS_MS,
    );
    const bytes = Buffer.from(text.trim(), "base64");
    if (bytes.length < PAGE_BYTES || bytes.every((byte) => byte === 0)) return undefined;
    return decodeStatusPage(bytes);
  }

  async memory(vm: StartedVm): Promise<MemoryFindings> {
    return await whileStill(vm, async () => {
      const ram = await verifyRam(
        chunksOf(await vm.host.readFile(vm.ram_path), {
          what: `the guest's memory on ${vm.host.role} to be read`,
          ...this.#looking,
        }),
      );
      this.#entries = ram.ledger;
      const above = await this.#above(vm, ram.status);
      const bad = ram.bad.map(({ page, address, expected_step, found }) => ({
        page,
        address,
        expected: `content of step ${expected_step}`,
        found,
      }));
      const ledger_bad = ram.ledger_bad.map((text) => ({
        page: -1,
        address: 0,
        expected: "a whole ledger entry",
        found: text,
      }));
      return {
        step: ram.steps.reduce((sum, step) => sum + step, 0),
        pages_checked: ram.pages_checked + ram.status.pages_above,
        bad_count: ram.bad_count + ram.ledger_bad.length + above.length,
        bad: [...bad, ...ledger_bad, ...above],
      };
    });
  }

  /**
   * What lies above 4 GiB, the end of the RAM file, nobody has ever written. It is looked at on the host, for gigabytes
   * of zeros take longer to carry here than to read there. By `read`, so that holes stay holes.
   */
  async #above(vm: StartedVm, { pages_above }: StatusPage): Promise<MemoryFindings["bad"]> {
    if (pages_above === 0) return [];
    const length_bytes = pages_above * PAGE_BYTES;
    const patience_ms = ABOVE_MS_PER_GIB * Math.ceil(length_bytes / 1024 ** 3);
    const command = `${AGENT_FILES.node} -e '${FIRST_NOT_ZERO}' ${vm.ram_path} ${length_bytes}`;
    const first = Number(await vm.host.run(command, patience_ms));
    if (first < 0) return [];
    const page = Math.floor(first / PAGE_BYTES);
    const expected = "zeros: the guest reaches nothing above 4 GiB";
    return [{ page, address: 2 ** 32 + page * PAGE_BYTES, expected, found: "something else, perhaps not only here" }];
  }

  async reboot(vm: StartedVm): Promise<void> {
    const before = await this.#status(vm);
    await vm.control.executeRaw("system_reset");
    await this.#whileItBoots(vm, "the integrity guest to boot again", async () => {
      // While it boots there is no status page, or a half written one.
      const now = await this.#status(vm).catch(() => undefined);
      return now !== undefined && now.boot_id !== before?.boot_id && now.phase === "working" ? true : undefined;
    });
  }

  async disks(): Promise<undefined> {
    return undefined;
  }

  async selfCheck(vm: StartedVm): Promise<GuestFindings> {
    return this.#asked(vm, async (client) => {
      const { errors, pages } = await greet(client);
      const started_ms = performance.now();
      let [pages_checked, bad_count, first] = [0, 0, "see the console log"];
      let part_pages = VERIFY_PAGES_FIRST;
      while (pages_checked < pages && performance.now() - started_ms < VERIFY_BUDGET_MS) {
        const range = { first_page: pages_checked, pages: Math.min(part_pages, pages - pages_checked) };
        const began_ms = performance.now();
        const part = await client.verify({ timeout_ms: 20_000, ...range });
        if (part.first_bad && bad_count === 0) first = JSON.stringify(part.first_bad);
        bad_count += part.bad_count;
        pages_checked += part.pages_checked;
        if (performance.now() - began_ms < VERIFY_QUICK_MS) part_pages *= 8;
      }
      return { pages_checked, bad_count, errors, first };
    });
  }

  async ledger(): Promise<LedgerFindings> {
    const entries = this.#entries?.map(({ value, client, client_seq }): [number, number, number] => [
      value,
      client,
      client_seq,
    ]);
    return { client: CLIENT_ID, ...(entries === undefined ? {} : { entries }) };
  }

  async #asked<T>(vm: StartedVm, ask: (client: LedgerClient) => Promise<T>): Promise<T> {
    // The second client asks only; what it asks belongs to no history.
    const client = new LedgerClient(await vm.com2(), { client: CLIENT_ID + 1, timeout_ms: 5_000 });
    try {
      return await ask(client);
    } finally {
      client.close();
    }
  }

  workload(): Workload {
    const stopping = new AbortController();
    let where: Reached | undefined;
    let moved = 0;
    let acknowledged = 0;
    let last_index = -1;
    const emit = this.#emit;
    const looking = this.#looking;
    const answered = (error: unknown): boolean => unacknowledged(error, performance.now()).outcome === "refused";
    const phaseOf = (error: unknown): "failed" | "unknown" => (answered(error) ? "failed" : "unknown");
    const append = async (client: LedgerClient, host: HostRole): Promise<boolean> => {
      const client_seq = this.#next_seq++;
      const value = Math.imul(client_seq, 2654435761) >>> 0;
      const tell = { kind: "client.op", op: client_seq, name: "append", host, value } as const;
      emit("client", { ...tell, phase: "invoked" });
      try {
        const { index } = await client.append(value, { client_seq, timeout_ms: OPERATION_MS });
        emit("client", { ...tell, phase: "acknowledged", index });
        last_index = index;
        acknowledged += 1;
        return true;
      } catch (error) {
        emit("client", { ...tell, phase: phaseOf(error), error: messageOf(error) });
        // A refusal is an answer: the guest can be asked on over this connection.
        return answered(error);
      }
    };
    const read = async (client: LedgerClient, host: HostRole, index: number): Promise<boolean> => {
      const client_seq = this.#next_seq++;
      const tell = { kind: "client.op", op: client_seq, name: "read", host, index } as const;
      emit("client", { ...tell, phase: "invoked" });
      try {
        const answer = await client.read(index, { client_seq, timeout_ms: OPERATION_MS });
        emit("client", { ...tell, phase: "acknowledged", ...(answer.present ? { value: answer.value } : {}) });
        return true;
      } catch (error) {
        emit("client", { ...tell, phase: phaseOf(error), error: messageOf(error) });
        return answered(error);
      }
    };
    let turns = 0;
    const one = (client: LedgerClient, host: HostRole): Promise<boolean> => {
      turns += 1;
      return turns % READ_EVERY === 0 && last_index >= 0 ? read(client, host, last_index) : append(client, host);
    };
    const work = (async (): Promise<void> => {
      while (!stopping.signal.aborted) {
        const [vm, turn] = [where, moved];
        if (vm === undefined || !vm.alive) {
          await delay(LOOK_EVERY_MS);
          continue;
        }
        let client: LedgerClient;
        try {
          client = new LedgerClient(await vm.com2(), { client: CLIENT_ID });
        } catch {
          await delay(LOOK_EVERY_MS);
          continue;
        }
        while (!stopping.signal.aborted && turn === moved) {
          if (!(await one(client, vm.host.role))) break;
          await delay(THINK_MS);
        }
        client.close();
      }
    })();
    return {
      moveTo(vm) {
        where = vm;
        moved += 1;
      },
      async warmedUp() {
        await whileMoving(
          {
            what: `${APPENDS_TO_WARM_UP} acknowledged appends before the migration`,
            ...looking,
            interval_ms: 10,
            moves: () => `${acknowledged} appends`,
          },
          () => (acknowledged >= APPENDS_TO_WARM_UP ? true : undefined),
        );
      },
      async stop() {
        stopping.abort();
        await work;
      },
    };
  }
}
