import type { GuestKind } from "../../base/run-record.ts";
import type { GuestUnderTest } from "./guest.ts";
import { type GuestSettings, IntegrityGuest } from "./integrity.ts";
import { LinuxGuest } from "./linux.ts";

export function makeGuest(kind: GuestKind, settings: GuestSettings): GuestUnderTest {
  return kind === "integrity" ? new IntegrityGuest(settings) : new LinuxGuest(settings);
}
