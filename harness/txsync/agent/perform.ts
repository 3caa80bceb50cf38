import { messageOf } from "../../base/errors.ts";
import type { Action, Durable, Message, Role, TimerName, TransactionNumber } from "../core/index.ts";
import type { StoreOutcome } from "../data/index.ts";
import type { Control } from "./control.ts";
import type { Protector } from "./protector.ts";
import { log, type Shell, tellData } from "./shell.ts";
import type { SourceSide } from "./source-side.ts";
import type { TargetSide } from "./target-side.ts";
import { told } from "./told.ts";
import type { TransactionTaker } from "./transaction-taker.ts";
import type { VmLife } from "./vm-life.ts";

/** What the actions of the core are carried out with. */
export interface Performers {
  readonly shell: Shell;
  readonly control: Pick<Control, "letOut">;
  readonly source: SourceSide;
  readonly target: TargetSide;
  readonly taker: TransactionTaker;
  readonly life: VmLife;
  readonly protector: Protector;
  readonly say: (to: Role, message: Message) => void;
  readonly sendPackage: (message: Extract<Message, { kind: "package" }>) => void;
  readonly answerEscrow: (key: string) => void;
  readonly setTimer: (timer: TimerName, delay_ms: number) => void;
  readonly persist: (durable: Durable) => void;
}

type Performing = { readonly [K in Action["kind"]]: (action: Extract<Action, { kind: K }>) => void };

/** One deed for every action of the core; none of them waits, what takes long tells its end as an event. */
export function performing(with_: Performers): Performing {
  const { shell, control, source, target, taker, life, protector, say } = with_;
  return {
    send: ({ to, message }) => {
      if (message.kind === "ask" || message.kind === "promise" || message.kind === "refuse") {
        const { kind, pre, descriptor } = message;
        const { generation, mode } = descriptor;
        shell.emit({ kind: "vote.message", message: kind, pre, generation, mode, to });
      }
      // A record's bytes are the data plane's; the core's word comes out of it when they are all there.
      if (message.kind === "append") taker.send(message);
      else if (message.kind === "package") with_.sendPackage(message);
      else say(to, message);
    },
    setTimer: ({ timer, delay_ms }) => with_.setTimer(timer, delay_ms),
    persistPromise: ({ durable }) => with_.persist(durable),
    answerEscrow: ({ key }) => {
      with_.answerEscrow(key);
      tellData(shell, "answerEscrow", { key });
      shell.emit({ kind: "run.note", text: "another escrow has the place of the one before" });
    },
    startMigration: () => void life.migrate(),
    cancelMigration: () => void life.cancel(),
    startProtection: () => later(shell, protector.start()),
    stopProtection: () => protector.stop(),
    adoptBase: ({ from }) => tellData(shell, "adoptBase", { from }),
    startPageServer: () => {
      // A VM that was protected here has left: nothing more is taken of it, and its base is another one.
      if (source.package?.follows !== undefined) protector.stop();
      later(shell, source.startServing());
    },
    stopPageServer: () => source.stopServing(),
    loadPackage: () => later(shell, life.load()),
    takeTransaction: (action) => taker.take(action),
    dropRecord: ({ generation, n }) => taker.forget(generation, n),
    forgetRecord: ({ generation, n }) => {
      taker.committed(generation, n);
      taker.forget(generation, n);
      const { leaving } = shell.state();
      if (leaving?.stage === "settling" && leaving.n === n) later(shell, settle(shell, leaving.n));
    },
    storeRecord: ({ header }) => later(shell, store(shell, header)),
    releaseOutput: ({ generation, from, to }) => {
      const frames = shell.output.frames(from, to);
      control.letOut(generation, frames);
      shell.output.released(to);
      // Of short ones there may be more than a call has arguments.
      let [bytes, waited_ms] = [0, 0];
      for (const frame of frames) {
        bytes += frame.bytes.length;
        waited_ms = Math.max(waited_ms, shell.output.age_ms(frame.number));
      }
      shell.emit({ kind: "gate.released", generation, n: to, bytes, waited_ms });
    },
    startRestore: (action) => later(shell, life.restore(action)),
    abortRestore: () => later(shell, life.abortRestore()),
    runQemu: () => later(shell, life.run()),
    stopQemu: () => later(shell, life.stop()),
    setPageRoute: ({ route }) => target.setRoute(route),
    finish: () => later(shell, life.finish()),
    report: ({ report }) => {
      const event = told(report, shell.state());
      if (event !== undefined) shell.emit(event);
    },
  };
}

/** The escrow's record becomes part of the log, or does not. */
async function store(shell: Shell, header: Extract<Action, { kind: "storeRecord" }>["header"]): Promise<void> {
  const { data, dispatch, emit } = shell;
  const { generation, n } = header;
  const outcome = await data
    .ask("store", { generation, n })
    // The core waits for its word, and promises nothing to anybody before.
    .catch((error: unknown): StoreOutcome => ({ outcome: "failed", why: messageOf(error) }));
  if (outcome.outcome === "stored") {
    emit({ kind: "tx.stored", generation, n, bytes: outcome.bytes });
    dispatch({ kind: "recordStored", generation, n });
    return;
  }
  if (outcome.outcome === "failed") {
    // The core says it, once: a disk that is full may be so for long.
    dispatch({ kind: "recordFailed", generation, n, why: outcome.why });
    return;
  }
  log(shell, `record ${n} was not stored: ${outcome.why}`);
  if (outcome.outcome === "violation") dispatch({ kind: "recordRefused", generation, n, why: outcome.why });
  else dispatch({ kind: "recordFailed", generation, n, why: null });
}

/** The VM leaves: what its last transaction here has beside memory is to be where the next host finds it. */
async function settle({ parts, dispatch }: Shell, n: TransactionNumber): Promise<void> {
  await Promise.all(parts.map((part) => part.settled(n)));
  dispatch({ kind: "lastSettled", n });
}

function later(shell: Shell, work: Promise<unknown>): void {
  work.catch((error: unknown) => log(shell, `the agent could not do what was decided: ${String(error)}`));
}

/**
 * At every heartbeat: whoever is not heard is dialled anew, and what may have been lost is said again.
 * @returns settles when the data plane has answered
 */
export async function atHeartbeat(shell: Shell, notHeard: readonly Role[]): Promise<void> {
  for (const peer of notHeard) tellData(shell, "notHeard", { peer });
  await shell.data.ask("tell", {}).catch((error: unknown) => log(shell, `tell: ${messageOf(error)}`));
}
