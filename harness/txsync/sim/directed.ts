import { BUSY_GUEST, BUSY_WIRE, type Fault, LARGE, type Schedule, SMALL, type When } from "./schedule.ts";

/** Schedules that lead straight to where a rule is needed, whatever the seed makes of delays. */
export type Directed = Omit<Schedule, "seed">;

/** Pages that arrive slowly: there is time for what is to happen. */
const CALM: Omit<Directed, "faults"> = {
  durability: "process",
  logSync: "disk",
  pageRate: 2,
  size: SMALL,
  nervous: false,
};

const afterStep = (
  after: Extract<When, { after: unknown }>["after"],
  by: Extract<When, { after: unknown }>["by"],
  count: number,
  plus_ms = 0,
): When => ({ after, by, count, plus_ms });

const cut = (
  pair: Extract<Fault, { kind: "cut" }>["pair"],
  for_ms: number | null,
  when: When,
  direction: "both" | "forward" | "backward" = "both",
): Fault => ({ kind: "cut", pair, direction, for_ms, when });

const thirdAppend = afterStep("send:append", "target", 3);
const thirdStore = afterStep("storeRecord", "escrow", 3);
/** The escrow's promise of a claim is on disk, or nearly. */
const promisedClaim = afterStep("persistPromise", "escrow", 2, 8);

const promisedAgain = afterStep("persistPromise", "escrow", 3);
/** The source has its VM ready and promises itself to run it. */
const finalToItself = afterStep("persistPromise", "source", 3);

/** It has let out what its third record covers, and no other record will. */
const targetDiesSoon: Fault = {
  kind: "kill-host",
  role: "target",
  when: afterStep("report:committed", "target", 3, 8),
};

export const NOTHING: Directed = { ...CALM, faults: [] };

/**
 * The escrow's host loses power while it writes its second promise, and comes back while nobody can tell it what it
 * promised but the target can reach it.
 */
export const ESCROW_FORGETS: Directed = {
  ...CALM,
  faults: [
    {
      kind: "freeze-host",
      role: "target",
      for_ms: 560,
      when: afterStep("releaseOutput", "target", 2, 3),
    },
    { kind: "reboot-host", role: "escrow", for_ms: 200, when: afterStep("persistPromise", "escrow", 2, 3) },
    cut("source-target", 700, afterStep("persistPromise", "escrow", 2, 1)),
    cut("source-escrow", 400, afterStep("persistPromise", "escrow", 2, 12)),
  ],
};

/** A record of the frozen target comes when the escrow has promised the source a claim, and before anybody says so. */
export const RECORD_COMES_LATE: Directed = {
  ...CALM,
  faults: [
    { kind: "delay", by: "target", message: "append", times: 1, delay_ms: 690, when: thirdAppend },
    { kind: "freeze-host", role: "target", for_ms: 700, when: thirdAppend },
    cut("source-target", 1_500, thirdAppend),
    cut("source-escrow", 300, promisedClaim, "forward"),
    targetDiesSoon,
  ],
};

/** The escrow is asked for a claim while it is storing a record of the frozen target. */
export const ASKED_WHILE_STORING: Directed = {
  ...CALM,
  faults: [
    { kind: "slow-store", for_ms: 2_000, store_ms: 700, when: thirdStore },
    { kind: "freeze-host", role: "target", for_ms: 720, when: thirdStore },
    cut("source-target", 1_500, thirdStore),
    cut("source-escrow", 300, promisedClaim, "forward"),
    targetDiesSoon,
  ],
};

/** The target loses the escrow, and then the source, which takes over. */
export const TARGET_ALONE: Directed = {
  ...CALM,
  faults: [
    cut("target-escrow", 2_000, thirdStore),
    cut("source-target", 1_700, afterStep("storeRecord", "escrow", 3, 300)),
  ],
};

/** The target's agent is away; the source has the VM, cannot say so, and is gone, when it comes back. */
export const TARGET_AWAY: Directed = {
  ...CALM,
  faults: [
    { kind: "crash-agent", role: "target", for_ms: 1_800, when: thirdStore },
    cut("source-escrow", null, { ...promisedAgain, plus_ms: 8 }, "forward"),
    { kind: "kill-host", role: "source", when: afterStep("runQemu", "source", 1, 400) },
  ],
};

