import type Docker from "dockerode";
import { messageOf, UserError } from "../base/errors.ts";
import { FERRYMAN } from "../base/myself.ts";
import { agentBundle } from "./images/agent.ts";
import { builderRecipe, debianTag, makeDebian, QEMU_RECIPES } from "./images/debian.ts";
import { copyDebianDisk, debianGuestTag, diskMakerRecipe, makeDebianGuest } from "./images/debian-guest.ts";
import { inspectImage, type Making, pullImage } from "./images/docker.ts";
import { type HostParts, hostTag, LIBVIRT_VERSION_LABEL, makeHost, QEMU_VERSION_LABEL } from "./images/host.ts";
import { libvirtTag, makeLibvirt, recipeWithLibvirt } from "./images/libvirt.ts";
import { lockBuilding } from "./images/lock.ts";
import { lookForQemu } from "./images/qemu-image.ts";
import { endOnSignals } from "./images/signals.ts";
import { makeStorage, storageRecipe, storageTag } from "./images/storage.ts";
import { makeTools, toolsTag } from "./images/tools.ts";
import { makeToxiproxy, toxiproxyTag } from "./images/toxiproxy.ts";

/** The QEMU builds that `--qemu` takes by name; anything else is the name of an image of the user's. */
export const QEMU_NAMES: readonly string[] = Object.keys(QEMU_RECIPES);
export const DEFAULT_QEMU = "10.0";

export interface ImageProgress {
  readonly image: string;
  readonly step: string;
  /** Of this image, 0 to 1, coarse. */
  readonly fraction: number;
}

