import fc from "fast-check";
import { PAGE_BYTES } from "../../../base/page.ts";
import { PagescanError } from "../pagescan.ts";
import { pageSetOf } from "../spool.ts";
import {
  DYING_POINTS,
  type DyingPoint,
  type FindMode,
  type Lanes,
  openTracker,
  type PagescanTracker,
} from "../tracker.ts";
import { lanesOf, sumOf } from "./lanes.ts";
import { BLOCK_NAMES, type BlockNumber, contentOf, type GuestMemory } from "./memory.ts";
import type { NativeTools } from "./native.ts";

interface Place {
  readonly block: BlockNumber;
  readonly page: number;
}

/** What becomes of a transaction. */
type Fate =
  /** The escrow has it. */
  | "stored"
  /** It was whole, and was dropped. */
  | "dropped"
  /** It was taken and nothing more. */
  | "not-settled"
  /** The helper, with its agent, is killed when it was taken, or at some moment until it is settled. */
  | "killed"
  | "killed-somewhere"
  /** The same at a point that is known. */
  | DyingPoint;

export type Step =
  /** Pages arrive as the base has them. Of what arrives the tracker is told, in the sure way: at once, late, or never. */
  | {
      readonly kind: "arrive";
      readonly place: Place;
      readonly count: number;
      readonly told: "at once" | "late" | "never";
    }
  /** What it was not told yet. */
  | { readonly kind: "tell" }
  | { readonly kind: "write"; readonly place: Place; readonly version: number }
  | { readonly kind: "absorb"; readonly pages: number }
  | {
      readonly kind: "take";
      /** Everything that ever changed, as where the escrow's log is empty; or what its last record lacks. */
      readonly since_base: boolean;
      readonly meanwhile: readonly { readonly place: Place; readonly version: number }[];
      readonly fate: Fate;
      readonly spins: number;
    }
  | { readonly kind: "restart"; readonly prefer: "auto" | "sure" }
  /** A generation begins: numbers go on where the escrow's log ends, which may be lower than before. */
  | { readonly kind: "generation" }
  /** The kernel notes nothing any more. */
  | { readonly kind: "end" }
  /** What it has noted is thrown away: what may never happen. */
  | { readonly kind: "lose" };

const VERSIONS = 5;
const PAGES: readonly [number, number] = [200, 20];

const place: fc.Arbitrary<Place> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ block: fc.constant(0 as const), page: fc.nat({ max: 15 }) }) },
  { weight: 1, arbitrary: fc.record({ block: fc.constant(0 as const), page: fc.nat({ max: PAGES[0] - 1 }) }) },
  { weight: 1, arbitrary: fc.record({ block: fc.constant(1 as const), page: fc.nat({ max: PAGES[1] - 1 }) }) },
);
const version = fc.nat({ max: VERSIONS });
const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 6, arbitrary: fc.constant("stored" as const) },
  {
    weight: 6,
    arbitrary: fc.constantFrom<Fate>("dropped", "not-settled", "killed", "killed-somewhere", ...DYING_POINTS),
  },
);
export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 18,
      arbitrary: fc.record({
        kind: fc.constant("arrive" as const),
        place,
        count: fc.integer({ min: 1, max: 8 }),
        told: fc.constantFrom("at once" as const, "late" as const, "never" as const),
      }),
    },
    { weight: 30, arbitrary: fc.record({ kind: fc.constant("write" as const), place, version }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("absorb" as const), pages: fc.nat({ max: 40 }) }) },
    {
      weight: 24,
      arbitrary: fc.record({
        kind: fc.constant("take" as const),
        since_base: fc.boolean(),
        meanwhile: fc.array(fc.record({ place, version }), { maxLength: 3 }),
        fate,
        spins: fc.nat({ max: 400_000 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant("restart" as const), prefer: fc.constantFrom("auto" as const, "sure") }),
    },
    { weight: 3, arbitrary: fc.constant({ kind: "tell" as const }) },
    { weight: 3, arbitrary: fc.constant({ kind: "generation" as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: "end" as const }) },
  ),
  { minLength: 20, maxLength: 120 },
);

const contents = Array.from({ length: VERSIONS + 1 }, (_, i) => contentOf(i));