export const ONE_LINK_CUT: Directed = {
  ...CALM,
  faults: [cut("source-target", 1_000, thirdStore)],
};

/** The target's agent dies when it has promised to take the VM, and comes back before the VM is anybody's but the source's. */
export const TARGET_RESTARTS_EARLY: Directed = {
  ...CALM,
  faults: [{ kind: "crash-agent", role: "target", for_ms: 40, when: afterStep("send:promise", "target", 1, 1) }],
};

/** The target goes without protection for a while, returns to it, and dies before a record is stored. */
export const DIES_BEFORE_THE_FIRST_RECORD: Directed = {
  ...CALM,
  faults: [
    cut("target-escrow", 800, thirdStore),
    {
      kind: "delay",
      by: "target",
      message: "append",
      times: 1,
      delay_ms: 1_500,
      when: afterStep("report:generation-opened", "target", 2),
    },
    { kind: "kill-host", role: "target", when: afterStep("report:generation-opened", "target", 2, 200) },
  ],
};

export const SOURCE_DIES_AT_SWITCHOVER: Directed = {
  ...CALM,
  faults: [{ kind: "crash-agent", role: "source", for_ms: 300, when: afterStep("persistPromise", "source", 1) }],
};

/** With its host the last bytes that the target let out. */
export const TARGET_DIES_LETTING_OUT: Directed = {
  ...CALM,
  faults: [{ kind: "kill-host", role: "target", when: afterStep("releaseOutput", "target", 3) }],
};

export const TARGET_QEMU_DIES: Directed = {
  ...CALM,
  faults: [{ kind: "kill-qemu", role: "target", when: thirdStore }],
};

/**
 * The target falls silent for a lease, comes back while the source has restored its VM, and commits more; what it says of
 * itself does not come through, nor what the escrow says of it, and the source's last question is late.
 */
export const MORE_COMMITTED_SINCE_THE_CLAIM: Directed = {
  ...CALM,
  faults: [
    { kind: "freeze-host", role: "target", for_ms: 690, when: thirdStore },
    cut("source-target", 3_000, thirdStore),
    { kind: "delay", by: "source", message: "ask", times: 3, delay_ms: 430, when: finalToItself },
    ...(["escrow", "target"] as const).flatMap((by) =>
      (["ping", "pong"] as const).map(
        (message): Fault => ({ kind: "delay", by, message, times: 16, delay_ms: 700, when: promisedAgain }),
      ),
    ),
  ],
};

/** A record is lost with its link, and the target's generation with it. */
export const RECORD_LOST: Directed = {
  ...CALM,
  faults: [cut("target-escrow", 900, thirdAppend)],
};

/** That the restored VM runs is known late: it has said something by then. */
export const RUNS_UNHEARD: Directed = {
  ...CALM,
  faults: [
    { kind: "kill-host", role: "target", when: thirdStore },
    { kind: "slow-run", for_ms: 4_000, run_ms: 400, when: thirdStore },
  ],
};

/** ... and it dies before. */
export const DIES_UNHEARD: Directed = {
  ...CALM,
  faults: [...RUNS_UNHEARD.faults, { kind: "kill-qemu", role: "source", when: afterStep("runQemu", "source", 1, 150) }],
};

/** The target's agent is away for a moment, and its QEMU dies meanwhile: its clock begins again. */
export const CLOCK_BEGINS_AGAIN: Directed = {
  ...CALM,
  faults: [
    { kind: "crash-agent", role: "target", for_ms: 200, when: thirdStore },
    { kind: "kill-qemu", role: "target", when: afterStep("storeRecord", "escrow", 3, 100) },
  ],
};

/** The target dies, and the escrow's last records are gone. */
export const LOG_LOSES_ITS_TAIL: Directed = {
  ...CALM,
  faults: [
    { kind: "lose-tail", records: 2, for_ms: 200, when: afterStep("releaseOutput", "target", 3, 8) },
    { kind: "kill-host", role: "target", when: afterStep("releaseOutput", "target", 3, 8) },
  ],
};

/** The package takes nearly two leases on its way. */
export const SLOW_PACKAGE: Directed = { ...CALM, size: { ...SMALL, package_bytes: 90_000_000 }, faults: [] };

