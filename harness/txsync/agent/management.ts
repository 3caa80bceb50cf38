import { UserError } from "../../base/errors.ts";
import { hears, mayReplaceEscrow, type Role } from "../core/index.ts";
import type { ControlRequest } from "./control.ts";
import type { Machine } from "./machine.ts";
import type { Shell } from "./shell.ts";
import type { SourceSide } from "./source-side.ts";
import { statusOf } from "./status.ts";
import type { TransactionTaker } from "./transaction-taker.ts";
import type { VmLife } from "./vm-life.ts";

/** Answers whoever manages the agent. */
export class Management {
  readonly #shell: Shell;
  readonly #source: SourceSide;
  readonly #life: VmLife;
  readonly #taker: Pick<TransactionTaker, "pausedByOthers">;
  readonly #describe: (machine: Machine) => void;
  /** What becomes of the VM is asked for one after the other. */
  #asked: Promise<unknown> = Promise.resolve();
  /** One after the other: what the first has started is what the second finds. */
  #preparing: Promise<unknown> = Promise.resolve();

  /** @param describe remembers what machine is to run here */
  constructor(
    shell: Shell,
    source: SourceSide,
    life: VmLife,
    taker: Pick<TransactionTaker, "pausedByOthers">,
    describe: (machine: Machine) => void,
  ) {
    this.#taker = taker;
    this.#shell = shell;
    this.#source = source;
    this.#life = life;
    this.#describe = describe;
  }

  /** @throws UserError with what is wrong with the request */
  async answer(request: ControlRequest): Promise<unknown> {
    const { slot, config, dispatch, state } = this.#shell;
    switch (request.do) {
      case "prepare": {
        // It starts and ends nothing, and waits for nobody.
        if (request.start === "nothing") return await this.#prepare(request);
        const prepared = this.#preparing.then(() => this.#prepare(request));
        this.#preparing = prepared.catch(() => undefined);
        return await prepared;
      }
      case "migrate":
        return await this.#inTurn(() => this.#migrate(request.bytes_per_s));
      case "protect":
        return await this.#inTurn(() => this.#protect(request.on));
      case "escrow":
        mayAnswerAnother(this.#shell);
        dispatch({ kind: "escrowReplaced", key: request.key });
        return null;
      default:
        return statusOf(state(), slot, Object.keys(config.peers) as Role[]);
    }
  }

  #inTurn(work: () => Promise<null>): Promise<null> {
    const answered = this.#asked.then(work);
    this.#asked = answered.catch(() => undefined);
    return answered;
  }

