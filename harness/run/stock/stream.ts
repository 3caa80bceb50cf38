import { randomBytes } from "node:crypto";
import { type Configuration, QAPI_NAME } from "../../base/configuration.ts";
import type { Way } from "../../fleet/links.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { migrationUri } from "../../qemu/command-line.ts";
import type { QmpClient } from "../../qemu/qmp.ts";
import { openTunnel } from "./tunnel.ts";

/** A migration's addresses as `migrate-incoming`, `migrate-recover` and `migrate` take them. */
export interface StreamUris {
  readonly listen: string;
  readonly connect: string;
}

/** The user of the pre-shared key (QEMU: docs/system/tls.rst, "TLS Pre-Shared Keys"). */
const TLS_USER = "qemu";

/** The capabilities of a migration, beside those that QEMU has on by itself. */
export function capabilitiesOf(
  { capabilities = {} }: Configuration,
  postcopy: boolean,
): Readonly<Record<string, boolean>> {
  return { events: true, "postcopy-ram": postcopy, ...capabilities };
}

/** Sets capabilities, all at once, for some are allowed only together. @throws QmpCommandError in QEMU's words */
export async function setCapabilities(qmp: QmpClient, wanted: Readonly<Record<string, boolean>>): Promise<void> {
  const capabilities = Object.entries(wanted).map(([capability, state]) => ({ capability, state }));
  await qmp.executeRaw("migrate-set-capabilities", { capabilities });
}

/**
 * Makes ready both sides of a migration of a stock run, alike in everything that is configured: capabilities, parameters,
 * a key, and what their stream goes over.
 * @param postcopy whether post-copy is allowed to begin
 * @throws QmpCommandError in QEMU's words where it refuses
 */
export async function prepareStream(
  configuration: Configuration,
  sides: { readonly from: StartedVm; readonly to: StartedVm },
  way: Way,
  postcopy: boolean,
): Promise<StreamUris> {
  const { from, to } = sides;
  const name = `stream-${randomBytes(4).toString("hex")}`;
  const creds = configuration.tls === undefined ? {} : { "tls-creds": name };
  if (configuration.tls !== undefined) await shareKey(name, sides);
  for (const { control } of [to, from]) {
    await setCapabilities(control, capabilitiesOf(configuration, postcopy));
    const parameters = { ...configuration.parameters, ...creds };
    if (Object.keys(parameters).length > 0) await control.executeRaw("migrate-set-parameters", parameters);
  }
  if (configuration.transport !== "unix")
    return { listen: migrationUri(way.listen), connect: migrationUri(way.connect) };
  const ends = await openTunnel(name, from.host, to.host, way);
  return { listen: migrationUri({ unix: ends.listen }), connect: migrationUri({ unix: ends.connect }) };
}

/** A key for one migration, in a file of root's on both hosts. */
async function shareKey(
  name: string,
  { from, to }: { readonly from: StartedVm; readonly to: StartedVm },
): Promise<void> {
  const dir = `/run/ferryman/${name}`;
  const key = `${TLS_USER}:${randomBytes(32).toString("hex")}\n`;
  for (const [vm, endpoint] of [
    [from, "client"],
    [to, "server"],
  ] as const) {
    await vm.host.run(`mkdir -p -m 0700 ${dir}`);
    await vm.host.writeFile(`${dir}/keys.psk`, key);
    await vm.control.executeRaw("object-add", tlsObject(name, dir, endpoint));
  }
}

/** As `object-add` takes it. */
export function tlsObject(id: string, dir: string, endpoint: "client" | "server"): Readonly<Record<string, string>> {
  if (!QAPI_NAME.test(id)) throw new Error(`no object of QEMU's can be called ${id}`);
  return { "qom-type": "tls-creds-psk", id, dir, endpoint, ...(endpoint === "client" ? { username: TLS_USER } : {}) };
}