/** A record takes a second on its way. */
export const SLOW_LINK: Directed = {
  ...CALM,
  pageRate: 0.2,
  size: { ...LARGE, page_bytes: 8_000_000, link_bytes_per_ms: 16_000, hot_pages: 2, writes: 2 },
  faults: [{ kind: "busy", role: "source", for_ms: 20, late_ms: 10, when: { at_ms: 200 } }],
};

export const NOBODY_KNOWS_WHAT_CHANGES: Directed = {
  ...CALM,
  pageRate: 0.2,
  faults: [{ kind: "untrackable", for_ms: null, when: thirdStore }],
};

/** The escrow's disk is full for longer than anybody is patient. */
export const DISK_IS_FULL: Directed = {
  ...CALM,
  pageRate: 0.2,
  faults: [{ kind: "full-disk", for_ms: 4_500, when: thirdStore }],
};

/**
 * A guest of 512 MiB whose link to the escrow is silent four times for 550 to 1050 ms, 60 to 560 ms between, as somebody's
 * link was. It costs what changes meanwhile, and 2.5 s later the loss of the target's host costs nothing.
 */
const BLINKS: readonly Fault[] = (
  [
    [400, 550],
    [1_010, 1_050],
    [2_200, 700],
    [3_460, 900],
  ] as const
).map(([at_ms, for_ms]) => cut("target-escrow", for_ms, { at_ms }));

/** The blinks are counted from a switchover that takes no time. */
const BLINKING: Schedule["size"] = { ...LARGE, package_bytes: 0 };
export const LINK_BLINKS: Directed = { ...CALM, pageRate: 0.7, size: BLINKING, faults: BLINKS };
export const LINK_BLINKS_TARGET_DIES: Directed = {
  ...LINK_BLINKS,
  faults: [...BLINKS, { kind: "kill-host", role: "target", when: { at_ms: 6_860 } }],
};

/**
 * The escrow's link to a busy guest blinks while it copies the base, and is whole again before anybody who dialled into it had
 * a reason to dial once more.
 */
export const LINK_BLINKS_UNDER_LOAD: Directed = {
  ...CALM,
  pageRate: 0.7,
  size: BUSY_GUEST,
  wire: BUSY_WIRE,
  faults: [cut("target-escrow", 780, { at_ms: 900 })],
};

// ---- protection beside a migration

const ALONE: Omit<Directed, "faults"> = {
  ...CALM,
  pageRate: 25,
  protect: { when: "alone", always: false, unprotected: "go" },
};
const protectedAlone = afterStep("report:protection-on", "source", 1, 60);

export const PROTECTED_ALONE: Directed = { ...ALONE, faults: [] };

/** The VM was never anywhere else, and its host dies: the target makes it again. */
export const PROTECTED_HOST_DIES: Directed = {
  ...ALONE,
  faults: [{ kind: "kill-host", role: "source", when: protectedAlone }],
};

export const PROTECTED_QEMU_DIES: Directed = {
  ...ALONE,
  faults: [{ kind: "kill-qemu", role: "source", when: protectedAlone }],
};

/** The handoff is over, and then the host dies that the VM went to. */
export const TARGET_DIES_AFTER_HANDOFF: Directed = {
  ...CALM,
  pageRate: 25,
  protect: { when: "after", always: true, unprotected: "go" },
  faults: [{ kind: "kill-host", role: "target", when: { at_ms: 2_500 } }],
};

/** The escrow's host loses its memory, base and log with it; and the host of the VM dies when that is made good. */
export const ESCROW_LOSES_BASE: Directed = {
  ...ALONE,
  logSync: "memory",
  faults: [{ kind: "reboot-host", role: "escrow", for_ms: 200, when: protectedAlone }],
};
export const ESCROW_LOSES_BASE_HOST_DIES: Directed = {
  ...ESCROW_LOSES_BASE,
  faults: [...ESCROW_LOSES_BASE.faults, { kind: "kill-host", role: "source", when: { at_ms: 4_500 } }],
};