  async #migrate(bytes_per_s: number): Promise<null> {
    mayMigrate(this.#shell);
    await this.#refuseAPausedOne("migrated");
    // Looked at again: it may have become another one meanwhile.
    mayMigrate(this.#shell);
    this.#life.migrate_asked = true;
    this.#source.setRate(bytes_per_s);
    this.#shell.dispatch({ kind: "migrate" });
    return null;
  }

  async #protect(on: boolean): Promise<null> {
    const { state, dispatch } = this.#shell;
    if (on) {
      mayBeProtected(this.#shell);
      // One that is protected already is asked for nothing.
      if (!state().protect) await this.#refuseAPausedOne("protected");
      mayBeProtected(this.#shell);
    } else if (state().protect && state().vm === "running" && state().phase === "precopy")
      throw new UserError("the VM is being migrated: end its protection when that is over");
    dispatch({ kind: "protect", on });
    return null;
  }

  /** @throws UserError where somebody has paused the VM */
  async #refuseAPausedOne(to_be: string): Promise<void> {
    const { vm } = this.#shell.slot;
    const paused = vm === undefined ? undefined : await this.#taker.pausedByOthers(vm);
    if (paused !== undefined)
      throw new UserError(`the VM is paused (${paused}): let it run (\`cont\`) before it is ${to_be}`);
  }

  async #prepare(request: Extract<ControlRequest, { do: "prepare" }>): Promise<unknown> {
    const { slot, output } = this.#shell;
    mayBePrepared(this.#shell, request.start);
    this.#describe(request.machine);
    if (request.start === "nothing") return null;
    if (request.start === "adopt") {
      const vm = await slot.take(request.folder ?? "");
      if (vm === undefined)
        throw new UserError(`there is no QEMU in ${request.folder ?? "no folder"} that could be adopted`);
      output.followFromNow(vm.folder);
      return { pid: vm.pid };
    }
    const vm = await slot.start(request.machine, request.start);
    if (request.start === "boot") output.follow(vm.folder);
    this.#describe(request.machine);
    return { pid: vm.pid };
  }
}

/** @throws UserError with what has to be done first */
function mayMigrate(shell: Shell): void {
  const { config, slot, state } = shell;
  if (config.role !== "source") throw new UserError("a migration is asked of the source's agent");
  if (slot.vm === undefined) throw new UserError("there is no VM here that could be migrated");
  if (state().protect) mayLeave(shell);
  else if (state().promised.generation !== 0)
    throw new UserError(
      "these agents have carried this VM before: let other ones adopt it (`prepare`, start: adopt) to migrate it again",
    );
}

/** What this host's QEMU is to be: never another one beside, or in place of, the VM. @throws UserError with what has to be done first */
function mayBePrepared({ config, slot, state }: Shell, start: "boot" | "incoming" | "adopt" | "nothing"): void {
  // What is to run here if it comes to that: known again after the host was down, it starts and ends nothing.
  if (start === "nothing") return;
  const { promised, vm } = state();
  if (config.role === "escrow") throw new UserError("the escrow has no VM: a QEMU is started on source or target");
  if (start !== "incoming") {
    if (config.role === "target") throw new UserError("a VM begins on the source: a QEMU of the target's waits for it");
    if (promised.generation !== 0)
      throw new UserError(
        "these agents have a VM already, which may run at any moment: another one takes other agents",
      );
  }
  // One that waits for a stream, and that nobody has joined, has nothing in it; else memory may be on its way into its file.
  const free = vm === "none" || vm === "gone";
  const unused = slot.as === "incoming" && start === "incoming" && free;
  if (start === "incoming" && !free && config.role === "target")
    throw new UserError(`the VM comes to this host, or is made again on it (${vm}): ask again when that is over`);
  if (slot.as !== "none" && !unused)
    throw new UserError(`this host has a QEMU already (${slot.as}), which has the VM, or may get it: end that first`);
}

/** A VM that is protected where it runs, and is to migrate. @throws UserError with what has to be done first */
function mayLeave({ config, state }: Shell): void {
  const { phase, tx, opened, base } = state();
  if (config.switchover_by !== "agent")
    throw new UserError(
      "a VM that is protected where it runs migrates by the agents alone: set switchover_by to agent, or end its protection first (`protect`, on: false)",
    );
  if (phase !== "idle") throw new UserError("the VM is being migrated already");
  if (base !== "held" || tx.protectedIn !== opened.generation)
    throw new UserError("the protection of the VM is asked for and not on yet: ask for the migration when it is");
}

/** Another escrow is to have the place of one that is gone. @throws UserError with what has to be done first */
function mayAnswerAnother({ config, state }: Shell): void {
  if (config.role === "escrow")
    throw new UserError("the escrow is told by its own configuration who it is: ask the agent of the VM's host");
  if (mayReplaceEscrow(state())) return;
  if (config.unprotected === "hold")
    throw new UserError(
      "output is held back while the escrow is gone, so the VM is never unprotected: another escrow cannot be let in (`unprotected: go` can)",
    );
  throw new UserError(
    "another escrow is let in by the agent that has the VM, whole, while it is unprotected: that is so a moment after the escrow was lost",
  );
}

/** @throws UserError with what has to be done first */
function mayBeProtected({ config, slot, state }: Shell): void {
  const { vm, phase } = state();
  const others = (["source", "target", "escrow"] as const).filter((role) => role !== config.role);
  if (config.role === "escrow")
    throw new UserError("the escrow has no VM: ask the agent of the host that the VM runs on for its protection");
  if (slot.vm === undefined || vm !== "running") throw new UserError("there is no VM here that could be protected");
  if (others.some((role) => config.peers[role] === undefined))
    throw new UserError("protection takes three hosts: with two, a dead host cannot be told from a cut link");
  const silent = others.filter((role) => !hears(state(), role));
  if (silent.length > 0)
    throw new UserError(
      `protection takes three hosts, and ${silent.join(" and ")} cannot be heard: two cannot tell a dead host from a cut link`,
    );
  if (phase !== "idle" && phase !== "completed")
    throw new UserError("the VM is being migrated, which has a protection of its own: ask again when that is over");
}
