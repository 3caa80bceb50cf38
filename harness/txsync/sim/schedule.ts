import type { Action, Message, Report, Role } from "../core/index.ts";
import { Random } from "./random.ts";

/** Links by their two ends. */
export type Pair = "source-target" | "source-escrow" | "target-escrow";
export const PAIRS: readonly Pair[] = ["source-target", "source-escrow", "target-escrow"];
export const ROLES: readonly Role[] = ["source", "target", "escrow"];

/** What an agent does that a fault can be tied to: an action; a message that it sends; something that it reports. */
export type Step = Action["kind"] | `send:${Message["kind"]}` | `report:${Report["what"]}`;

/** When a fault strikes: at a time, or a little after an agent has taken a step for the k-th time. */
export type When =
  | { readonly at_ms: number }
  | { readonly after: Step; readonly by: Role; readonly count: number; readonly plus_ms: number };

export type Fault = { readonly when: When } & (
  | {
      readonly kind: "cut";
      readonly pair: Pair;
      /** Which direction is dead; `forward` is from the first named end to the second. */
      readonly direction: "both" | "forward" | "backward";
      /** `null`: for good. */
      readonly for_ms: number | null;
    }
  /** The next such messages of that host come late. */
  | {
      readonly kind: "delay";
      readonly by: Role;
      readonly message: Message["kind"];
      readonly times: number;
      readonly delay_ms: number;
    }
  | { readonly kind: "crash-agent"; readonly role: Role; readonly for_ms: number | null }
  | { readonly kind: "kill-host"; readonly role: Role }
  /** Memory is lost, the disk is kept. */
  | { readonly kind: "reboot-host"; readonly role: Role; readonly for_ms: number }
  /** The escrow's host is gone for good, and so much later another escrow is there, which an operator names. */
  | { readonly kind: "replace-escrow"; readonly for_ms: number }
  | { readonly kind: "freeze-host"; readonly role: Role; readonly for_ms: number }
  | { readonly kind: "kill-qemu"; readonly role: "source" | "target" }
  /** The agent gets no processor, again and again for up to `late_ms`: what happens to it is handled late. */
  | { readonly kind: "busy"; readonly role: Role; readonly for_ms: number; readonly late_ms: number }
  /** Transactions that are begun meanwhile take so long: the VM stands still for it. */
  | { readonly kind: "slow-takes"; readonly for_ms: number; readonly take_ms: number }
  | { readonly kind: "failing-takes"; readonly for_ms: number }
  | { readonly kind: "untrackable"; readonly for_ms: number | null }
  /** The escrow's disk: it takes long; it is full; what was being written when it failed is there or not. */
  | { readonly kind: "slow-store"; readonly for_ms: number; readonly store_ms: number }
  | { readonly kind: "full-disk"; readonly for_ms: number }
  /** The next fsync fails: the agent stops, as it must, and comes up again. */
  | { readonly kind: "fsync-error"; readonly role: Role; readonly for_ms: number }
  /** The escrow's agent dies, and its last records are gone when it comes back. */
  | { readonly kind: "lose-tail"; readonly records: number; readonly for_ms: number }
  /** Restored VMs that are asked to run meanwhile do, but that they do is known so much later. */
  | { readonly kind: "slow-run"; readonly for_ms: number; readonly run_ms: number }
  | { readonly kind: "failing-run"; readonly for_ms: number }
);

/** What takes time because of its size. */
export interface Size {
  /** What one page of the model stands for. */
  readonly page_bytes: number;
  /** Device state and what else goes over at switchover. */
  readonly package_bytes: number;
  readonly link_bytes_per_ms: number;
  readonly disk_bytes_per_ms: number;
  /** Of a processor that copies, encodes or checks a record. */
  readonly copy_bytes_per_ms: number;
  /** Pages of the model that the guest writes at a time, of `hot_pages` that it works on. */
  readonly writes: number;
  readonly hot_pages: number;
}

/** A guest so small that its size does not matter. */
export const SMALL: Size = {
  page_bytes: 4_000,
  package_bytes: 100_000,
  link_bytes_per_ms: 100_000,
  disk_bytes_per_ms: 500_000,
  copy_bytes_per_ms: 1_000_000,
  writes: 2,
  hot_pages: 40,
};