export interface EnsureImagesOptions {
  /** A name of QEMU_NAMES, or a user's image: see lookForQemu for what it must contain. */
  readonly qemu: string;
  /** Hosts have libvirt too, and are images of their own; default no. */
  readonly libvirt?: boolean | undefined;
  readonly say: (line: string) => void;
  readonly progress?: ((progress: ImageProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Whether mmdebstrap and Go may be installed by apt where they are needed; default yes (root only). */
  readonly mayInstall?: boolean | undefined;
}

export interface Images {
  readonly host: string;
  readonly toxiproxy: string;
  readonly qemu_version: string;
  /** Where the hosts have it. */
  readonly libvirt_version?: string;
  /** Names of the images that had to be built, empty when all were there. */
  readonly built: readonly string[];
}

/** What the steps of making images are handed, of what was asked for. */
function makingOf(docker: Docker, options: Omit<EnsureImagesOptions, "qemu">, signal: AbortSignal): Making {
  const { say, mayInstall = true, progress } = options;
  return {
    docker,
    say,
    signal,
    mayInstall,
    progress: (image, step, fraction) => progress?.({ image, step, fraction }),
  };
}

/**
 * Makes sure that the images of a run are there: looked for locally, else pulled, else built. Images are tagged by a
 * hash of everything that goes in, so a second call builds nothing, and whatever changes makes a new image.
 * SIGINT and SIGTERM in the middle take temporary files and containers away before the process ends.
 * @throws UserError when an image cannot be had, or the user's image lacks something.
 */
export async function ensureImages(docker: Docker, options: EnsureImagesOptions): Promise<Images> {
  const { qemu, libvirt = false } = options;
  const there = await imagesThere(docker, qemu, libvirt);
  if (there) return there;
  if (process.arch !== "x64")
    throw new UserError(`the host images are for x86-64, and this machine is ${process.arch}`);
  using signals = endOnSignals(options.signal);
  const built: string[] = [];
  const making = makingOf(docker, options, signals.signal);
  const make = async (name: string, tag: string, how: () => Promise<void>): Promise<void> => {
    if (await inspectImage(docker, tag)) return;
    const started_ms = performance.now();
    making.progress(name, "begin", 0);
    await how();
    built.push(name);
    making.progress(name, "done", 1);
    options.say(`image ${name} built in ${((performance.now() - started_ms) / 1000).toFixed(1)} s`);
  };
  const parts = await hostParts(docker, qemu, libvirt, making);
  const recipe = libvirt ? recipeWithLibvirt(qemu) : QEMU_RECIPES[qemu];
  // A user's image that cannot be a host is refused before anything is built or waited for.
  const theirs = recipe ? undefined : await lookForQemu(docker, parts.base);
  using _lock = await lockBuilding(options.say, signals.signal);
  await make("toxiproxy", toxiproxyTag(), () => makeToxiproxy(making));
  await make("tools", parts.tools, async () => {
    const builder = builderRecipe();
    await make(builder.what, debianTag(builder), () => makeDebian(making, builder));
    await makeTools(making, parts.tools);
  });
  if (recipe) await make(recipe.what, debianTag(recipe), () => makeDebian(making, recipe));
  if (libvirt && recipe) await make(`${recipe.what}-ready`, parts.base, () => makeLibvirt(making, recipe));
  await make("host", hostTag(parts), async () =>
    makeHost(making, parts, theirs ?? (await lookForQemu(docker, parts.base))),
  );
  const host = hostTag(parts);
  const labels = (await inspectImage(docker, host))?.Config.Labels;
  const qemu_version = labels?.[QEMU_VERSION_LABEL];
  if (qemu_version === undefined) {
    throw new UserError(`image ${host} was there a moment ago and is gone: is something removing images?`);
  }
  return { host, toxiproxy: toxiproxyTag(), qemu_version, ...libvirtVersion(labels), built };
}

/** Whether what takes long to make of the hosts that have libvirt beside this QEMU is there; nothing is built or pulled. */
export async function libvirtThere(docker: Docker, qemu: string): Promise<boolean> {
  return (await inspectImage(docker, libvirtTag(recipeWithLibvirt(qemu)))) !== undefined;
}

/**
 * Makes sure that the image of the host that exports disks is there; hosts' images have to be.
 * @throws UserError when it cannot be had.
 */
export async function ensureStorageImage(
  docker: Docker,
  options: Omit<EnsureImagesOptions, "qemu"> & {
    /** Disks are images of the user's; default no. */
    readonly images?: boolean;
  },
): Promise<string> {
  const parts = { tools: toolsTag(), agent: await agentBundle(), images: options.images ?? false };
  const tag = storageTag(parts);
  if (await inspectImage(docker, tag)) return tag;
  using signals = endOnSignals(options.signal);
  const { say } = options;
  const making = makingOf(docker, options, signals.signal);
  using _lock = await lockBuilding(say, signals.signal);
  if (await inspectImage(docker, tag)) return tag;
  const recipe = storageRecipe(parts);
  if (!(await inspectImage(docker, debianTag(recipe)))) await makeDebian(making, recipe);
  await makeStorage(making, parts);
  say("image storage built");
  return tag;
}

/**
 * Makes sure that the image with the disk of the Debian guest is there. Only ever made when it is asked for: it takes
 * minutes.
 * @throws UserError when it cannot be had.
 */
async function ensureDebianGuest(docker: Docker, options: Omit<EnsureImagesOptions, "qemu">): Promise<string> {
  const tag = debianGuestTag();
  if (await inspectImage(docker, tag)) return tag;
  using signals = endOnSignals(options.signal);
  const { say } = options;
  const making = makingOf(docker, options, signals.signal);
  const recipe = diskMakerRecipe();
  if (!(await inspectImage(docker, debianTag(recipe)))) {
    using _lock = await lockBuilding(say, signals.signal);
    if (!(await inspectImage(docker, debianTag(recipe)))) await makeDebian(making, recipe);
  }
  // Without the lock: whoever needs another image does not wait for minutes.
  await makeDebianGuest(making);
  say("image debian-guest built");
  return tag;
}

/**
 * Puts the disk of the Debian guest where somebody wants it, making it first where it is not there.
 * @throws UserError where it cannot be had, or written
 */
export async function writeDebianDisk(
  docker: Docker,
  path: string,
  options: Omit<EnsureImagesOptions, "qemu">,
): Promise<void> {
  await copyDebianDisk(docker, await ensureDebianGuest(docker, options), path);
}

/** An image that has a QEMU in its PATH, the host's or that which it is made of; nothing is built or pulled. */
export async function qemuImageThere(docker: Docker, qemu: string): Promise<string | undefined> {
  const names = ["host", QEMU_RECIPES[qemu]?.what];
  const found = (await imageState(docker, qemu)).filter(({ what, found }) => found && names.includes(what));
  return found.at(-1)?.tag;
}

/** What `doctor` shows of the images for a QEMU. Changes nothing. */
export interface ImageState {
  readonly what: string;
  readonly tag: string;
  readonly found: boolean;
  /** Only when missing. */
  readonly mend?: string;
}

export async function imageState(docker: Docker, qemu: string): Promise<ImageState[]> {
  const recipe = QEMU_RECIPES[qemu];
  const mend = `built by itself when first needed, or now: ${FERRYMAN} setup --qemu ${qemu}`;
  const states: ImageState[] = [];
  const look = async (what: string, tag: string, otherwise: string): Promise<boolean> => {
    const found = (await inspectImage(docker, tag)) !== undefined;
    states.push(found ? { what, tag, found } : { what, tag, found, mend: otherwise });
    return found;
  };
  await look("toxiproxy", toxiproxyTag(), mend);
  await look("tools", toolsTag(), mend);
  const base = recipe ? debianTag(recipe) : qemu;
  const has = await look(recipe?.what ?? "QEMU image", base, recipe ? mend : `docker pull ${qemu}, or build it`);
  if (has || recipe) await look("host", hostTag(await hostParts(docker, qemu, false)), mend);
  return states;
}

/** The quick way: everything there already. */
async function imagesThere(docker: Docker, qemu: string, libvirt: boolean): Promise<Images | undefined> {
  if (!QEMU_RECIPES[qemu] && !(await inspectImage(docker, qemu))) return undefined;
  const toxiproxy = toxiproxyTag();
  const host = hostTag(await hostParts(docker, qemu, libvirt));
  const [proxy, found] = await Promise.all([inspectImage(docker, toxiproxy), inspectImage(docker, host)]);
  const labels = found?.Config.Labels;
  const qemu_version = labels?.[QEMU_VERSION_LABEL];
  if (!proxy || qemu_version === undefined) return undefined;
  return { host, toxiproxy, qemu_version, ...libvirtVersion(labels), built: [] };
}

function libvirtVersion(labels: Readonly<Record<string, string>> | undefined): Pick<Images, "libvirt_version"> {
  const libvirt_version = labels?.[LIBVIRT_VERSION_LABEL];
  return libvirt_version === undefined ? {} : { libvirt_version };
}

/** What a host image is made of; a user's image is pulled when it is not there and `making` is given. */
async function hostParts(docker: Docker, qemu: string, libvirt: boolean, making?: Making): Promise<HostParts> {
  const tools = toolsTag();
  const agent = await agentBundle();
  if (libvirt) {
    const base = libvirtTag(recipeWithLibvirt(qemu));
    return { base, base_content: base, tools, agent, libvirt };
  }
  const recipe = QEMU_RECIPES[qemu];
  if (recipe) return { base: debianTag(recipe), base_content: debianTag(recipe), tools, agent, libvirt };
  let image = await inspectImage(docker, qemu);
  if (!image && making) {
    try {
      await pullImage(making, qemu);
    } catch (error) {
      making.signal.throwIfAborted();
      throw new UserError(
        `no QEMU of that name and no image ${qemu}: not on this machine, and not to be pulled (${messageOf(error)}). Names: ${QEMU_NAMES.join(", ")}`,
      );
    }
    image = await inspectImage(docker, qemu);
  }
  if (!image) throw new UserError(`no image ${qemu}`);
  if (image.Architecture !== "amd64") {
    throw new UserError(`image ${qemu} is for ${image.Architecture}, and a host must be linux/amd64`);
  }
  return { base: qemu, base_content: image.Id, tools, agent, libvirt };
}
