import { frameNumber } from "../index.ts";
import { Trio } from "./trio.ts";

/** The source's VM is to be protected where it runs, and the escrow has been told of its memory. */
export function protectionAsked(): Trio {
  const trio = new Trio();
  trio.beat(2);
  trio.event("source", { kind: "protect", on: true });
  trio.event("source", { kind: "output", upTo: frameNumber(2) });
  trio.event("escrow", { kind: "baseOffered", from: "source" });
  return trio;
}

/** The escrow has all of the memory that it was told of, and everybody has heard of it. */
export function baseCopied(trio: Trio): Trio {
  trio.event("escrow", { kind: "baseComplete", complete: true });
  trio.event("source", { kind: "baseCovered", covered: true });
  trio.beat(3);
  return trio;
}

/** The source's VM is protected where it runs. */
export const protectedAtSource = (): Trio => baseCopied(protectionAsked());