/** 512 MiB over 100 MB/s, handled as fast as a busy Node does. */
export const LARGE: Size = {
  page_bytes: 5_400_000,
  package_bytes: 100_000,
  link_bytes_per_ms: 100_000,
  disk_bytes_per_ms: 400_000,
  copy_bytes_per_ms: 200_000,
  writes: 1,
  hot_pages: 4,
};

/** A guest that writes to 8 MB in no time: all of it is in the first record after a gap. */
export const BUSY_GUEST: Size = { ...SMALL, page_bytes: 200_000, copy_bytes_per_ms: 200_000, writes: 8, hot_pages: 40 };

/** How the VM is protected where that is not only from switchover to handoff. */
export interface ProtectPlan {
  /**
   * `alone`: where it runs, without any migration. `after`: it migrates first, and protection goes on. `before`: it is
   * protected, and migrates then.
   */
  readonly when: "alone" | "after" | "before";
  /** Whatever happens to the VM, protection begins anew wherever it runs. */
  readonly always: boolean;
  readonly unprotected: "go" | "hold";
}

/** How connections are played, and what is read of them. */
export interface Wire {
  /** Of a data thread that reads, checks and opens beside busy processors. */
  readonly read_bytes_per_ms: number;
  /** Whatever another thread has to do first waits for a processor up to so long. */
  readonly late_ms: number;
  /** The base that the escrow copies. */
  readonly base_pages: number;
  /** When nothing is in its way any more, protection is back within this; `null`: within what its size takes. */
  readonly back_ms: number | null;
}

/**
 * A data plane beside busy vCPUs: 4 MiB take 300 ms. 256 MiB are to be copied, so that base is on its way throughout. A VM
 * whose host died 2.2 s after its link was well was lost (scenario `escrow-link-blinks`).
 */
export const BUSY_WIRE: Wire = { read_bytes_per_ms: 14_000, late_ms: 60, base_pages: 65_536, back_ms: 2_200 };

/** One schedule: plain data, and all that is needed to play it again. */
export interface Schedule {
  /** Delays, drift, torn writes and the guest's input come from it. */
  readonly seed: number;
  readonly durability: "host" | "process";
  readonly logSync: "memory" | "disk";
  /** Pages of the base that arrive in 60 ms, of 100. */
  readonly pageRate: number;
  readonly size: Size;
  /**
   * A lease shorter than many a delay: agents lose each other all the time and duel. Nothing is expected to get done,
   * but nothing may go wrong: safety does not rest on leases.
   */
  readonly nervous: boolean;
  /** Protection beside that of a migration; absent: a migration as it always was. */
  readonly protect?: ProtectPlan;
  /** Records and base go over connections, of which one thread a host reads; absent: over links that carry everything at once. */
  readonly wire?: Wire;
  readonly faults: readonly Fault[];
}

/** What faults may be tied to: the steps of the protocol, by who takes them. */
export const TRIGGERS: readonly (readonly [Step, Role])[] = [
  ["persistPromise", "source"],
  ["persistPromise", "target"],
  ["persistPromise", "escrow"],
  ["send:package", "source"],
  ["loadPackage", "target"],
  ["takeTransaction", "target"],
  ["send:append", "target"],
  ["storeRecord", "escrow"],
  ["send:promise", "escrow"],
  ["releaseOutput", "target"],
  ["releaseOutput", "source"],
  ["startRestore", "source"],
  ["startRestore", "target"],
  ["runQemu", "source"],
  ["setPageRoute", "target"],
];

/** The schedule of a number: 1 to 4 faults, now and then none. */
export function scheduleOf(seed: number): Schedule {
  const random = new Random(seed);
  const count = random.chance(0.02) ? 0 : 1 + Math.floor(random.real() ** 2 * 4);
  const faults: Fault[] = [];
  for (let i = 0; i < count; i += 1) faults.push({ when: whenOf(random), ...faultOf(random) } as Fault);
  return {
    seed,
    durability: random.chance(0.5) ? "host" : "process",
    logSync: random.chance(0.5) ? "memory" : "disk",
    pageRate: random.pick([2, 6, 12, 25]),
    size: random.chance(0.8) ? SMALL : largeOf(random.int(1, 10) * 1_000_000),
    nervous: random.chance(0.12),
    faults,
  };
}