/** The escrow's host is gone for good; another one has its place, and the VM is protected again. */
export const ESCROW_REPLACED: Directed = {
  ...ALONE,
  faults: [{ kind: "replace-escrow", for_ms: 300, when: protectedAlone }],
};
/** ... and then its host dies: it is made again of what the newcomer has. */
export const ESCROW_REPLACED_HOST_DIES: Directed = {
  ...ALONE,
  faults: [...ESCROW_REPLACED.faults, { kind: "kill-host", role: "source", when: { at_ms: 6_000 } }],
};
/** ... and its agent comes up again on the way. */
export const ESCROW_REPLACED_AND_RESTARTED: Directed = {
  ...ALONE,
  faults: [
    ...ESCROW_REPLACED.faults,
    { kind: "crash-agent", role: "escrow", for_ms: 200, when: afterStep("adoptBase", "escrow", 2, 30) },
    { kind: "crash-agent", role: "source", for_ms: 200, when: afterStep("answerEscrow", "source", 1) },
  ],
};

/**
 * The escrow's host is gone for good while a migration is protected, and with it what was committed; the target dies as soon
 * as the source, too, would count another escrow in its place.
 */
export const ESCROW_REPLACED_TARGET_DIES: Directed = {
  ...CALM,
  faults: [
    { kind: "replace-escrow", for_ms: 5, when: afterStep("report:committed", "target", 3, 8) },
    { kind: "kill-host", role: "target", when: afterStep("answerEscrow", "source", 1) },
  ],
};

/** What the escrow has is all that there is, for longer than an offer may be on its way. */
export const PROTECTED_FOR_LONG: Directed = {
  ...ALONE,
  faults: [{ kind: "busy", role: "target", for_ms: 20, late_ms: 10, when: { at_ms: 4_000 } }],
};

/** The VM's host only stands still, and while it is claimed the escrow's host loses the base that it is to be made of. */
export const ESCROW_LOSES_BASE_DURING_A_CLAIM: Directed = {
  ...ALONE,
  faults: [
    { kind: "freeze-host", role: "source", for_ms: 1_130, when: protectedAlone },
    { kind: "reboot-host", role: "escrow", for_ms: 200, when: afterStep("startRestore", "target", 1) },
  ],
};

/**
 * The escrow's agent dies with its first answer, and the VM's host soon after: the target, cut off from that until then, has
 * never heard of the generation.
 */
export const ONLY_THE_LOG_TELLS: Directed = {
  ...ALONE,
  faults: [
    cut("source-target", null, { at_ms: 20 }),
    { kind: "crash-agent", role: "escrow", for_ms: 900, when: afterStep("send:appended", "escrow", 1) },
    { kind: "kill-host", role: "source", when: afterStep("send:append", "source", 1, 20) },
  ],
};

export const ESCROW_SILENT_OUTPUT_HELD: Directed = {
  ...ALONE,
  protect: { when: "alone", always: false, unprotected: "hold" },
  faults: [cut("source-escrow", 1_500, protectedAlone)],
};

/** Nobody hears the host on which it waits: then it is made again where somebody does. */
export const HELD_AND_CUT_OFF: Directed = {
  ...ESCROW_SILENT_OUTPUT_HELD,
  faults: [cut("source-escrow", null, protectedAlone), cut("source-target", null, protectedAlone)],
};

/**
 * The VM's host dies, and the escrow's log loses its last record: nothing restores. Where output is held back an offer of a
 * base that was long on its way is taken then.
 */
export const LOST_WITH_ITS_LOG_OUTPUT_HELD: Directed = {
  ...ESCROW_SILENT_OUTPUT_HELD,
  faults: [
    { kind: "kill-host", role: "source", when: protectedAlone },
    { kind: "lose-tail", records: 1, for_ms: 300, when: protectedAlone },
  ],
};

/**
 * The VM's host has only lost its agent, for a while. Who claims the VM meanwhile has promised itself the second vote, and
 * dies before anybody else has.
 */
export const CLAIMING_HOST_DIES_BEFORE_THE_SECOND_VOTE: Directed = {
  ...ALONE,
  faults: [
    { kind: "crash-agent", role: "source", for_ms: 690, when: protectedAlone },
    cut("target-escrow", 900, afterStep("persistPromise", "target", 3)),
    { kind: "kill-host", role: "target", when: afterStep("persistPromise", "target", 3, 330) },
  ],
};

