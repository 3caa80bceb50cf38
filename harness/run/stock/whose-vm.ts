import type { Settled } from "../settled.ts";

/**
 * Who has the VM when the target's QEMU has all of it. That says nothing of which one runs: libvirt's target stands until the
 * daemons have agreed, and where they cannot it is the source's VM that is let run again. A target that is held still has it too.
 */
export function afterCompletion(runs: { readonly source: boolean; readonly target: boolean }): Settled {
  return runs.source && !runs.target
    ? { owner: "source", how: "the migration completed, and the manager let the source's VM run again" }
    : { owner: "target", how: "the migration completed" };
}

/** @param passes_max after so many passes without an end the harness has it cancelled; undefined: it has not */
export function afterCancel(passes_max: number | undefined): Settled {
  const why =
    passes_max === undefined
      ? "the migration was cancelled before switchover"
      : `pre-copy came to no end in ${passes_max} passes: it was cancelled`;
  return { owner: "source", how: `${why}, the source runs on` };
}
