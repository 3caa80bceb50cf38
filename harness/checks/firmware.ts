import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const block = z.object({ name: z.string(), bytes: z.number().nonnegative(), sha256: z.string() });
/** A RAM block that is no memory of the guest's own, by its digest. */
export type FirmwareBlock = Readonly<z.infer<typeof block>>;

const firmwareSchema = z.object({ before: z.array(block).readonly(), after: z.array(block).readonly() });
export type FirmwareFindings = Readonly<z.infer<typeof firmwareSchema>>;

export const firmwareBlocks = finding({
  name: "firmware",
  stage: "quiet",
  schema: firmwareSchema,
  look: async ({ vm, firmware }) => (vm === undefined ? undefined : await firmware?.(vm)),
});

/**
 * Firmware, option ROMs and ACPI tables of a VM that was restored are those of the VM that left. Its QEMU came up with
 * blocks of its own making, which mostly do as well: a guest that does not look at them again never tells the difference.
 */
export const firmware: Check = {
  name: "firmware",
  false_means: "corrupt",
  needs: [firmwareBlocks],
  applies: ({ events, evidence }) =>
    evidence.gated &&
    events.some(({ kind }) => kind === "restore.running") &&
    firmwareBlocks.of(evidence).state !== "absent",
  judge: ({ evidence: seen }) =>
    judged(firmwareBlocks.of(seen), ({ before, after }) => {
      if (before.length === 0) return { verdict: "unknown", summary: "the VM has no such block" };
      const wrong = before.filter(({ name, bytes, sha256 }) => {
        const now = after.find((one) => one.name === name);
        return now?.bytes !== bytes || now.sha256 !== sha256;
      });
      const names = wrong.map(({ name }) => name).join(", ");
      return wrong.length === 0
        ? { verdict: true, summary: `${before.length} blocks of firmware are those of the VM that left` }
        : {
            verdict: false,
            summary: `${wrong.length} of ${before.length} blocks of firmware are not those of the VM that left: ${names}`,
            evidence: { before: before.map((one) => ({ ...one })), after: after.map((one) => ({ ...one })) },
          };
    }),
};
