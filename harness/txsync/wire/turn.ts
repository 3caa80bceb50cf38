/** What is read of a connection in one go. */
export const READ_BYTES = 128 * 1024;
/**
 * After so much the others have their turn. Else Node reads on while more comes, some megabytes, which beside busy vCPUs takes
 * 300 ms, and a handshake or a record's pieces need many turns.
 */
const TURN_BYTES = 256 * 1024;

/** What was taken of one connection since it last had its turn. */
export class Turn {
  #bytes = 0;
  #over = false;

  /** @returns true, once, when the others have their turn */
  took(bytes: number): boolean {
    this.#bytes += bytes;
    if (this.#bytes < TURN_BYTES || this.#over) return false;
    this.#over = true;
    return true;
  }

  /** It is this one's again. */
  begin(): void {
    this.#over = false;
    this.#bytes = 0;
  }
}
