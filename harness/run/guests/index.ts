import type { GuestKind } from "../../base/run-record.ts";
import { CustomGuest } from "../custom/custom-guest.ts";
import type { GuestUnderTest, OwnGuest } from "./guest.ts";
import { type GuestSettings, IntegrityGuest } from "./integrity.ts";
import { LinuxGuest } from "./linux.ts";
import { adopted } from "./own.ts";

/** One of ours by its name, or an object of somebody else's. */
export type Guest = GuestKind | OwnGuest;

const GUESTS: { readonly [Kind in GuestKind]: (settings: GuestSettings) => GuestUnderTest } = {
  integrity: (settings) => new IntegrityGuest(settings),
  linux: (settings) => new LinuxGuest(settings),
  custom: (settings) => new CustomGuest(settings),
};
export const GUEST_KINDS = Object.keys(GUESTS) as readonly GuestKind[];

export function makeGuest(guest: Guest, settings: GuestSettings): GuestUnderTest {
  return typeof guest === "string" ? GUESTS[guest](settings) : adopted(guest, settings);
}

/** What it is called, in records and tables. */
export function guestName(guest: Guest): string {
  return typeof guest === "string" ? guest : guest.kind;
}
