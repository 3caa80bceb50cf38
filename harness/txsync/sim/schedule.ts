import type { Action, Role } from "../core/index.ts";
import { Random } from "./random.ts";

/** Links by their two ends. */
export type Pair = "source-target" | "source-escrow" | "target-escrow";
export const PAIRS: readonly Pair[] = ["source-target", "source-escrow", "target-escrow"];
export const ROLES: readonly Role[] = ["source", "target", "escrow"];

/** When a fault strikes: at a time, or a little after an agent has asked for something for the k-th time. */
export type When =
  | { readonly at_ms: number }
  | { readonly after: Action["kind"]; readonly by: Role; readonly count: number; readonly plus_ms: number };

export type Fault =
  | {
      readonly kind: "cut";
      readonly pair: Pair;
      /** Which direction is dead; `forward` is from the first named end to the second. */
      readonly direction: "both" | "forward" | "backward";
      /** `null`: for good. */
      readonly for_ms: number | null;
      readonly when: When;
    }
  | { readonly kind: "crash-agent"; readonly role: Role; readonly for_ms: number | null; readonly when: When }
  | { readonly kind: "kill-host"; readonly role: Role; readonly when: When }
  /** Memory is lost, the disk is kept. */
  | { readonly kind: "reboot-host"; readonly role: Role; readonly for_ms: number; readonly when: When }
  | { readonly kind: "freeze-host"; readonly role: Role; readonly for_ms: number; readonly when: When }
  | { readonly kind: "kill-qemu"; readonly role: "source" | "target"; readonly when: When };

/** One schedule: plain data, and all that is needed to play it again. */
export interface Schedule {
  /** Delays, drift, torn writes and the guest's input come from it. */
  readonly seed: number;
  readonly durability: "host" | "process";
  readonly logSync: "memory" | "disk";
  /** Pages that arrive in 60 ms, of 100. */
  readonly pageRate: number;
  /**
   * A lease shorter than many a delay: agents lose each other all the time and duel. Nothing is expected to get done,
   * but nothing may go wrong: safety does not rest on leases.
   */
  readonly nervous: boolean;
  readonly faults: readonly Fault[];
}

/** What faults may be tied to: the steps of the protocol, by who takes them. */
export const TRIGGERS: readonly (readonly [Action["kind"], Role])[] = [
  ["persistPromise", "source"],
  ["persistPromise", "target"],
  ["persistPromise", "escrow"],
  ["startPageServer", "source"],
  ["loadPackage", "target"],
  ["takeTransaction", "target"],
  ["storeRecord", "escrow"],
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
  for (let i = 0; i < count; i += 1) faults.push(faultOf(random));
  return {
    seed,
    durability: random.chance(0.5) ? "host" : "process",
    logSync: random.chance(0.5) ? "memory" : "disk",
    pageRate: random.pick([6, 12, 25]),
    nervous: random.chance(0.12),
    faults,
  };
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

function faultOf(random: Random): Fault {
  const when = whenOf(random);
  const role = random.pick(ROLES);
  const short = random.chance(0.4);
  const for_ms = short ? random.int(20, 450) : random.int(450, 1500);
  const orForGood = random.chance(0.3) ? null : for_ms;
  const roll = random.real();
  if (roll < 0.36) {
    const direction = random.pick(["both", "both", "forward", "backward"] as const);
    return { kind: "cut", pair: random.pick(PAIRS), direction, for_ms: orForGood, when };
  }
  if (roll < 0.56) return { kind: "crash-agent", role, for_ms: random.chance(0.15) ? null : for_ms, when };
  if (roll < 0.68) return { kind: "kill-host", role, when };
  if (roll < 0.75) return { kind: "reboot-host", role, for_ms, when };
  if (roll < 0.86) return { kind: "freeze-host", role, for_ms, when };
  return { kind: "kill-qemu", role: random.chance(0.75) ? "target" : "source", when };
}
