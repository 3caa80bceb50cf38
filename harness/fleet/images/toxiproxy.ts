import { copyFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../../base/errors.ts";
import { canInstall, hasProgram, installPackages } from "./apt.ts";
import { runCommand } from "./command.ts";
import { contentHash } from "./content.ts";
import { buildImage, inspectImage, type Making, pullImage, tagImage, temporaryFolder } from "./docker.ts";
import { FIXTURES, imageFixture } from "./paths.ts";

const VERSION = "2.12.0";
const PUBLISHED = `ghcr.io/shopify/toxiproxy:${VERSION}`;
const MODULE = `github.com/Shopify/toxiproxy/v2/cmd/server@v${VERSION}`;

export function toxiproxyTag(): string {
  return `ferryman/toxiproxy:${contentHash([PUBLISHED, MODULE, imageFixture("toxiproxy.Dockerfile")])}`;
}

/**
 * Makes the image of the proxy that carries the links: its published image, or its server built from its Go module. In
 * both the API listens on port 8474 of all addresses. (noxious-server, which speaks the same API, would be a third way,
 * but crates.io has only its core library: `cargo install noxious-server` finds no such crate.)
 * @throws UserError when neither can be had.
 */
export async function makeToxiproxy(making: Making): Promise<void> {
  const reasons: string[] = [];
  for (const [how, make] of [
    ["the published image", published],
    ["go install of its module", byGo],
  ] as const) {
    try {
      await make(making);
      return;
    } catch (error) {
      making.signal.throwIfAborted();
      reasons.push(`${how}: ${messageOf(error)}`);
      making.say(`toxiproxy: not by ${how} (${messageOf(error).split("\n")[0]})`);
    }
  }
  throw new UserError(
    `no way to a Toxiproxy image:\n- ${reasons.join("\n- ")}\nMake ${PUBLISHED} available to the engine, or install Go 1.23 or newer, and try again`,
  );
}

async function published(making: Making): Promise<void> {
  if (!(await inspectImage(making.docker, PUBLISHED))) {
    making.progress("toxiproxy", `pull ${PUBLISHED}`, 0);
    await pullImage(making, PUBLISHED);
  }
  await tagImage(making.docker, PUBLISHED, toxiproxyTag());
}

async function byGo(making: Making): Promise<void> {
  if (!hasProgram("go")) {
    if (!canInstall(making.mayInstall)) throw new Error("there is no Go");
    await installPackages(["golang-go"], "Toxiproxy is built from its Go module", making.say, making.signal);
  }
  using folder = temporaryFolder();
  making.say(`toxiproxy: building version ${VERSION} from its Go module, about 20 s`);
  making.progress("toxiproxy", "go install", 0.1);
  const flags = `-s -w -X github.com/Shopify/toxiproxy/v2.Version=${VERSION}`;
  await runCommand("go", ["install", "-trimpath", `-ldflags=${flags}`, MODULE], {
    signal: making.signal,
    environment: { GOBIN: folder.path, CGO_ENABLED: "0", GOFLAGS: "" },
  });
  renameSync(join(folder.path, "server"), join(folder.path, "toxiproxy"));
  copyFileSync(join(FIXTURES, "images/toxiproxy.Dockerfile"), join(folder.path, "Dockerfile"));
  await buildImage(making, { image: "toxiproxy", tag: toxiproxyTag(), context: folder.path });
}
