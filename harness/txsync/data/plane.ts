import type { MessagePort } from "node:worker_threads";
import { messageOf, UserError } from "../../base/errors.ts";
import type { TimelineEventBody } from "../../base/timeline.ts";
import type { Role } from "../core/index.ts";
import { decodeNote, FRAME_NOTE } from "../pages/notes.ts";
import { FRAME_PAGES, FRAME_REQUEST, wantedBy } from "../pages/page-frames.ts";
import { decodeRecordPiece, FRAME_RECORD } from "../pages/record-frames.ts";
import { Peers } from "../wire/index.ts";
import { DATA_CHANNELS, type DataChannel, type DataShell, log, sendTargetPages } from "./data-shell.ts";
import { EscrowStore } from "./escrow-store.ts";
import type { Layout } from "./kept-base.ts";
import type { DataCalls, DataConfig, DataEvent, FromData, ToData } from "./protocol.ts";
import { RecordSender } from "./record-sender.ts";
import { RunningBase } from "./running-base.ts";
import { SourceStore } from "./source-store.ts";
import { TargetStore } from "./target-store.ts";

type Handlers = {
  readonly [K in keyof DataCalls]: (
    what: Parameters<DataCalls[K]>[0],
  ) => ReturnType<DataCalls[K]> | Promise<ReturnType<DataCalls[K]>>;
};

/**
 * The data plane of an agent: everything that is long, in a thread of its own, each piece of bounded size. It decides
 * nothing: what it is told comes from the control plane, what it finds it tells there.
 */
export class DataPlane implements DataShell {
  readonly config: DataConfig;
  readonly peers: Peers<DataChannel>;
  readonly #port: MessagePort;
  readonly #source: SourceStore;
  readonly #target: TargetStore;
  readonly #sender: RecordSender;
  readonly #running: RunningBase;
  /** The base of a VM that was protected where it ran, as the escrow has said last. */
  #held: Layout | null = null;
  /** Which one the escrow has all of. */
  #known: string | undefined;
  #escrow: EscrowStore | undefined;
  readonly #handlers: Handlers;