/** Offers of a base wait for the escrow's processor, and its word that it has all of one as well. */
export const OFFERS_ARE_HEARD_LATE: Directed = {
  ...ALONE,
  nervous: true,
  pageRate: 50,
  faults: [{ kind: "busy", role: "escrow", for_ms: 1_070, late_ms: 180, when: { at_ms: 2_380 } }],
};

/** It is protected, and migrates then. */
const BEFORE: Omit<Directed, "faults"> = {
  ...CALM,
  pageRate: 12,
  protect: { when: "before", always: false, unprotected: "go" },
};
const leaves = afterStep("startMigration", "source", 1, 10);

export const PROTECTED_MIGRATES: Directed = { ...BEFORE, faults: [] };
export const PROTECTED_MIGRATES_FOR_GOOD: Directed = {
  ...BEFORE,
  protect: { when: "before", always: true, unprotected: "go" },
  faults: [],
};

/** Memory is on its way to the target, whose QEMU waits, when the host dies that the VM is still on. */
export const SOURCE_DIES_WHILE_AHEAD: Directed = {
  ...BEFORE,
  faults: [{ kind: "kill-host", role: "source", when: leaves }],
};

/** The last transaction there is stored, and nobody has promised anything. */
export const SOURCE_DIES_BEFORE_IT_LETS_GO: Directed = {
  ...BEFORE,
  faults: [{ kind: "kill-host", role: "source", when: afterStep("persistPromise", "source", 2) }],
};

/** The package is on its way, or has just come. */
export const SOURCE_DIES_WHEN_IT_LETS_GO: Directed = {
  ...BEFORE,
  faults: [{ kind: "kill-host", role: "source", when: afterStep("send:package", "source", 1, 3) }],
};

/** Its last transaction there is long on its way to the disk: the VM stands still, and goes on where it is. */
export const LAST_RECORD_TAKES_LONG: Directed = {
  ...BEFORE,
  faults: [
    { kind: "slow-store", for_ms: 2_500, store_ms: 2_000, when: leaves },
    { kind: "kill-host", role: "source", when: afterStep("send:package", "source", 1) },
  ],
};

export const TARGET_DIES_AS_IT_LOADS: Directed = {
  ...BEFORE,
  faults: [{ kind: "kill-host", role: "target", when: afterStep("loadPackage", "target", 1, 5) }],
};

/**
 * The VM is claimed for the target, whose link to the source is cut for good, while its host stands still; its agent there
 * comes up again between its own promise to protect what it has restored and the escrow's.
 */
export const RESTORED_AGENT_RESTARTS: Directed = {
  ...BEFORE,
  pageRate: 25,
  durability: "host",
  protect: { when: "before", always: true, unprotected: "go" },
  faults: [
    cut("source-target", null, afterStep("startPageServer", "source", 1, 8)),
    { kind: "freeze-host", role: "source", for_ms: 666, when: afterStep("storeRecord", "escrow", 2, 8) },
    { kind: "fsync-error", role: "target", for_ms: 641, when: afterStep("persistPromise", "source", 2, 3) },
  ],
};

/**
 * Output is held back where there is no escrow. That has lost its copy of the base, and gets it again from the VM's first
 * host, which the owner does not hear: about when the owner, which is busy, has given it up for lost.
 */
export const BASE_IS_BACK_WHEN_GIVEN_UP: Directed = {
  ...CALM,
  pageRate: 7,
  protect: { when: "after", always: true, unprotected: "hold" },
  faults: [
    cut("source-target", null, { at_ms: 1_700 }),
    { kind: "reboot-host", role: "escrow", for_ms: 200, when: { at_ms: 2_300 } },
    { kind: "busy", role: "target", for_ms: 400, late_ms: 400, when: { at_ms: 3_000 } },
  ],
};

/** The VM is restored and runs; with its agent, which has not noted the vote, it dies: it may have told the world anything. */
export const RUNS_AND_DIES_UNNOTED: Directed = {
  ...CALM,
  faults: [
    { kind: "kill-host", role: "target", when: thirdStore },
    { kind: "crash-agent", role: "source", for_ms: 300, when: afterStep("persistPromise", "source", 4, 2) },
    { kind: "kill-qemu", role: "source", when: afterStep("persistPromise", "source", 4, 60) },
  ],
};

