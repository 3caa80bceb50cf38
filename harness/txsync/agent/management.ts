import { UserError } from "../../base/errors.ts";
import type { Role } from "../core/index.ts";
import type { ControlRequest } from "./control.ts";
import type { Machine } from "./machine.ts";
import type { Shell } from "./shell.ts";
import type { SourceSide } from "./source-side.ts";
import { statusOf } from "./status.ts";
import type { VmLife } from "./vm-life.ts";

/** Answers whoever manages the agent. */
export class Management {
  readonly #shell: Shell;
  readonly #source: SourceSide;
  readonly #life: VmLife;
  readonly #describe: (machine: Machine) => void;

  /** @param describe remembers what machine is to run here */
  constructor(shell: Shell, source: SourceSide, life: VmLife, describe: (machine: Machine) => void) {
    this.#shell = shell;
    this.#source = source;
    this.#life = life;
    this.#describe = describe;
  }

  /** @throws UserError with what is wrong with the request */
  async answer(request: ControlRequest): Promise<unknown> {
    const { slot, output, config, dispatch, state } = this.#shell;
    switch (request.do) {
      case "prepare": {
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
      case "migrate":
        if (config.role !== "source") throw new UserError("a migration is asked of the source's agent");
        if (slot.vm === undefined) throw new UserError("there is no VM here that could be migrated");
        this.#life.migrate_asked = true;
        this.#source.setRate(request.bytes_per_s);
        dispatch({ kind: "migrate" });
        return null;
      default:
        return statusOf(state(), slot, Object.keys(config.peers) as Role[]);
    }
  }
}
