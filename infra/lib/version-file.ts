// openclaw-version.json: which OpenClaw image an environment runs. `openclaw-provisioner doctor --offline` checks the
// whole file; this module has only what a deployment needs.

import { readFileSync } from "node:fs";

/** The image of users' containers. */
export interface OpenClawImage {
  /** `registry/repository:tag`; without a registry it is in the ECR of the account of the deployment. */
  readonly image: string;
  /** The extended image, without a tag. */
  readonly extendedImage: string;
  /** Why upstream is used in place of the extended image, if it is. */
  readonly fallback?: string;
}

interface VersionFile {
  readonly upstream: string;
  readonly extendedImage: string;
  readonly environments: Readonly<Record<string, { readonly tag: string | null }>>;
}

/** The error of a file that does not say what to deploy. */
export class InvalidVersionFile extends Error {
  constructor(problem: string) {
    super(`openclaw-version.json: ${problem}`);
    this.name = "InvalidVersionFile";
  }
}

/** Reads the file. */
export function readVersionFile(path: string): VersionFile {
  return JSON.parse(readFileSync(path, "utf8")) as VersionFile;
}

/**
 * The image that `env` runs.
 *
 * @throws InvalidVersionFile when the file has no such environment; when the extended image is not built and `strict` is set
 *   (incident 6: a placeholder tag reached production, where no task could pull it).
 */
export function imageFor(file: VersionFile, env: string, strict: boolean): OpenClawImage {
  const known = file.environments[env];
  if (known === undefined) {
    const names = Object.keys(file.environments).join(", ");
    throw new InvalidVersionFile(`environments has no ${env}; deploy one of ${names}, or add it`);
  }
  const { tag } = known;
  const { extendedImage } = file;
  const placeholder = tag !== null && /(^|-)bootstrap$/.test(tag);
  if (tag !== null && !placeholder) return { image: `${extendedImage}:${tag}`, extendedImage };
  const problem = `environments.${env}.tag is ${tag === null ? "null" : `the placeholder ${tag}`}`;
  if (strict) {
    throw new InvalidVersionFile(
      `${problem}; build and push ${extendedImage} (its repository comes with "cdk deploy OpenClawImages -c env=dev"), and ` +
        "write the tag that was pushed, <release>-<commit>",
    );
  }
  return {
    image: file.upstream,
    extendedImage,
    fallback: `openclaw-version.json: ${problem}, so ${env} runs upstream, ${file.upstream}`,
  };
}

/** Year, month and number of a release, from an image's tag; undefined when the tag says none. */
export function releaseOf(image: string): readonly [number, number, number] | undefined {
  const found = /:v?(20\d\d)\.(\d{1,2})\.(\d{1,3})(?:[-.]|$)/.exec(image);
  return found ? [Number(found[1]), Number(found[2]), Number(found[3])] : undefined;
}