  constructor(config: DataConfig, port: MessagePort) {
    this.config = config;
    this.#port = port;
    const addresses = Object.entries(config.peers).map(([peer, { host, bulk_port }]) => [
      peer,
      { host, port: bulk_port },
    ]);
    this.peers = new Peers<DataChannel>({
      role: config.role,
      secret: Buffer.from(config.secret, "hex"),
      migration: Buffer.from(config.migration, "hex"),
      channels: DATA_CHANNELS,
      peers: Object.fromEntries(addresses),
      listen: config.listen_bulk,
      patience_ms: config.lease_ms,
      onData: (from, payload, channel) => this.#dataCame(from, payload, channel),
      onLog: (line) => log(this, line),
    });
    this.#source = new SourceStore(this);
    this.#target = new TargetStore(this);
    this.#sender = new RecordSender(this, (bytes) => {
      this.#source.spent(bytes);
      this.#target.spent(bytes);
    });
    this.#running = new RunningBase(this);
    this.#handlers = this.#calls();
    port.on("message", (asked: ToData) => void this.#asked(asked));
  }

  emit = (event: TimelineEventBody): void => this.tell({ kind: "event", event });

  tell = (event: DataEvent): void => this.#port.postMessage({ tell: event } satisfies FromData);

  async #asked({ id, call, what }: ToData): Promise<void> {
    try {
      // Both ends are of one build: the name tells the type of what comes with it.
      const handler = this.#handlers[call] as (what: unknown) => unknown;
      this.#port.postMessage({ id, ok: await handler(what) } satisfies FromData);
    } catch (error) {
      this.#port.postMessage({ id, error: messageOf(error) } satisfies FromData);
    }
  }

  #calls(): Handlers {
    const [source, target, sender] = [this.#source, this.#target, this.#sender];
    const escrow = (): EscrowStore => {
      if (this.#escrow === undefined) throw new UserError("this is not the escrow");
      return this.#escrow;
    };
    return {
      open: async ({ escrow: key }) => {
        if (key !== null) this.peers.answerEscrow(key);
        if (this.config.role === "escrow") this.#escrow = await EscrowStore.open(this);
        await this.peers.start();
        return { log: this.#escrow?.state ?? null };
      },
      answerEscrow: ({ key }) => this.peers.answerEscrow(key),
      notHeard: ({ peer }) => this.peers.notHeard(peer),
      heardAgain: ({ peer }) => this.peers.heardAgain(peer),
      load: ({ path, package: what, hold }) => target.load(path, bufferOf(what), hold),
      prepareAhead: (offer) => target.prepareAhead(offer),
      recover: ({ path, package: what }) => target.recover(path, bufferOf(what)),
      route: ({ route }) => target.setRoute(route),
      findsSurely: ({ on }) => {
        target.tellArrived(on);
        source.findsSurely(on);
      },
      endFeed: () => target.endFeed(),
      stopFeed: () => target.stopFeed(),
      sendRecord: (record) => {
        source.recordTaken(record.spool);
        sender.send(record);
      },
      dropRecord: () => sender.drop(),
      copyAhead: async ({ pid, blocks, share, most_ms }) => ({
        share: await source.copyAhead(pid, blocks, share, most_ms),
      }),
      pushAhead: (what) => source.pushAhead(what),
      finishAhead: ({ last }) => source.finishAhead(last),
      giveUpAhead: () => source.giveUpAhead(),
      stopAhead: () => source.stopAhead(),
      haveBase: ({ small, ...base }) =>
        source.haveBase({ ...base, small: small.map((each) => ({ ...each, content: asBuffer(each.content) })) }),
      serve: () => source.serve(),
      stopServing: () => source.stopServing(),
      offerBase: (offered) =>
        this.#running.begin({
          ...offered,
          small: offered.small.map((each) => ({ ...each, content: asBuffer(each.content) })),
        }),
      withdrawBase: () => this.#running.end(),
      heldBase: () => this.#held,
      mayLayOver: () => source.mayLayOver(),
      forgetBase: () => source.forget(),
      restore: ({ n, fetch, ...base }) => (fetch ? target.restore(base, n) : source.restore(n)),
      restorePackage: () => source.restorePackage(),
      abortRestore: () => {
        source.abortRestore();
        target.abortRestore();
      },
      store: ({ generation, n }) => escrow().store(generation, n),
      forgetCopy: () => escrow().forget(),
      adoptBase: ({ from }) => escrow().adopt(from),
      tell: () => {
        if (this.config.role === "source") source.offer();
        target.tellFollows();
        this.#running.offer();
        this.#escrow?.begin();
        this.#escrow?.tell();
      },
    };
  }

  #dataCame(from: Role, payload: Buffer, channel: DataChannel): Promise<void> | undefined {
    const failed = (error: unknown): void => log(this, `data of ${from} was refused: ${messageOf(error)}`);
    try {
      switch (payload[0]) {
        case FRAME_REQUEST:
          if (this.#escrow !== undefined) this.#escrow.requested(from, payload);
          else if (this.#running.isOf(payload)) return this.#running.requested(from, payload).catch(failed);
          // No more is read of what comes by itself than is answered: who asks faster than that waits.
          else return this.#source.requested(from, payload, channel).catch(failed);
          return undefined;
        case FRAME_PAGES: {
          const by = wantedBy(payload);
          const give = (): void => this.peers.buffers.give(payload);
          if (by !== this.config.role) sendTargetPages(this.peers, by, [payload], give);
          else {
            if (this.#escrow !== undefined) this.#escrow.pagesCame(payload);
            else this.#target.pagesCame(from, payload);
            give();
          }
          return undefined;
        }
        case FRAME_NOTE:
          this.#noteCame(from, payload);
          return undefined;
        case FRAME_RECORD: {
          const piece = decodeRecordPiece(payload);
          if (piece.purpose === "append")
            return this.#escrow?.pieceCame(from, piece).then(() => this.peers.buffers.give(payload));
          this.#source.pieceCame(piece);
          this.#target.pieceCame(piece);
          return undefined;
        }
        default:
          failed(new Error(`data of kind ${payload[0]}`));
      }
    } catch (error) {
      failed(error);
    }
    return undefined;
  }

  #noteCame(from: Role, payload: Buffer): void {
    const note = decodeNote(payload);
    switch (note.kind) {
      case "base-held":
        if (note.complete && note.base !== this.#known) this.tell({ kind: "base-known", base: note.base });
        this.#known = note.complete ? note.base : undefined;
        this.#held = note.layout === undefined ? null : { base: note.base, ...note.layout };
        this.#running.baseHeld(note);
        this.#source.baseHeld(note);
        this.#target.baseHeld(note);
        return;
      case "ahead-offered":
        if (from !== "source" || this.config.role !== "target") return;
        this.tell({ kind: "ahead-offered", offer: { ...note } });
        return;
      case "ahead-stale":
        if (from === "source") this.#target.aheadStale(note);
        return;
      case "ahead-ready":
        if (from === "target") this.#source.aheadReady(note);
        return;
      case "log-refused":
        this.#source.refused(note.question, note.why);
        this.#target.refused(note.question, note.why);
        return;
      case "log-grew":
        if (from === "escrow" && this.config.role === "source") this.#source.logGrew();
        return;
      case "record-here":
        if (from === "escrow") this.#sender.here(note.generation, note.n);
        return;
      case "record-spoilt":
        if (from === "escrow") this.#sender.spoilt();
        return;
      case "record-waits":
        if (from === "escrow") this.#sender.waits();
        return;
      default:
        this.#escrow?.note(from, note);
    }
  }
}

/** What crossed from another thread is a view without Node's methods. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bufferOf<T extends { readonly preamble: Uint8Array; readonly packaged: Uint8Array }>(
  what: T,
): T & { preamble: Buffer; packaged: Buffer } {
  return { ...what, preamble: asBuffer(what.preamble), packaged: asBuffer(what.packaged) };
}
