import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { messageOf, UserError } from "../base/errors.ts";

/** The address of this machine's own engine: its ports are open to nobody else. */
const LOOPBACK = "127.0.0.1";

/**
 * The only address to which published ports are bound, and where they are reached: where the engine is. Not what
 * testcontainers takes for the engine's host: with a /.dockerenv on the machine that is the bridge's gateway, where nothing
 * of ours listens.
 *
 * Behind these ports are monitors, which ask nobody for anything, as an engine does not that answers over plain TCP: whoever
 * reaches the one there could have the other. One that is reached by TLS or ssh keeps its address to itself, and so do we.
 * @throws UserError for such an engine on another machine, or a name that is no machine's
 */
export async function publishedOn(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  const { DOCKER_HOST: engine, DOCKER_TLS_VERIFY: tls } = environment;
  if (engine === undefined || engine === "" || !/^[a-z]+:\/\//.test(engine)) return LOOPBACK;
  const { protocol, hostname } = new URL(engine);
  if (protocol === "unix:" || protocol === "npipe:") return LOOPBACK;
  const host = hostname.replace(/^\[|\]$/g, "");
  const address = isIP(host) === 0 && host !== "" ? await addressOf(host, engine) : host;
  if (address === "::1" || address.startsWith("127.")) return LOOPBACK;
  if ((protocol === "tcp:" || protocol === "http:") && (tls === undefined || tls === "")) return address;
  throw new UserError(
    `DOCKER_HOST=${engine}: an engine on another machine is reached by plain TCP in a network of your own (DOCKER_HOST=tcp://<address>:2375), because the ports of its containers are open as the engine is. Where only ssh or TLS leads there, run Ferryman on that machine.`,
  );
}

async function addressOf(host: string, engine: string): Promise<string> {
  try {
    return (await lookup(host, { family: 4 })).address;
  } catch (error) {
    throw new UserError(`DOCKER_HOST=${engine}: there is no machine ${host} (${messageOf(error)})`);
  }
}