/** A record that was given up may be on its way before the one that counts: two of 5 MB are through in time. */
const HOT_PAGES_MOST = 25;

/**
 * A migration whose connections are played, of a guest that writes much: the escrow's links blink, as somebody's did, and now
 * and then something else happens.
 */
export function connectedScheduleOf(seed: number): Schedule {
  const schedule = scheduleOf(seed);
  const random = new Random(seed ^ 0x510e527f);
  const size = { ...BUSY_GUEST, hot_pages: random.int(4, HOT_PAGES_MOST), writes: random.int(1, 8) };
  const shaped = { ...schedule, durability: "process", pageRate: 0.7, size, nervous: false } as const;
  if (random.chance(0.3) && schedule.faults.length > 0) return { ...shaped, wire: { ...BUSY_WIRE, back_ms: null } };
  const faults: Fault[] = [];
  let at_ms = random.int(200, 1_500);
  for (let left = random.int(1, 4); left > 0; left -= 1) {
    const pair = random.pick(["target-escrow", "target-escrow", "source-escrow"] as const);
    const direction = random.pick(["both", "both", "both", "forward", "backward"] as const);
    const for_ms = random.int(50, 1_200);
    faults.push({ kind: "cut", pair, direction, for_ms, when: { at_ms } });
    at_ms += for_ms + random.int(20, 600);
  }
  return { ...shaped, wire: BUSY_WIRE, faults };
}

/** Whose package is large too: it takes up to 200 ms. */
function largeOf(page_bytes: number): Size {
  return { ...LARGE, page_bytes, package_bytes: 2 * page_bytes };
}

/** The same, of a VM that is protected longer than it migrates. Faults of a protected source are those of a target. */
export function protectedScheduleOf(seed: number): Schedule {
  const schedule = scheduleOf(seed);
  const random = new Random(seed ^ 0x6a09e667);
  const when = random.chance(0.6) ? "alone" : "after";
  const always = when === "after" || random.chance(0.5);
  const protect: ProtectPlan = { when, always, unprotected: random.chance(0.8) ? "go" : "hold" };
  const faults = when === "alone" && random.chance(0.8) ? schedule.faults.map(mirrored) : schedule.faults;
  const shaped = { ...schedule, pageRate: random.pick([12, 25, 50]), protect };
  const all = faults.map((fault) => later(fault, random));
  // Drawn last, so that the others are what they were before there was this one.
  if (random.chance(0.08))
    all.push({ kind: "replace-escrow", for_ms: random.int(50, 900), when: { at_ms: random.int(800, 4_000) } });
  return { ...shaped, faults: all };
}

/** The same, of a VM that is protected, and migrates when it is. */
export function migratingScheduleOf(seed: number): Schedule {
  const schedule = protectedScheduleOf(seed);
  const random = new Random(seed ^ 0x3c6ef372);
  const always = random.chance(0.4);
  const protect: ProtectPlan = { when: "before", always, unprotected: random.chance(0.9) ? "go" : "hold" };
  const faults = schedule.faults.map((fault) => ({ ...fault, when: whileMigrating(fault.when, random) }) as Fault);
  return { ...schedule, pageRate: random.pick([12, 25, 50]), protect, faults };
}

/** Of a migration that begins when protection is on: half of all faults strike close to its switchover. */
function whileMigrating(when: When, random: Random): When {
  if (random.chance(0.5)) return when;
  const [after, by] = random.pick(LEAVING);
  return { after, by, count: random.chance(0.7) ? 1 : random.int(2, 5), plus_ms: random.pick([0, 0, 1, 3, 8, 20, 60]) };
}

const LEAVING: readonly (readonly [Step, Role])[] = [
  ["report:protection-on", "source"],
  ["send:join", "source"],
  ["send:joined", "target"],
  ["startMigration", "source"],
  ["takeTransaction", "source"],
  ["send:append", "source"],
  ["storeRecord", "escrow"],
  ["send:appended", "escrow"],
  ["startPageServer", "source"],
  ["send:package", "source"],
  ["persistPromise", "target"],
  ["persistPromise", "source"],
  ["loadPackage", "target"],
  ["takeTransaction", "target"],
  ["cancelMigration", "source"],
];