/** What was seen, so that a test can say that its ordeals were ones. */
export interface Seen {
  stored: number;
  readonly modes: Set<FindMode>;
  pages: number;
}

/**
 * A guest's memory on a target, a tracker, and an escrow that keeps what is stored: whatever happens, base and log have
 * to give the memory of the moment at which the transaction was taken, and its digest has to be theirs.
 */
export class Ordeal implements AsyncDisposable {
  readonly #tools: NativeTools;
  readonly #guest: GuestMemory;
  readonly #seen: Seen;
  #tracker: PagescanTracker | undefined;
  #prefer: "auto" | "sure";
  /** Version of every page that has arrived, as the guest has it. */
  readonly #memory = new Map<string, number>();
  /** What the escrow has of the log: the content of every page, and the last number. */
  #log = new Map<string, Buffer>();
  #lanes = new Map<string, Lanes>();
  #last = 0;
  #next = 1;
  #ended = false;
  readonly #untold: Place[] = [];

  constructor(tools: NativeTools, guest: GuestMemory, prefer: "auto" | "sure", seen: Seen) {
    this.#tools = tools;
    this.#guest = guest;
    this.#prefer = prefer;
    this.#seen = seen;
  }

  static get pages(): readonly [number, number] {
    return PAGES;
  }

  async run(all: readonly Step[]): Promise<void> {
    for (const step of all) await this.#do(step);
    await this.#take(false, [], "stored", 0);
    // A log that is lost begins anew.
    await this.#take(true, [], "stored", 0);
  }

