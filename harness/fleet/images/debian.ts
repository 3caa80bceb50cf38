import { execFile } from "node:child_process";
import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import { promisify } from "node:util";
import { messageOf, UserError } from "../../base/errors.ts";
import { canInstall, hasProgram, installPackages } from "./apt.ts";
import { runCommand } from "./command.ts";
import { contentHash, packageList } from "./content.ts";
import {
  buildImage,
  IMAGE_LABEL,
  IMAGE_LABEL_VALUE,
  inspectImage,
  type Making,
  pullImage,
  readProgress,
  splitTag,
  temporaryFolder,
} from "./docker.ts";
import { FIXTURES, imageFixture } from "./paths.ts";

/** A Debian with some packages. */
export interface DebianRecipe {
  /** Name of the image: `base-10.0`. */
  readonly what: string;
  readonly suite: "bookworm" | "trixie";
  readonly packages: readonly string[];
  /** Installed from the suite's backports, in a second step: asked for together, apt mixes the two up. */
  readonly backported: readonly string[];
}

const QEMU_PACKAGE = "qemu-system-x86";

/** The QEMU builds that Ferryman makes host images for, by name. */
export const QEMU_RECIPES: Readonly<Record<string, DebianRecipe>> = {
  "7.2": base("7.2", "bookworm", false),
  "10.0": base("10.0", "trixie", false),
  "11.1": base("11.1", "trixie", true),
};

function base(name: string, suite: DebianRecipe["suite"], backported: boolean): DebianRecipe {
  const packages = packageList(imageFixture("base.packages"));
  return {
    what: `base-${name}`,
    suite,
    packages: backported ? packages : [...packages, QEMU_PACKAGE],
    backported: backported ? [QEMU_PACKAGE] : [],
  };
}

/** The same base with libvirt beside its QEMU, Debian's of the same suite; undefined for a QEMU that is not ours. */
export function libvirtRecipe(qemu: string): DebianRecipe | undefined {
  const recipe = QEMU_RECIPES[qemu];
  if (recipe === undefined) return undefined;
  const packages = [...recipe.packages, ...packageList(imageFixture("libvirt.packages"))];
  return { ...recipe, what: `${recipe.what}-libvirt`, packages };
}

export function builderRecipe(): DebianRecipe {
  return { what: "builder", suite: "trixie", packages: packageList(imageFixture("builder.packages")), backported: [] };
}

/** What is left out of images by dpkg; debian:*-slim does the same. */
const LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"];

/** The tag of a recipe. How the image is come by does not count: both ways give the same packages. */
export function debianTag(recipe: DebianRecipe): string {
  const hash = contentHash([
    recipe.suite,
    ...recipe.packages,
    "backported",
    ...recipe.backported,
    ...LEFT_OUT,
    imageFixture("debian.Dockerfile"),
  ]);
  return `ferryman/${recipe.what}:${hash}`;
}

/**
 * Makes a recipe's image: from `debian:*-slim` where that is there or can be pulled, else by mmdebstrap and import.
 * @throws UserError when neither goes.
 */
export async function makeDebian(making: Making, recipe: DebianRecipe): Promise<void> {
  const official = `debian:${recipe.suite}-slim`;
  try {
    if (!(await inspectImage(making.docker, official))) {
      making.progress(recipe.what, `pull ${official}`, 0);
      await pullImage(making, official);
    }
    await fromOfficial(making, recipe);
    return;
  } catch (error) {
    making.signal.throwIfAborted();
    making.say(`${recipe.what}: not from ${official} (${firstLine(error)}); making it with mmdebstrap, about 20 s`);
  }
  await needMmdebstrap(making, recipe);
  await byMmdebstrap(making, recipe);
}

async function fromOfficial(making: Making, recipe: DebianRecipe): Promise<void> {
  using folder = temporaryFolder();
  copyFileSync(join(FIXTURES, "images/debian.Dockerfile"), join(folder.path, "Dockerfile"));
  await buildImage(making, {
    image: recipe.what,
    tag: debianTag(recipe),
    context: folder.path,
    args: {
      SUITE: recipe.suite,
      PACKAGES: recipe.packages.join(" "),
      BACKPORTED: recipe.backported.join(" "),
      BACKPORTS: `${recipe.suite}-backports`,
    },
  });
}

