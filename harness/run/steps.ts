import type { HostRole, ProtocolStep, TimelineEvent } from "../base/timeline.ts";

/** What a step belongs to: it tells when one cannot come any more (hopeless.ts). */
export type StepPart = "migration" | "protection" | "vote" | "restore" | "takeover" | "handoff";

/** A moment of a run at which a fault may strike: what everybody sees on the timeline, and nothing else. */
export interface Step {
  readonly part: StepPart;
  /** Whose runs have it: QEMU's own migration, agents', or both. */
  readonly under: "stock" | "txsync" | "both";
  /** A migration comes to it once; the others come again and again. */
  readonly once?: true;
  /** One sentence that says when it comes. */
  readonly when: string;
  /** Whether this event tells of it. */
  readonly is: (event: TimelineEvent) => boolean;
}

function protocol(step: ProtocolStep, when: string, more: Partial<Pick<Step, "under" | "once">> = {}): Step {
  const is = (event: TimelineEvent): boolean => event.kind === "migration.step" && event.step === step;
  return { part: "migration", under: "both", when, is, ...more };
}

function agents(part: StepPart, kind: TimelineEvent["kind"], when: string): Step {
  return { part, under: "txsync", when, is: (event) => event.kind === kind };
}

type VoteMessage = Extract<TimelineEvent, { readonly kind: "vote.message" }>;
function vote(when: string, is: (message: VoteMessage) => boolean): Step {
  return { part: "vote", under: "txsync", when, is: (event) => event.kind === "vote.message" && is(event) };
}

/**
 * Every step at which a fault may strike or be healed: what triggers, the command line (`list --steps`) and the README
 * know of them. A new one is a line here, and where nobody tells of it yet an event (base/agent-event-fields.ts).
 * Order: as they normally come.
 */
export const STEPS = {
  setup: protocol("setup", "the migration has been asked for", { once: true }),
  precopy: protocol("precopy", "memory begins to be sent, the VM runs where it was", { once: true }),
  switchover: protocol("switchover", "the source's vCPUs stand, its device state is on its way", { once: true }),
  "target-running": protocol("target-running", "the target's vCPUs run, most memory is still at the source", {
    once: true,
  }),
  "postcopy-paused": protocol("postcopy-paused", "QEMU has noticed that its stream broke", { under: "stock" }),
  recovering: protocol("recovering", "a broken stream is being resumed by QEMU's own handshake"),
  completing: protocol("completing", "every page is on its way or there, the end of the stream is not"),
  completed: protocol("completed", "the target's QEMU has all of it", { once: true }),
  failed: protocol("failed", "the source gave the migration up"),

  "transaction-taken": agents("protection", "tx.taken", "a transaction is taken, nothing of it has left the host"),
  "record-half-sent": agents(
    "protection",
    "tx.sending",
    "half of a record's pages or more are on their way to the escrow, its end is not",
  ),
  "record-stored": agents("protection", "tx.stored", "the escrow has stored a record and not yet acknowledged it"),
  "transaction-committed": agents(
    "protection",
    "tx.committed",
    "the target knows that a record is stored, and has not yet let its output out",
  ),
  "output-released": {
    ...agents("protection", "gate.released", "output of a generation is let out (none before the migration counts)"),
    is: (event) => event.kind === "gate.released" && event.generation > 0,
  },
  "output-full": agents("protection", "gate.full", "so much output waits that the VM stands still"),
  "output-room": agents("protection", "gate.room", "half of it has left, and the VM runs again"),
  "protection-on": {
    ...agents("protection", "protection", "the first record of a generation is committed"),
    is: (event) => event.kind === "protection" && event.state === "on",
  },
  "base-covered": agents(
    "protection",
    "base.covered",
    "escrow and owner together have all of the base: the host that serves it may be lost from now on",
  ),
  "protection-off": {
    ...agents("protection", "protection", "the VM goes on unprotected"),
    is: (event) => event.kind === "protection" && event.state === "off",
  },

  "lease-lost": agents("vote", "lease.lost", "an agent has not heard another for a lease"),
  "lease-regained": agents("vote", "lease.regained", "an agent hears another again"),
  "vote-pre-asked": vote(
    "an agent sends the question whether it would be promised a generation",
    ({ message, pre }) => pre && message === "ask",
  ),
  "vote-pre-promised": vote(
    "an agent sends the answer that it would promise",
    ({ message, pre }) => pre && message === "promise",
  ),
  "vote-pre-refused": vote(
    "an agent sends the answer that it would not promise",
    ({ message, pre }) => pre && message === "refuse",
  ),
  "vote-asked": vote("an agent sends the question for a promise", ({ message, pre }) => !pre && message === "ask"),
  "vote-promise-made": agents("vote", "vote.promised", "an agent has decided to promise, and writes it to its disk"),
  "vote-promised": vote(
    "an agent's promise is on its disk, and is sent",
    ({ message, pre }) => !pre && message === "promise",
  ),
  "vote-refused": vote("an agent sends its refusal to promise", ({ message, pre }) => !pre && message === "refuse"),
  "generation-opened": agents("vote", "generation.opened", "an agent has two promises, and owns a new generation"),
  "generation-closed": agents("vote", "generation.closed", "an agent learns that its generation was succeeded"),

  "restore-started": agents("restore", "restore.started", "an agent begins to restore the VM"),
  "restore-made": agents("restore", "restore.made", "the restored memory is there, QEMU has not its device state yet"),
  "restore-verified": agents("restore", "restore.verified", "the restored memory gave the record's digest"),
  "restore-finished": agents(
    "restore",
    "restore.finished",
    "the restored VM stands ready; nobody has voted for it yet",
  ),
  "restore-running": agents("restore", "restore.running", "the restored VM runs"),

  "pages-rerouted": agents("takeover", "pages.route", "the target's agent changes whom it asks for pages"),
  takeover: agents("takeover", "takeover", "the target asks the escrow for its pages, the source is gone"),
  "takeover-served": agents("takeover", "takeover.served", "the first page of the escrow's has come to the target"),

  "ownership-asked": vote(
    "an agent asks to own the VM alone: at the handoff, or with a restored VM that may not run before",
    ({ message, pre, mode }) => !pre && message === "ask" && mode === "final",
  ),
  "ownership-promised": vote(
    "an agent promises that, which binds it for ever",
    ({ message, pre, mode }) => !pre && message === "promise" && mode === "final",
  ),
  handoff: agents("handoff", "handoff", "the target owns the VM alone, and the migration's stream ends"),
} as const satisfies Readonly<Record<string, Step>>;

export type StepName = keyof typeof STEPS;
export const STEP_NAMES = Object.keys(STEPS) as readonly StepName[];

export function stepOf(name: StepName): Step {
  return STEPS[name];
}

/** Whether an event tells of a step. @param by of whom it has to be told, where that matters */
export function isStep(name: StepName, event: TimelineEvent, by?: HostRole): boolean {
  return stepOf(name).is(event) && (by === undefined || event.lane === by);
}
