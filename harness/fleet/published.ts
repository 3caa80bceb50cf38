import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { messageOf, UserError } from "../base/errors.ts";

/** The address of the engine's own machine for itself: ports that are bound to it are open to nobody else. */
const LOOPBACK = "127.0.0.1";
/** The port by which docker's clients know that it is TLS without being told. */
const TLS_PORT = "2376";

/**
 * The only address to which published ports are bound, and where they are reached: where the engine is. Not what
 * testcontainers takes for the engine's host: with a /.dockerenv on the machine that is the bridge's gateway, where nothing
 * of ours listens.
 *
 * Behind these ports are monitors, which ask nobody for anything, as an engine does not that answers over plain TCP: whoever
 * reaches the one there could have the other. One that is reached by TLS asks who comes: there it has to be said that they
 * may be open (FERRYMAN_OPEN_PORTS=1). Through ssh they are bound to that machine's loopback, and reached through it
 * (published-port.ts).
 * @throws UserError for an engine by TLS where that is not said, or a name that is no machine's
 */
export async function publishedOn(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  const { DOCKER_HOST: engine, DOCKER_TLS_VERIFY: tls, FERRYMAN_OPEN_PORTS: open } = environment;
  if (engine === undefined || engine === "" || !/^[a-z]+:\/\//.test(engine)) return LOOPBACK;
  if (!URL.canParse(engine)) throw new UserError(`DOCKER_HOST=${engine} is no address such as tcp://<machine>:2375.`);
  const { protocol, hostname, port } = new URL(engine);
  if (protocol === "unix:" || protocol === "npipe:" || protocol === "ssh:") return LOOPBACK;
  const host = hostname.replace(/^\[|\]$/g, "");
  const address = isIP(host) === 0 && host !== "" ? await addressOf(host, engine) : host;
  if (address === "::1" || address.startsWith("127.")) return LOOPBACK;
  const asks_nobody = protocol !== "https:" && port !== TLS_PORT && (tls === undefined || tls === "");
  if (asks_nobody || open === "1") return address;
  throw new UserError(
    `DOCKER_HOST=${engine}: the engine there asks who comes (TLS), the monitors behind the ports of Ferryman's containers would not. Reach it by DOCKER_HOST=ssh://<user>@${host}, or, where nobody else is in that network, say FERRYMAN_OPEN_PORTS=1.`,
  );
}

async function addressOf(host: string, engine: string): Promise<string> {
  try {
    return (await lookup(host, { family: 4 })).address;
  } catch (error) {
    throw new UserError(`DOCKER_HOST=${engine}: there is no machine ${host} (${messageOf(error)})`);
  }
}