/**
 * The target is cut off, and the source's agent dies when the VM that it has restored has half of the second vote; the
 * escrow's agent has forgotten who claimed, and what is heard first when all are back is of what was before.
 */
export const RESTORED_UNHEARD_AGENTS_RESTART: Directed = {
  ...CALM,
  pageRate: 0.2,
  faults: [
    cut("target-escrow", 900, thirdStore),
    cut("source-target", 1_200, thirdStore),
    { kind: "crash-agent", role: "source", for_ms: 900, when: promisedAgain },
    { kind: "crash-agent", role: "escrow", for_ms: 100, when: { ...promisedAgain, plus_ms: 12 } },
  ],
};

/** ... and what it had restored is gone with its agent. */
export const RESTORED_UNHEARD_AND_GONE: Directed = {
  ...RESTORED_UNHEARD_AGENTS_RESTART,
  faults: [
    ...RESTORED_UNHEARD_AGENTS_RESTART.faults,
    { kind: "kill-qemu", role: "source", when: { ...promisedAgain, plus_ms: 100 } },
  ],
};

/** ... and the escrow's host is gone as well: what is left is the VM that the target has still, behind its shut gate. */
export const RESTORED_UNHEARD_ESCROW_GONE: Directed = {
  ...RESTORED_UNHEARD_AND_GONE,
  pageRate: 25,
  protect: { when: "after", always: true, unprotected: "go" },
  faults: [
    ...RESTORED_UNHEARD_AND_GONE.faults,
    { kind: "kill-host", role: "escrow", when: { ...promisedAgain, plus_ms: 700 } },
  ],
};

/**
 * The source claims, and cannot restore, for the escrow is gone; it promises the target, which is back, to let that go on,
 * and its word is long on its way.
 */
export const CLAIM_GIVES_WAY: Directed = {
  ...CALM,
  faults: [
    { kind: "freeze-host", role: "target", for_ms: 1_000, when: thirdStore },
    { kind: "kill-host", role: "escrow", when: afterStep("startRestore", "source", 1, 1) },
    {
      kind: "delay",
      by: "source",
      message: "promise",
      times: 4,
      delay_ms: 400,
      when: afterStep("startRestore", "source", 1),
    },
  ],
};

/**
 * A transaction is being taken, slowly, when the target's generation ends: it is dropped, and another with its number is
 * taken behind it.
 */
export const DROPPED_DURING_A_SLOW_TAKE: Directed = {
  ...CALM,
  pageRate: 0.7,
  faults: [
    { kind: "slow-takes", for_ms: 100, take_ms: 1_400, when: afterStep("takeTransaction", "target", 3) },
    cut("target-escrow", 600, afterStep("takeTransaction", "target", 3, 30)),
  ],
};

/** The escrow's agent is back while its host is frozen, and the host is frozen for longer before it has read a word. */
export const BACK_IN_A_FREEZE_THAT_LASTS: Directed = {
  ...CALM,
  faults: [
    { kind: "crash-agent", role: "escrow", for_ms: 600, when: { at_ms: 200 } },
    { kind: "freeze-host", role: "escrow", for_ms: 1_400, when: { at_ms: 400 } },
    { kind: "freeze-host", role: "escrow", for_ms: 1_100, when: { at_ms: 1_100 } },
  ],
};

/** It lets out for the second time when it has run undisturbed for long, and its QEMU dies with it. */
export const STRUCK_AFTER_A_LONG_CALM: Directed = {
  ...CALM,
  durability: "host",
  logSync: "memory",
  faults: [{ kind: "kill-qemu", role: "target", when: afterStep("releaseOutput", "target", 2) }],
};

/** The escrow's disk loses what it had said it has, and its host the memory of it before an agent is back. */
export const LOG_AND_ITS_MEMORY_LOST: Directed = {
  ...CALM,
  pageRate: 12,
  faults: [
    { kind: "kill-qemu", role: "target", when: { at_ms: 530 } },
    { kind: "lose-tail", records: 3, for_ms: 1_200, when: { at_ms: 550 } },
    { kind: "reboot-host", role: "escrow", for_ms: 100, when: { at_ms: 680 } },
  ],
};
