import type { QmpClient } from "../../qemu/qmp.ts";

/** The monitors that are needed: one to tell QEMU with, one that hears what others have told it. */
export interface Monitored {
  readonly control: Pick<QmpClient, "execute">;
  readonly watch: Pick<QmpClient, "execute" | "on">;
}

const TRIES = 3;

/**
 * Looks at a VM while it stands still: stops it where it runs, and lets it run again afterwards. Somebody else may let it run
 * meanwhile (an agent that has come back finds a VM that stands still, and takes it for one that it had stopped itself):
 * what was seen then is of no one moment, and is looked at again.
 * @throws Error where it was let run each time
 */
export async function whileStill<T>({ control, watch }: Monitored, look: () => Promise<T>): Promise<T> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const { running } = await control.execute("query-status");
    if (running) await control.execute("stop");
    // Events come before the answer to what was asked after them.
    await watch.execute("query-status");
    let disturbed = false;
    const stopListening = watch.on(({ kind }) => {
      if (kind === "resume") disturbed = true;
    });
    try {
      const seen = await look();
      await watch.execute("query-status");
      if (!disturbed) return seen;
    } finally {
      stopListening();
      if (running) await control.execute("cont");
    }
  }
  throw new Error(`somebody let the VM run each of ${TRIES} times that it was to be looked at while it stands still`);
}
