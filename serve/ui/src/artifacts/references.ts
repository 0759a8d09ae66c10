/** The artifacts that a value refers to, and how each may be shown.

What functions make is foreign: it is never loaded as a document, and only as what its media type
says. Markup is shown as text, and a picture of SVG as an image, in which no script runs.
*/

import { addressOf } from "../api/client";

const MARK = "rillflow_artifact";
const ANY_TYPE = "application/octet-stream";
const MOST_FOUND = 24;
const MOST_LOOKED_AT = 20_000;

export interface Artifact {
  readonly sha256: string;
  readonly bytes: number;
  readonly mediaType: string;
  readonly name: string;
}

export type Kind = "image" | "svg" | "audio" | "video" | "json" | "text" | "none";

/** Find the references in a JSON value, each artifact once. */
export function artifactsIn(...values: readonly unknown[]): Artifact[] {
  const found = new Map<string, Artifact>();
  const pending: unknown[] = values.toReversed();
  let left = MOST_LOOKED_AT;
  while (pending.length > 0 && left > 0 && found.size < MOST_FOUND) {
    left -= 1;
    const value = pending.pop();
    const artifact = artifactOf(value);
    if (artifact !== null) {
      if (!found.has(artifact.sha256)) found.set(artifact.sha256, artifact);
    } else if (typeof value === "object" && value !== null) {
      for (const each of Object.values(value).slice(0, left).toReversed()) pending.push(each);
    }
  }
  return [...found.values()];
}

function artifactOf(value: unknown): Artifact | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const reference = value as Record<string, unknown>;
  const sha256 = reference[MARK];
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) return null;
  const { bytes, media_type: mediaType, name } = reference;
  return {
    sha256,
    bytes: typeof bytes === "number" && bytes >= 0 ? bytes : 0,
    mediaType: typeof mediaType === "string" ? mediaType.toLowerCase().trim() : ANY_TYPE,
    name: typeof name === "string" && name !== "" ? name : "artifact",
  };
}

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/^image\/(png|jpeg|gif|webp|avif|bmp)$/, "image"],
  [/^image\/svg\+xml$/, "svg"],
  [/^audio\/[\w.+-]+$/, "audio"],
  [/^video\/[\w.+-]+$/, "video"],
  [/^application\/([\w.-]+\+)?json$/, "json"],
  [/^text\/[\w.+-]+$/, "text"],
  [/^application\/([\w.-]+\+)?(xml|yaml|x-yaml|javascript|x-subrip|sql)$/, "text"],
];
const NAMES: readonly (readonly [RegExp, Kind])[] = [
  [/\.json$/i, "json"],
  [/\.(txt|md|csv|tsv|log|srt|vtt|ya?ml|xml|html?)$/i, "text"],
];

/** How an artifact is shown; bytes of no particular type by the name of the file. */
export function kindOf({ mediaType, name }: Pick<Artifact, "mediaType" | "name">): Kind {
  const told = mediaType === ANY_TYPE ? NAMES : KINDS;
  const asked = mediaType === ANY_TYPE ? name : mediaType;
  return told.find(([pattern]) => pattern.test(asked))?.[1] ?? "none";
}

/** Where the server has it; a key of some workspaces names the execution that uses it. */
export function artifactAddress(artifact: Artifact, executionId: string): string {
  return addressOf(`flow/artifacts/${artifact.sha256}`, { execution_id: executionId });
}

/** A picture of SVG as an address with its text: unlike a `blob:`, it opens as no page of ours. */
export function svgAddress(bytes: ArrayBuffer): string {
  const text = new TextDecoder().decode(bytes);
  return `data:image/svg+xml,${encodeURIComponent(text)}`;
}
