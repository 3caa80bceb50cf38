import * as z from "zod";
import { messageOf } from "../base/errors.ts";
import type { JsonValue } from "../base/timeline.ts";
import type { Evidence } from "./evidence.ts";
import type { View } from "./view.ts";

/** What the run tried to find out: it got it, it tried and failed, or there was nothing to look at. */
export type Gathered<T> =
  | { readonly state: "got"; readonly value: T }
  | { readonly state: "failed"; readonly why: string }
  | { readonly state: "absent"; readonly why: string };

/**
 * When something is looked at, in the order in which a run comes to it: while clients are still at work and it is watched
 * who moves; when they have stopped; after what the scenario does with the VM that has arrived; when the recovery has let
 * go of it and what is left is plain QEMU; at the very end, when nothing more is done with it; and when all hosts are gone.
 */
export const STAGES = ["watched", "quiet", "afterwards", "let-go", "end", "taken-down"] as const;
export type Stage = (typeof STAGES)[number];

/** One thing that a run finds out and writes down, brought by the check that judges it. */
export interface Finding<T> {
  /** Under which it stands in evidence.json. */
  readonly name: string;
  readonly stage: Stage;
  /** Whether there has to be a VM that may be looked at; where there is none it is absent, and why is said. */
  readonly of_vm: boolean;
  /** @returns undefined where there is no such thing in this run */
  look(view: View): Promise<T | undefined>;
  /** What was written down, read with its schema: what does not fit it was not found out. */
  of(evidence: Pick<Evidence, "findings">): Gathered<T>;
  /** As it is written down: fit for its schema, and not larger than a finding may be. */
  written(gathered: Gathered<T>): Gathered<JsonValue>;
}

/** JSON of one finding: digests and summaries of memory, not memory. */
export const FINDING_BYTES_MAX = 4 * 1024 ** 2;

export interface FindingOptions<T> extends Pick<Finding<T>, "name" | "stage" | "look"> {
  readonly schema: z.ZodType<T>;
  /** Default true. */
  readonly of_vm?: boolean;
}

export function finding<T>({ name, stage, look, schema, of_vm = true }: FindingOptions<T>): Finding<T> {
  const fitting = (value: unknown, where: string): Gathered<T> => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return { state: "got", value: parsed.data };
    const [issue] = parsed.error.issues;
    const place = [name, ...(issue?.path ?? [])].map(String).join(".");
    return { state: "failed", why: `${where}: ${place}: ${issue?.message ?? "it does not fit"}` };
  };
  return {
    name,
    stage,
    of_vm,
    look,
    of({ findings }) {
      const written = findings[name];
      if (written === undefined) return { state: "absent", why: "this run did not look at it" };
      return written.state === "got" ? fitting(written.value, "what was written down is no such finding") : written;
    },
    written(gathered) {
      if (gathered.state !== "got") return gathered;
      const fits = fitting(gathered.value, "what was found cannot be written down");
      if (fits.state !== "got") return fits;
      let text: string;
      try {
        text = JSON.stringify(fits.value);
      } catch (error) {
        return { state: "failed", why: `${name} is no JSON: ${messageOf(error)}` };
      }
      if (text.length > FINDING_BYTES_MAX)
        return { state: "failed", why: `${name} is ${text.length} bytes, more than ${FINDING_BYTES_MAX} are not kept` };
      return { state: "got", value: JSON.parse(text) as JsonValue };
    },
  };
}

/** Runs one look; what goes wrong with the looking is evidence too. */
export async function gather<T>(look: () => Promise<T | undefined>): Promise<Gathered<T>> {
  try {
    const value = await look();
    return value === undefined ? { state: "absent", why: "this guest has no such thing" } : { state: "got", value };
  } catch (error) {
    return { state: "failed", why: messageOf(error) };
  }
}

const json: z.ZodType<JsonValue> = z.json();

/** Schema of what `Gathered` is on disk. */
export const gatheredSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("got"), value: json }),
  z.object({ state: z.literal("failed"), why: z.string() }),
  z.object({ state: z.literal("absent"), why: z.string() }),
]);