/** Source and target have changed places. */
export function mirrored(fault: Fault): Fault {
  const swap = (role: Role): Role => (role === "source" ? "target" : role === "target" ? "source" : role);
  const { when } = fault;
  const then: When = "at_ms" in when ? when : { ...when, by: swap(when.by) };
  if (fault.kind === "cut") {
    const [pair, forth] = MIRRORED[fault.pair];
    const turned = fault.direction === "forward" ? "backward" : "forward";
    return { ...fault, pair, direction: forth || fault.direction === "both" ? fault.direction : turned, when: then };
  }
  if (fault.kind === "delay") return { ...fault, by: swap(fault.by), when: then };
  if (fault.kind === "kill-qemu") return { ...fault, role: fault.role === "source" ? "target" : "source", when: then };
  if ("role" in fault) return { ...fault, role: swap(fault.role), when: then } as Fault;
  return { ...fault, when: then };
}

/** Of a link between source and target the two ends change places with it. */
const MIRRORED: Readonly<Record<Pair, readonly [pair: Pair, forth: boolean]>> = {
  "source-target": ["source-target", false],
  "source-escrow": ["target-escrow", true],
  "target-escrow": ["source-escrow", true],
};

/** A base takes its time before there is anything to break. */
function later(fault: Fault, random: Random): Fault {
  const { when } = fault;
  if (!("at_ms" in when)) return fault;
  return { ...fault, when: { at_ms: when.at_ms + random.int(0, 2_500) } };
}

function whenOf(random: Random): When {
  if (random.chance(0.45)) return { at_ms: random.int(0, 1400) };
  const [after, by] = random.pick(TRIGGERS);
  return {
    after,
    by,
    count: random.chance(0.6) ? random.int(1, 3) : random.int(1, 12),
    plus_ms: random.pick([0, 0, 1, 3, 8, 20]),
  };
}

type What = Fault extends infer F ? (F extends Fault ? Omit<F, "when"> : never) : never;

function faultOf(random: Random): What {
  const role = random.pick(ROLES);
  const short = random.chance(0.4);
  const for_ms = short ? random.int(20, 450) : random.int(450, 1500);
  const orForGood = random.chance(0.3) ? null : for_ms;
  const roll = random.real();
  if (roll < 0.28) {
    const direction = random.pick(["both", "both", "forward", "backward"] as const);
    return { kind: "cut", pair: random.pick(PAIRS), direction, for_ms: orForGood };
  }
  if (roll < 0.43) return { kind: "crash-agent", role, for_ms: random.chance(0.15) ? null : for_ms };
  if (roll < 0.53) return { kind: "kill-host", role };
  if (roll < 0.59) return { kind: "reboot-host", role, for_ms };
  if (roll < 0.67) return { kind: "freeze-host", role, for_ms };
  if (roll < 0.77) return { kind: "kill-qemu", role: random.chance(0.75) ? "target" : "source" };
  if (roll < 0.83) return { kind: "busy", role, for_ms, late_ms: random.int(20, 400) };
  if (roll < 0.86) return { kind: "slow-takes", for_ms, take_ms: random.int(50, 1500) };
  if (roll < 0.88) return { kind: "failing-takes", for_ms };
  if (roll < 0.9) return { kind: "untrackable", for_ms: orForGood };
  if (roll < 0.92) return { kind: "slow-store", for_ms, store_ms: random.int(50, 900) };
  if (roll < 0.94) return { kind: "full-disk", for_ms };
  if (roll < 0.955) return { kind: "fsync-error", role, for_ms };
  if (roll < 0.97) return { kind: "lose-tail", records: random.int(1, 3), for_ms };
  if (roll < 0.985) return { kind: "slow-run", for_ms: 3_000, run_ms: random.int(20, 400) };
  if (roll < 0.992) return { kind: "failing-run", for_ms };
  const message = random.pick(["append", "appended", "promise", "ask", "package"] as const);
  return { kind: "delay", by: role, message, times: random.int(1, 3), delay_ms: random.int(50, 900) };
}
