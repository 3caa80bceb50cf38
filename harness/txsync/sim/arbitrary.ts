import fc from "fast-check";
import { type Fault, LARGE, PAIRS, ROLES, type Schedule, SMALL, TRIGGERS, type When } from "./schedule.ts";

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
const some_ms = fc.integer({ min: 20, max: 900 });
const is = <K extends Fault["kind"]>(kind: K): fc.Arbitrary<K> => fc.constant(kind);

const fault: fc.Arbitrary<Fault> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: is("cut"),
      pair: fc.constantFrom(...PAIRS),
      direction: fc.constantFrom("both" as const, "forward" as const, "backward" as const),
      for_ms: orForGood,
      when,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: is("crash-agent"), role, for_ms: orForGood, when }) },
  fc.record({ kind: is("kill-host"), role, when }),
  fc.record({ kind: is("reboot-host"), role, for_ms, when }),
  fc.record({ kind: is("freeze-host"), role, for_ms, when }),
  fc.record({ kind: is("kill-qemu"), role: fc.constantFrom("target" as const, "source" as const), when }),
  fc.record({ kind: is("busy"), role, for_ms, late_ms: some_ms, when }),
  fc.record({ kind: is("slow-takes"), for_ms, take_ms: some_ms, when }),
  fc.record({ kind: is("failing-takes"), for_ms, when }),
  fc.record({ kind: is("untrackable"), for_ms: orForGood, when }),
  fc.record({ kind: is("slow-store"), for_ms, store_ms: some_ms, when }),
  fc.record({ kind: is("full-disk"), for_ms, when }),
  fc.record({ kind: is("fsync-error"), role, for_ms, when }),
  fc.record({ kind: is("lose-tail"), records: fc.integer({ min: 1, max: 3 }), for_ms, when }),
  fc.record({ kind: is("slow-run"), for_ms, run_ms: some_ms, when }),
  fc.record({ kind: is("failing-run"), for_ms, when }),
  fc.record({
    kind: is("delay"),
    by: role,
    message: fc.constantFrom("append" as const, "appended" as const, "promise" as const, "ask" as const),
    times: fc.integer({ min: 1, max: 3 }),
    delay_ms: some_ms,
    when,
  }),
);

export const schedules: fc.Arbitrary<Schedule> = fc.record({
  seed: fc.nat(),
  durability: fc.constantFrom("host" as const, "process" as const),
  logSync: fc.constantFrom("memory" as const, "disk" as const),
  pageRate: fc.constantFrom(2, 6, 12, 25),
  size: fc.constantFrom(SMALL, LARGE),
  nervous: fc.boolean(),
  faults: fc.array(fault, { maxLength: 4 }),
});
