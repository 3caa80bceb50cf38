import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import type { Role } from "../core/index.ts";
import { type Frame, WireError } from "./frame.ts";

/**
 * Two agents prove to each other that they know the migration's secret, and agree on a key for each direction:
 *
 *     hello: role, migration, nonce   ->      <- hello
 *     auth: HMAC(secret, "auth" roles nonces) ->   <- auth
 *
 * The proof names who speaks to whom, so it cannot be reflected; the nonces are fresh, so it cannot be replayed, and
 * the keys derived from them are of this connection alone (HKDF-SHA256, RFC 5869).
 */
export const SECRET_BYTES = 32;
const NONCE_BYTES = 32;
const MIGRATION_BYTES = 16;
const ROLES: readonly Role[] = ["source", "target", "escrow"];

export interface HandshakeOptions {
  readonly role: Role;
  /** Whom we expect, where that is known: whoever connects knows, whoever accepts learns. */
  readonly peer?: Role;
  readonly secret: Buffer;
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

export class Handshake {
  readonly #options: HandshakeOptions;
  readonly #nonce: Buffer;
  #peer: { readonly role: Role; readonly nonce: Buffer } | null = null;
  #done = false;

  constructor(options: HandshakeOptions) {
    if (options.secret.length !== SECRET_BYTES) throw new RangeError(`a secret has ${SECRET_BYTES} bytes`);
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
      return { auth: this.#proof(this.#options.role, this.#nonce, this.#peer.role, this.#peer.nonce) };
    }
    if (frame.type !== "auth") throw new WireError(`${frame.type} instead of auth`, 0);
    const { role, nonce } = this.#peer;
    const expected = this.#proof(role, nonce, this.#options.role, this.#nonce);
    if (frame.payload.length !== expected.length || !timingSafeEqual(frame.payload, expected)) {
      throw new WireError(`whoever says to be ${role} does not know the secret`, 0);
    }
    this.#done = true;
    return {
      session: {
        peer: role,
        sendKey: this.#key(this.#options.role, this.#nonce, role, nonce),
        receiveKey: this.#key(role, nonce, this.#options.role, this.#nonce),
      },
    };
  }

  #readHello(payload: Buffer): { role: Role; nonce: Buffer } {
    if (payload.length !== 1 + MIGRATION_BYTES + NONCE_BYTES) throw new WireError("a hello of a wrong length", 0);
    const role = ROLES[payload.readUInt8(0)];
    if (role === undefined || role === this.#options.role) throw new WireError("a hello of a wrong role", 0);
    if (this.#options.peer !== undefined && role !== this.#options.peer) {
      throw new WireError(`${role} answers where ${this.#options.peer} should be`, 0);
    }
    if (!payload.subarray(1, 1 + MIGRATION_BYTES).equals(this.#options.migration)) {
      throw new WireError(`${role} belongs to another migration`, 0);
    }
    return { role, nonce: Buffer.from(payload.subarray(1 + MIGRATION_BYTES)) };
  }

  #context(from: Role, fromNonce: Buffer, to: Role, toNonce: Buffer): Buffer {
    const roles = Buffer.from([ROLES.indexOf(from), ROLES.indexOf(to)]);
    return Buffer.concat([roles, this.#options.migration, fromNonce, toNonce]);
  }

  #proof(from: Role, fromNonce: Buffer, to: Role, toNonce: Buffer): Buffer {
    const hmac = createHmac("sha256", this.#options.secret).update("ferryman txsync auth 1");
    return hmac.update(this.#context(from, fromNonce, to, toNonce)).digest();
  }

  #key(from: Role, fromNonce: Buffer, to: Role, toNonce: Buffer): Buffer {
    const info = this.#context(from, fromNonce, to, toNonce);
    return Buffer.from(hkdfSync("sha256", this.#options.secret, "ferryman txsync key 1", info, 32));
  }
}
