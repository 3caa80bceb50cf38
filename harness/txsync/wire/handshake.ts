import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import type { Role } from "../core/index.ts";
import { type Frame, WireError } from "./frame.ts";

/**
 * Two agents prove to each other that they know the migration's secret, and agree on a key for each direction:
 *
 *     hello: role, migration, nonce   ->      <- hello
 *     auth: HMAC(secret, "auth" roles nonces) ->   <- auth
 *
 * The proof names who speaks to whom, and which of them made the connection: it cannot be reflected, nor can two
 * connections that both were made be joined in the middle. The nonces are fresh, so it cannot be replayed, and the keys
 * derived from them are of this connection alone (HKDF-SHA256, RFC 5869).
 */
export const SECRET_BYTES = 32;
const NONCE_BYTES = 32;
const MIGRATION_BYTES = 16;
const ROLES: readonly Role[] = ["source", "target", "escrow"];

/**
 * The secret of the connections with an escrow that came in another one's place: whoever had that place before knows the
 * migration's secret too, and not this one's key.
 */
export function secretWith(secret: Buffer, key: string): Buffer {
  return createHmac("sha256", secret).update(`ferryman txsync escrow ${key}`).digest();
}

/** Who made the connection, and who took it. */
export type Side = "initiator" | "acceptor";

export interface HandshakeOptions {
  readonly role: Role;
  /** Which of the two we are. */
  readonly side: Side;
  /** Whom we expect, where that is known: whoever connects knows, whoever accepts learns. */
  readonly peer?: Role;
  /** What whoever says to have that role has to know. */
  readonly secretOf: (peer: Role) => Buffer;
  /** 16 bytes that name the migration; an agent of another one is refused at once. */
  readonly migration: Buffer;
  /** For tests. */
  readonly nonce?: Buffer;
}

export interface Session {
  readonly peer: Role;
  readonly sendKey: Buffer;
  readonly receiveKey: Buffer;
}

interface Party {
  readonly role: Role;
  readonly side: Side;
  readonly nonce: Buffer;
}

export class Handshake {
  readonly #options: HandshakeOptions;
  readonly #nonce: Buffer;
  #peer: Party | null = null;
  #done = false;

  constructor(options: HandshakeOptions) {
    if (options.migration.length !== MIGRATION_BYTES)
      throw new RangeError(`a migration's name has ${MIGRATION_BYTES} bytes`);
    this.#options = options;
    this.#nonce = options.nonce ?? randomBytes(NONCE_BYTES);
  }

  /** Payload of our `hello`, sent at once. */
  hello(): Buffer {
    return Buffer.concat([Buffer.from([ROLES.indexOf(this.#options.role)]), this.#options.migration, this.#nonce]);
  }

  /**
   * Takes the peer's `hello`, then its `auth`.
   * @returns the payload of our `auth`, then the session: secure the encoder after sending `auth`, the decoder now.
   * @throws WireError when the peer is not who it should be.
   */
  receive(frame: Frame): { readonly auth: Buffer } | { readonly session: Session } {
    if (this.#done) throw new WireError("a second handshake", 0);
    if (this.#peer === null) {
      if (frame.type !== "hello") throw new WireError(`${frame.type} instead of hello`, 0);
      this.#peer = this.#readHello(frame.payload);
      return { auth: this.#proof(this.#ours(), this.#peer) };
    }
    if (frame.type !== "auth") throw new WireError(`${frame.type} instead of auth`, 0);
    const { role } = this.#peer;
    const expected = this.#proof(this.#peer, this.#ours());
    if (frame.payload.length !== expected.length || !timingSafeEqual(frame.payload, expected)) {
      throw new WireError(`whoever says to be ${role} does not know the secret`, 0);
    }
    this.#done = true;
    return {
      session: {
        peer: role,
        sendKey: this.#key(this.#ours(), this.#peer),
        receiveKey: this.#key(this.#peer, this.#ours()),
      },
    };
  }

  get #secret(): Buffer {
    if (this.#peer === null) throw new WireError("nobody has said who speaks", 0);
    const secret = this.#options.secretOf(this.#peer.role);
    if (secret.length !== SECRET_BYTES) throw new RangeError(`a secret has ${SECRET_BYTES} bytes`);
    return secret;
  }

  #ours(): Party {
    const { role, side } = this.#options;
    return { role, side, nonce: this.#nonce };
  }

  #readHello(payload: Buffer): Party {
    if (payload.length !== 1 + MIGRATION_BYTES + NONCE_BYTES) throw new WireError("a hello of a wrong length", 0);
    const role = ROLES[payload.readUInt8(0)];
    if (role === undefined || role === this.#options.role) throw new WireError("a hello of a wrong role", 0);
    if (this.#options.peer !== undefined && role !== this.#options.peer) {
      throw new WireError(`${role} answers where ${this.#options.peer} should be`, 0);
    }
    if (!payload.subarray(1, 1 + MIGRATION_BYTES).equals(this.#options.migration)) {
      throw new WireError(`${role} belongs to another migration`, 0);
    }
    const side = this.#options.side === "initiator" ? "acceptor" : "initiator";
    return { role, side, nonce: Buffer.from(payload.subarray(1 + MIGRATION_BYTES)) };
  }

  #context(from: Party, to: Party): Buffer {
    const head = Buffer.of(ROLES.indexOf(from.role), ROLES.indexOf(to.role), from.side === "initiator" ? 1 : 0);
    return Buffer.concat([head, this.#options.migration, from.nonce, to.nonce]);
  }

  #proof(from: Party, to: Party): Buffer {
    const hmac = createHmac("sha256", this.#secret).update("ferryman txsync auth 2");
    return hmac.update(this.#context(from, to)).digest();
  }

  #key(from: Party, to: Party): Buffer {
    const info = this.#context(from, to);
    return Buffer.from(hkdfSync("sha256", this.#secret, "ferryman txsync key 2", info, 32));
  }
}
