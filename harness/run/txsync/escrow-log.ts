import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { messageOf } from "../../base/errors.ts";
import { chunksOf } from "../../base/patience.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { RunContext } from "../recovery.ts";

/** The escrow's transaction log, for `ferryman log`; where there is none, no escrow any more, or nobody wants it, nothing is kept. */
export async function keepEscrowLog({ fleet, folder, looking, request, timeline }: RunContext): Promise<void> {
  if (request.keep_log === false) return;
  try {
    const escrow = fleet.host("escrow");
    if (!escrow.up) return;
    const names = (await escrow.run(`cd ${AGENT_FILES.memory_folder}-1/log && ls`)).trim().split("\n");
    const kept = join(folder, "escrow-log");
    mkdirSync(kept, { recursive: true });
    for (const name of names) {
      const path = `${AGENT_FILES.memory_folder}-1/log/${name}`;
      const what = `the escrow's ${name} to be read`;
      await pipeline(chunksOf(await escrow.readFile(path), { what, ...looking }), createWriteStream(join(kept, name)));
    }
  } catch (error) {
    timeline.emit("run", { kind: "run.note", text: `the escrow's log was not kept: ${messageOf(error)}` });
  }
}
