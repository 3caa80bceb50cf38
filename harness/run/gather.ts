import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import type { Emit, HostRole } from "../base/timeline.ts";
import type { ProgressSample } from "../checks/evidence.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import type { PagesSeen } from "./movement.ts";

/**
 * How long the owner is watched before it is said to stand still; it is left as soon as it has moved. It has all its
 * memory, or nobody who could give it: a step takes as long for a large guest as for a small one.
 */
const WATCH_OWNER_MS = 6_000;
const LOOK_EVERY_MS = 50;

/**
 * Watches every instance that is there for progress. One that moves is seen within a few looks; that one stands
 * still is said only after the whole watch. Each step that is seen goes onto the timeline: when which instance ran is
 * told from there.
 */
export async function watchProgress(
  guest: GuestUnderTest,
  instances: readonly { readonly host: HostRole; readonly vm: StartedVm | undefined }[],
  owner: HostRole | "none",
  emit: Emit,
): Promise<readonly ProgressSample[]> {
  return Promise.all(
    instances.map(async ({ host, vm }): Promise<ProgressSample> => {
      if (vm === undefined || !vm.alive) return { host, before: undefined, after: undefined, watched_ms: 0 };
      const started_ms = performance.now();
      const watched = (): number => Math.round(performance.now() - started_ms);
      const watch_ms = host === owner ? WATCH_OWNER_MS : guest.still_after_ms;
      let failed: string | undefined;
      let seen = false;
      let before: number | undefined;
      let last: number | undefined;
      const look = async (): Promise<number | undefined> => {
        try {
          // What stands still does not move, whatever becomes of its memory.
          if (!vm.running && before !== undefined) return before;
          const step = await guest.steps(vm);
          seen = true;
          if (step !== undefined && step !== last) emit(host, { kind: "guest.progress", host, cpu: 0, step });
          last = step ?? last;
          return step;
        } catch (error) {
          failed = messageOf(error).split("\n")[0];
          return undefined;
        }
      };
      before = await look();
      let after = before;
      while (watched() < watch_ms) {
        await delay(LOOK_EVERY_MS);
        after = (await look()) ?? after;
        // A guest that tells its steps now and then may have told none yet when the watch began.
        before ??= after;
        if (host === owner && before !== undefined && after !== undefined && after > before) break;
      }
      const hidden = seen || failed === undefined || !vm.alive ? {} : { failed };
      return { host, before, after, watched_ms: watched(), ...hidden };
    }),
  );
}

/** Why nobody looks at a VM that lacks pages: nothing that is found there says that anything is wrong. */
export function stillArriving({ arrived, total }: PagesSeen): string {
  return `still arriving: ${arrived} of ${total} pages had come when the wait was given up`;
}
