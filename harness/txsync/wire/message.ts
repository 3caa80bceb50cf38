import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import type { Message } from "../core/index.ts";
import { WireError } from "./frame.ts";

/**
 * Messages of the core as payloads of `message` frames: u32 length of the JSON, JSON, body. The body is the bytes of a
 * `package`, which the core never sees; a record's bytes go as data (pages/record-frames.ts). Every field is checked,
 * unknown ones are refused.
 */
const JSON_MAX = 16 * 1024;
/** Of a package: what is longer does not travel in a message. */
export const BODY_MAX = 8 * 2 ** 20;

const count = z.int().min(0);
const mode = z.enum(["protected", "claim", "unprotected", "final"]);
const role = z.enum(["source", "target", "escrow"]);
const descriptor = z.strictObject({
  generation: count,
  owner: role.exclude(["escrow"]),
  mode,
  validFrom: count,
  basis: z.strictObject({ claim: count, n: count }).nullable(),
});
const log = z.strictObject({ last: count, generation: count, mark: count, acked: count }).nullable();
const committed = z.int().min(-1).nullable();
const status = z.strictObject({
  incarnation: count,
  at_ms: z.number(),
  promised: descriptor,
  opened: descriptor,
  vm: z.enum(["none", "incoming", "loading", "running", "restoring", "ready", "gone"]),
  well: z.boolean(),
  committed,
  log,
  storing: z.strictObject({ generation: count, n: count }).nullable(),
  hearsSource: z.boolean(),
  hearsTarget: z.boolean(),
  hearsEscrow: z.boolean(),
  baseComplete: z.boolean(),
  hasBase: z.boolean(),
  phase: z.enum([
    "idle",
    "precopy",
    "switchover",
    "draining",
    "handoff",
    "completed",
    "closed-out",
    "lost",
    "watching",
  ]),
  escrow: z.string().max(64).nullable(),
});
const refusal = z.enum([
  "promised-higher",
  "busy",
  "belongs-to-another",
  "just-started",
  "hears-owner",
  "stale",
  "log-cannot-restore",
  "restored-too-old",
]);

const schema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("ping"), sent_ms: z.number(), status }),
  z.strictObject({ kind: z.literal("pong"), echo_ms: z.number(), status }),
  z.strictObject({ kind: z.literal("ask"), pre: z.boolean(), descriptor, attempt: z.number().min(0) }),
  z.strictObject({ kind: z.literal("promise"), pre: z.boolean(), descriptor, status }),
  z.strictObject({ kind: z.literal("refuse"), pre: z.boolean(), descriptor, promised: descriptor, why: refusal }),
  z.strictObject({ kind: z.literal("package"), descriptor, n: count, mark: count, acked: count }),
  z.strictObject({
    kind: z.literal("append"),
    generation: count,
    n: count,
    since: z.union([count, z.literal("base")]),
    mark: count,
    acked: count,
  }),
  z.strictObject({ kind: z.literal("appended"), generation: count, n: count, status }),
  z.strictObject({
    kind: z.literal("append-refused"),
    generation: count,
    n: count,
    promised: descriptor,
    log,
    why: z.enum(["generation", "gap", "violation", "cannot-store"]),
  }),
  z.strictObject({ kind: z.literal("join"), attempt: z.number().min(0) }),
  z.strictObject({ kind: z.literal("joined"), attempt: z.number().min(0), status }),
  z.strictObject({ kind: z.literal("cancel"), attempt: z.number().min(0) }),
]);

/** The pieces of a payload. Only a `package` has a body. */
export function encodeMessage(message: Message, body: readonly Uint8Array[] = []): Uint8Array[] {
  const json = Buffer.from(JSON.stringify(message));
  if (json.length > JSON_MAX) throw new RangeError(`a message of ${json.length} bytes is longer than ${JSON_MAX}`);
  const body_bytes = body.reduce((sum, piece) => sum + piece.length, 0);
  if (body_bytes > BODY_MAX) {
    throw new RangeError(`the body of ${message.kind} has ${body_bytes} bytes, more than the ${BODY_MAX} of a message`);
  }
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32BE(json.length, 0);
  return [length, json, ...body];
}

/** @throws WireError when it is no message of this version; the offset is within the payload. */
export function decodeMessage(payload: Buffer): { readonly message: Message; readonly body: Buffer } {
  if (payload.length < 4) throw new WireError("a message without a length", 0);
  const length = payload.readUInt32BE(0);
  if (length > JSON_MAX || length > payload.length - 4) throw new WireError(`a message of ${length} bytes`, 0);
  let json: unknown;
  try {
    json = JSON.parse(payload.toString("utf8", 4, 4 + length));
  } catch (error) {
    throw new WireError(`a message that is no JSON (${messageOf(error)})`, 4);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new WireError(`a message that makes no sense (${z.prettifyError(parsed.error)})`, 4);
  const body = payload.subarray(4 + length);
  const { kind } = parsed.data;
  if (body.length > 0 && kind !== "package") throw new WireError(`a ${kind} with a body`, 4 + length);
  // The schema's numbers are the core's branded ones; nothing else differs.
  return { message: parsed.data as Message, body };
}
