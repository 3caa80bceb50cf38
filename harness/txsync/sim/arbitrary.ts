import fc from "fast-check";
import { type Fault, PAIRS, ROLES, type Schedule, TRIGGERS, type When } from "./schedule.ts";

/** Schedules for fast-check, which shrinks a failing one: fewer faults, earlier, shorter. */
const when: fc.Arbitrary<When> = fc.oneof(
  fc.record({ at_ms: fc.integer({ min: 0, max: 1400 }) }),
  fc
    .record({
      trigger: fc.constantFrom(...TRIGGERS),
      count: fc.integer({ min: 1, max: 12 }),
      plus_ms: fc.integer({ min: 0, max: 20 }),
    })
    .map(({ trigger: [after, by], count, plus_ms }): When => ({ after, by, count, plus_ms })),
);

const role = fc.constantFrom(...ROLES);
const for_ms = fc.integer({ min: 20, max: 1500 });
const orForGood = fc.option(for_ms, { nil: null, freq: 4 });

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    kind: fc.constant("cut" as const),
    pair: fc.constantFrom(...PAIRS),
    direction: fc.constantFrom("both" as const, "forward" as const, "backward" as const),
    for_ms: orForGood,
    when,
  }),
  fc.record({ kind: fc.constant("crash-agent" as const), role, for_ms: orForGood, when }),
  fc.record({ kind: fc.constant("kill-host" as const), role, when }),
  fc.record({ kind: fc.constant("reboot-host" as const), role, for_ms, when }),
  fc.record({ kind: fc.constant("freeze-host" as const), role, for_ms, when }),
  fc.record({
    kind: fc.constant("kill-qemu" as const),
    role: fc.constantFrom("target" as const, "source" as const),
    when,
  }),
);

export const schedules: fc.Arbitrary<Schedule> = fc.record({
  seed: fc.nat(),
  durability: fc.constantFrom("host" as const, "process" as const),
  logSync: fc.constantFrom("memory" as const, "disk" as const),
  pageRate: fc.constantFrom(6, 12, 25),
  nervous: fc.boolean(),
  faults: fc.array(fault, { maxLength: 4 }),
});
