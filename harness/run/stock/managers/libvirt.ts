import { LIBVIRT_LINKS } from "../../../fleet/libvirt-links.ts";
import type { StartedVm } from "../../../fleet/vm.ts";
import type { LibvirtDaemon } from "../libvirt/daemon.ts";
import { DOMAIN } from "../libvirt/domain.ts";
import { type Answer, type Asking, ask, askFor } from "../libvirt/virsh.ts";
import { type Begun, isPaused, type ManagerContext, type Seen, type StockManager } from "./manager.ts";

/** A call that changes something waits 30 s for libvirt's lock on the domain, and is refused then: longer is no answer. */
const CALL_MS = 35_000;
/** After libvirt has given up, and before it is said that nothing more comes of it. */
const SETTLE_MS = 1_500;
/** Whoever asked is told when the migration has ended: by the other daemon, over a link that may be silent. */
const FINISH_MS = 5_000;
const RESUME_EVERY_MS = 500;
export const RESUME_MS = 20_000;
const MIB = 1024 ** 2;
/**
 * It takes virsh a tenth of a second and more to have post-copy begin: what is sent before is held back meanwhile, or
 * switchover would not be at once but in the middle.
 */
const AT_ONCE_MIB_PER_S = 4;

export type LibvirtContext = Omit<ManagerContext, "target"> & {
  readonly daemons: { readonly source: LibvirtDaemon; readonly target: LibvirtDaemon };
  /** What `virsh migrate` is told beside how and where to. */
  readonly words: readonly string[];
  /** The target's VM as soon as libvirt has started it there; undefined where `over` says that it will not. */
  readonly findTarget: (over: () => boolean) => Promise<StartedVm | undefined>;
};

/**
 * The real libvirt: virsh on the source's host asks its daemon, that one talks to the target's (peer to peer). What is
 * done about a failure is libvirt's own affair, and by itself it resumes nothing. What it believes it tells by its events
 * and by the state that it takes the domain for.
 */
export class LibvirtManager implements StockManager {
  protected readonly context: LibvirtContext;
  #asking: Asking | undefined;
  /** What came of the call that asked for the migration, or resumed it last. */
  #answer: Answer | undefined;
  #switching: Promise<unknown> | undefined;
  #switched = false;
  #broken_since_ms: number | undefined;
  #looked_ms = Number.NEGATIVE_INFINITY;

  constructor(context: LibvirtContext) {
    this.context = context;
  }