  async #do(step: Step): Promise<void> {
    switch (step.kind) {
      case "arrive":
        for (let i = 0; i < step.count; i++) {
          await this.#arrive({ block: step.place.block, page: step.place.page + i }, step.told);
        }
        return;
      case "tell":
        for (const at of this.#untold.splice(0)) await this.#tell(at);
        return;
      case "write":
        return await this.#write(step.place, step.version);
      case "absorb":
        await (await this.#open()).absorb(step.pages);
        return;
      case "take":
        return await this.#take(step.since_base, step.meanwhile, step.fate, step.spins);
      case "restart":
        this.#prefer = step.prefer;
        return await this.#kill();
      case "generation":
        this.#next = this.#last + 1;
        return;
      case "lose":
        return await (await this.#open()).discard();
      case "end":
        if (this.#ended) return;
        this.#ended = true;
        await this.#guest.end();
    }
  }

  async #arrive(at: Place, told: "at once" | "late" | "never"): Promise<void> {
    const { block, page } = at;
    if (this.#ended || page >= PAGES[block] || this.#memory.has(keyOf(at))) return;
    const version = baseOf(at);
    await this.#guest.place(block, page, version);
    this.#memory.set(keyOf(at), version);
    if (told === "at once") await this.#tell(at);
    if (told === "late") this.#untold.push(at);
  }

  async #tell(at: Place): Promise<void> {
    const tracker = await this.#open();
    if (tracker.mode === "sure") await tracker.learn(BLOCK_NAMES[at.block], at.page, contentIn(baseOf(at)));
  }

  async #write(at: Place, version: number): Promise<void> {
    // Where nothing is, a guest waits until the page has arrived.
    if (!this.#memory.has(keyOf(at))) return;
    await this.#guest.write(at.block, at.page, version);
    this.#memory.set(keyOf(at), version);
  }

  async #open(): Promise<PagescanTracker> {
    this.#tracker ??= await openTracker({
      pagescan: this.#tools.pagescan,
      pid: this.#guest.pid,
      blocks: this.#guest.blocks,
      prefer: this.#prefer,
      folder: this.#guest.folder,
      shim_status_path: this.#guest.status_path,
      // Small as it is, it is looked through by two threads, as a large guest is.
      long_pages: 2,
    });
    return this.#tracker;
  }

  /** The helper gets SIGKILL; the next one may be there before it is quite gone. */
  async #kill(): Promise<void> {
    const tracker = this.#tracker;
    this.#tracker = undefined;
    await tracker?.[Symbol.asyncDispose]();
  }

  async #take(
    since_base: boolean,
    meanwhile: readonly { readonly place: Place; readonly version: number }[],
    fate: Fate,
    spins: number,
  ): Promise<void> {
    const tracker = await this.#open();
    const since = since_base ? 0 : this.#last;
    const n = Math.max(this.#next, this.#last + 1);
    if (fate === "killed-somewhere") return await this.#killSomewhere(tracker, n, since, spins);
    if (isPoint(fate)) return await this.#dieAt(fate, tracker, n, since);
    const taken = await tracker.take(n, since);
    this.#seen.modes.add(taken.mode);
    const as_taken = new Map(this.#memory);
    for (const { place: at, version: to } of meanwhile) await this.#write(at, to);
    if (fate === "killed") return await this.#kill();
    if (fate === "not-settled") return await tracker.release();
    const { spool, digest, modified_pages, zero_pages } = await tracker.collect();
    const pages = await pageSetOf(spool);
    await tracker.release();
    if (pages.zero_pages !== zero_pages || pages.pages !== taken.pages)
      throw new Error("its sizes contradict each other");
    // The number of what was never sent is used again.
    if (fate === "dropped") return;
    this.#next = n + 1;
    this.#store(n, since, pages);
    this.#check(as_taken);
    const sum = sumOf(this.#lanes.values());
    if (sum.lane1 !== digest.lane1 || sum.lane2 !== digest.lane2 || this.#lanes.size !== modified_pages) {
      throw new Error(
        `digest ${JSON.stringify(digest)} of ${modified_pages} pages, the log's is ${JSON.stringify(sum)} of ${this.#lanes.size}`,
      );
    }
    this.#seen.stored++;
    this.#seen.pages += pages.pages;
  }

  async #dieAt(point: DyingPoint, tracker: PagescanTracker, n: number, since: number): Promise<void> {
    await tracker.dieAt(point);
    try {
      await tracker.take(n, since);
      await tracker.collect();
    } catch (error) {
      if (!(error instanceof PagescanError) || error.reason !== "gone") throw error;
    }
    await this.#kill();
  }

  async #killSomewhere(tracker: PagescanTracker, n: number, since: number, spins: number): Promise<void> {
    const under_way = tracker.take(n, since).then(() => tracker.collect());
    under_way.catch(() => undefined);
    // The helper is at work meanwhile, on another processor.
    if (spins % 2 === 0) for (let i = 0; i < spins; i++) Math.imul(i, i);
    else await new Promise<void>((resolve) => setImmediate(resolve));
    await this.#kill();
    await under_way.catch(() => undefined);
  }

  #store(n: number, since: number, pages: Iterable<{ block: string; page: number; bytes: Uint8Array | null }>): void {
    if (since === 0) {
      this.#log = new Map();
      this.#lanes = new Map();
    }
    for (const { block, page, bytes } of pages) {
      const content = Buffer.from(bytes ?? contentIn(0));
      this.#log.set(`${block}:${page}`, content);
      this.#lanes.set(`${block}:${page}`, lanesOf(block, page, content));
    }
    this.#last = n;
  }

  #check(memory: ReadonlyMap<string, number>): void {
    for (const [key, version] of memory) {
      const logged = this.#log.get(key);
      const content = logged ?? contentIn(baseOf(placeOf(key)));
      if (content.equals(contentIn(version))) continue;
      const what = logged === undefined ? "is not in the log" : "is another one in the log";
      throw new Error(`after transaction ${this.#last} page ${key} ${what}: in memory it is version ${version}`);
    }
    for (const key of this.#log.keys())
      if (!memory.has(key)) throw new Error(`page ${key} is in the log and not there`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kill();
  }
}

function isPoint(fate: Fate): fate is DyingPoint {
  return (DYING_POINTS as readonly string[]).includes(fate);
}

function keyOf({ block, page }: Place): string {
  return `${BLOCK_NAMES[block]}:${page}`;
}

function placeOf(key: string): Place {
  const [name, page = "0"] = key.split(":");
  return { block: name === BLOCK_NAMES[0] ? 0 : 1, page: Number(page) };
}

/** Version of a page in the base. */
function baseOf({ block, page }: Place): number {
  return (page * 7 + block) % (VERSIONS + 1);
}

function contentIn(version: number): Buffer {
  return contents[version] ?? Buffer.alloc(PAGE_BYTES);
}