/** @throws UserError where mmdebstrap is neither there nor may be installed */
export async function needMmdebstrap(making: Making, recipe: DebianRecipe): Promise<void> {
  const packages = ["mmdebstrap", "debian-archive-keyring"];
  if (hasProgram("mmdebstrap")) return;
  if (!canInstall(making.mayInstall)) {
    throw new UserError(
      `${recipe.what} can be made from debian:${recipe.suite}-slim or with mmdebstrap, and neither is to be had here. Run:\n` +
        `  sudo apt-get update && sudo apt-get install --yes ${packages.join(" ")}\nthen try again`,
    );
  }
  await installPackages(packages, "no registry can be reached and images are made here", making.say, making.signal);
}

/** The words at the start of mmdebstrap's lines, in the order in which they come, for a coarse progress. */
const STEPS = [
  "running apt-get update",
  "downloading",
  "extracting",
  "installing essential",
  "installing remaining",
  "running --customize",
  "cleaning",
  "creating tarball",
];

/** mmdebstrap's tar goes straight into the engine: no file to clean up, and nothing is tagged unless all of it came. */
async function byMmdebstrap(making: Making, recipe: DebianRecipe): Promise<void> {
  const mirror = await machineMirror();
  const argv = [
    "--variant=minbase",
    // Root may build as root; others need user namespaces, which mmdebstrap finds out by itself.
    ...(process.getuid?.() === 0 ? ["--mode=root"] : []),
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--include=${recipe.packages.join(",")}`,
    ...(recipe.backported.length === 0 ? [] : backportHooks(recipe)),
    '--customize-hook=rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
    recipe.suite,
    "-",
    ...(mirror === undefined ? [] : [`deb ${mirror} ${recipe.suite} main`]),
  ];
  // Should mmdebstrap have to be killed, its chroot goes with this folder; apt's own user must be able to enter it.
  // Others than root keep their own choice: a chroot in a user namespace has owners that only mmdebstrap can remove.
  using folder = temporaryFolder();
  chmodSync(folder.path, 0o755);
  const environment: Record<string, string> = process.getuid?.() === 0 ? { TMPDIR: folder.path } : {};
  const tar = new PassThrough();
  const imported = importTar(making, recipe, tar);
  imported.catch(() => undefined);
  try {
    await runCommand("mmdebstrap", argv, {
      signal: making.signal,
      environment,
      onOutput: (output) => output.pipe(tar, { end: false }),
      onLine: (line) => {
        const at = STEPS.findIndex((step) => line.startsWith(`I: ${step}`));
        if (at >= 0) making.progress(recipe.what, line.slice(3), at / STEPS.length);
      },
    });
  } catch (error) {
    tar.destroy();
    await imported.catch(() => undefined);
    making.signal.throwIfAborted();
    throw new UserError(`${recipe.what} could not be made with mmdebstrap: ${messageOf(error)}`);
  }
  tar.end();
  await imported;
}

/** The second step, with the mirror of the first, which may be mmdebstrap's own choice. */
function backportHooks(recipe: DebianRecipe): string[] {
  const backports = `${recipe.suite}-backports`;
  const apt = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes -oDPkg::Chroot-Directory="$1"';
  return [
    `--customize-hook=find "$1"/etc/apt/sources.list* -name "*.list" -exec sed -n "s/ ${recipe.suite} / ${backports} /p" {} + ` +
      `>"$1"/tmp/backports && mv "$1"/tmp/backports "$1"/etc/apt/sources.list.d/backports.list`,
    `--customize-hook=${apt} update`,
    `--customize-hook=${apt} --target-release ${backports} install ${recipe.backported.join(" ")}`,
  ];
}

async function importTar(making: Making, recipe: DebianRecipe, tar: Readable): Promise<void> {
  const stream = await making.docker.importImage(tar as unknown as NodeJS.ReadableStream, {
    ...splitTag(debianTag(recipe)),
    changes: `LABEL ${IMAGE_LABEL}=${IMAGE_LABEL_VALUE}`,
    abortSignal: making.signal,
  });
  await readProgress(stream as Readable, making.signal, () => undefined);
}

/** The Debian mirror that this machine's own apt uses; undefined where there is none, as on Ubuntu. */
export async function machineMirror(): Promise<string | undefined> {
  const format = "$(ORIGIN)|$(LABEL)|$(SITE)";
  const answer = await promisify(execFile)("apt-get", [
    "indextargets",
    "--format",
    format,
    "Created-By: Packages",
  ]).catch(() => undefined);
  const found = (answer?.stdout ?? "").split("\n").find((line) => line.startsWith("Debian|Debian|"));
  return found?.split("|")[2];
}

function firstLine(thrown: unknown): string {
  return messageOf(thrown).split("\n")[0] ?? "";
}
