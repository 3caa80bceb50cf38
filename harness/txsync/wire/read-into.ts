import { Socket } from "node:net";

/**
 * Reads what comes on an accepted connection into one buffer, again and again: Node otherwise makes a new one of 64 KiB for
 * each read, and throwing those away costs more than all that is done with what is in them (0.6 s of a processor a GiB).
 * Node has this (`onread`) for sockets that are made and not for accepted ones; so one is made around the handle of the
 * accepted one, as Node does itself. Where there is no such handle it is read as ever.
 *
 * @param accepted by a server that leaves them paused (`pauseOnConnect`); not to be used any more
 * @param buffer may be shared by connections that are read in one thread
 * @param onBytes what has come; the bytes stay as they are until it returns
 * @returns the socket to be used in its place; it reads already
 */
export function readInto(accepted: Socket, buffer: Buffer, onBytes: (bytes: Buffer) => void): Socket {
  const inner = accepted as unknown as { _handle?: object | null };
  const handle = inner._handle;
  if (typeof handle !== "object" || handle === null) {
    accepted.on("data", onBytes);
    accepted.resume();
    return accepted;
  }
  // The accepted one ends without its handle, which lives on in the other.
  inner._handle = null;
  accepted.on("error", () => undefined);
  accepted.destroy();
  const onread = {
    buffer,
    callback: (bytes: number): boolean => {
      onBytes(buffer.subarray(0, bytes));
      return true;
    },
  };
  const options = { handle, readable: true, writable: true, onread };
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  // It begins to read, and ends when the other end does.
  socket.read(0);
  socket.resume();
  return socket;
}