  async begin(): Promise<Begun> {
    await this.call([]);
    const target = await this.context.findTarget(() => this.#answer !== undefined);
    if (target !== undefined) return { target };
    return { refused: `libvirt did not begin: ${this.#answer?.said ?? "it said nothing"}` };
  }

  /** Asks for the migration, as it was asked for at first, with some words more. */
  protected async call(more: readonly string[]): Promise<void> {
    const { source, plan, timeline, words } = this.context;
    const mib_per_s = String(Math.max(1, Math.round(plan.bandwidth_bytes_per_s / MIB)));
    const postcopy = plan.switchover === "never" ? [] : ["--postcopy", "--postcopy-bandwidth", mib_per_s];
    const before = plan.switchover === "at-once" ? String(AT_ONCE_MIB_PER_S) : mib_per_s;
    const how = ["--live", "--p2p", ...postcopy, "--bandwidth", before, ...words, ...more];
    const where = [
      "--migrateuri",
      `tcp://${LIBVIRT_LINKS.stream}`,
      DOMAIN,
      `qemu+tcp://${LIBVIRT_LINKS.control}/system`,
    ];
    this.#answer = undefined;
    const asking = await ask(source.host, ["migrate", ...how, ...where], timeline.emit);
    this.#asking = asking;
    void asking.answered.then((answer) => {
      if (this.#asking === asking) this.#answer = answer;
    });
  }

  /** Whether a call is under way. */
  protected get asked(): boolean {
    return this.#asking !== undefined && this.#answer === undefined;
  }

  protected get said(): string {
    return this.#answer?.said || "nothing";
  }

  async switchOver(): Promise<void> {
    if (this.#switched || this.#switching !== undefined) return;
    const { source, timeline } = this.context;
    // It is refused until QEMU is at it; nobody waits for the answer, for what is seen meanwhile is not to come late.
    this.#switching = askFor(source.host, ["migrate-postcopy", DOMAIN], timeline.emit, CALL_MS).then(({ code }) => {
      this.#switched = code === 0;
      this.#switching = undefined;
    });
  }

  async cancel(): Promise<void> {
    const { source, timeline } = this.context;
    await askFor(source.host, ["domjobabort", DOMAIN], timeline.emit, CALL_MS);
  }

  async tend(seen: Seen): Promise<string | undefined> {
    const { source, target, now_ms } = seen;
    if (!isPaused(source) && !isPaused(target)) {
      this.#broken_since_ms = undefined;
      return undefined;
    }
    this.#broken_since_ms ??= now_ms;
    if (now_ms - this.#looked_ms > RESUME_EVERY_MS) {
      this.#looked_ms = now_ms;
      for (const daemon of Object.values(this.context.daemons)) daemon.look();
    }
    return await this.broken(seen, now_ms - this.#broken_since_ms);
  }

  /** Post-copy is paused, and has been for so long. */
  protected broken(_seen: Seen, broken_ms: number): Promise<string | undefined> {
    // A call that nobody answers goes on for as long as the run has patience.
    if (this.asked || broken_ms < SETTLE_MS) return Promise.resolve(undefined);
    return Promise.resolve(`postcopy-paused, and libvirt by itself resumes nothing (${this.believed})`);
  }

  /** What both daemons take the VM for. */
  protected get believed(): string {
    const { source, target } = this.context.daemons;
    return `to it the source is ${source.state}, the target ${target.state}`;
  }

  async finish(): Promise<void> {
    const asking = this.#asking;
    if (asking === undefined) return;
    const told = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      const text = `virsh was not told of the end within ${FINISH_MS} ms`;
      this.context.timeline.emit("source", { kind: "run.note", text });
      told.resolve();
    }, FINISH_MS);
    void asking.answered.then(() => told.resolve());
    await told.promise;
    clearTimeout(timer);
    await Promise.all(Object.values(this.context.daemons).map((daemon) => daemon.looked()));
  }

  /** Kills whoever has asked and waits. @throws Error when nobody does */
  async killClient(): Promise<void> {
    if (!this.asked || this.#asking === undefined) throw new Error("no virsh waits for a migration");
    await this.context.source.host.run(`kill -9 ${this.#asking.process.pid}`);
  }
}

/**
 * libvirt, and an operator: once both daemons say that post-copy has failed, the migration is asked for again with
 * `--postcopy-resume`, until it works or patience ends.
 */
export class ResumingLibvirtManager extends LibvirtManager {
  readonly #patience_ms: number;
  #tried_ms = Number.NEGATIVE_INFINITY;
  #tries = 0;

  constructor(context: LibvirtContext) {
    super(context);
    this.#patience_ms = context.configuration.manager_patience_ms ?? RESUME_MS;
  }

  protected override async broken({ now_ms }: Seen, broken_ms: number): Promise<string | undefined> {
    const { source, target } = this.context.daemons;
    const nobody = [source, target].some(({ given_up }) => given_up);
    if (broken_ms > this.#patience_ms || (nobody && !this.asked)) {
      const tried =
        this.#tries === 0 ? "there was no moment to resume it" : `resuming it ${this.#tries} times did not work`;
      const daemon = nobody ? "; a daemon ended each time, and is not started any more" : "";
      return `postcopy-paused for ${Math.round(broken_ms)} ms, and ${tried}${daemon} (${this.believed}; it said: ${this.said})`;
    }
    const both = [source, target].every(({ state }) => state.includes("post-copy failed"));
    if (!both || this.asked || now_ms - this.#tried_ms < RESUME_EVERY_MS) return undefined;
    this.#tried_ms = now_ms;
    this.#tries += 1;
    this.context.timeline.emit("migration", { kind: "run.note", text: "the operator resumes the migration" });
    await this.call(["--postcopy-resume"]);
    return undefined;
  }
}
