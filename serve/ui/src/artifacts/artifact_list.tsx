/** The artifacts of a task or of a context, each with a preview. */

import "../styles/artifacts.css";
import { useQuery } from "@tanstack/react-query";
import { type JSX, useEffect, useState } from "react";
import { sendForBytes, TooLargeError } from "../api/bytes";
import { hasToken } from "../api/token";
import { size } from "../format";
import { ErrorNote } from "../parts/controls";
import { Icon } from "../parts/icons";
import { JsonView } from "../parts/json_view";
import { t } from "../words";
import { type Artifact, artifactAddress, type Kind, kindOf, svgAddress } from "./references";

/** What is shown without being asked for, and at most. */
const OWN_BYTES = 4_000_000;
const TEXT_BYTES = 64_000;
const SVG_BYTES = 1_000_000;
const MOST_BYTES = 200_000_000;
const KEPT_MS = 60_000;

export function ArtifactList({
  artifacts,
  executionId,
}: {
  artifacts: readonly Artifact[];
  executionId: string;
}): JSX.Element {
  return (
    <ul className="artifacts">
      {artifacts.map((artifact) => (
        <li key={artifact.sha256}>
          <ArtifactView artifact={artifact} executionId={executionId} />
        </li>
      ))}
    </ul>
  );
}

function ArtifactView({
  artifact,
  executionId,
}: {
  artifact: Artifact;
  executionId: string;
}): JSX.Element {
  const kind = kindOf(artifact);
  const [isAsked, setAsked] = useState(false);
  // The size of a reference is what a function has said. It decides only what is not even asked for.
  const isShown = isAsked || isText(kind) || artifact.bytes <= OWN_BYTES;
  const isTooLarge = !isText(kind) && artifact.bytes > mostOf(kind);
  return (
    <div className="artifact">
      <div className="row">
        <span className="cut grow" dir="auto" title={artifact.sha256}>
          {artifact.name}
        </span>
        <span className="muted small cut">{artifact.mediaType}</span>
        <span className="muted small num">{size(artifact.bytes)}</span>
        {!isShown && kind !== "none" && !isTooLarge && <Show onShow={() => setAsked(true)} />}
        <Save artifact={artifact} executionId={executionId} />
      </div>
      {isShown && kind !== "none" && !isTooLarge && (
        <Preview
          key={String(isAsked)}
          artifact={artifact}
          executionId={executionId}
          most={isAsked ? mostOf(kind) : Math.min(mostOf(kind), OWN_BYTES)}
          onShow={isAsked ? null : () => setAsked(true)}
        />
      )}
    </div>
  );
}

function isText(kind: Kind): boolean {
  return kind === "text" || kind === "json";
}

/** How much of an artifact is shown where somebody asks for it. */
function mostOf(kind: Kind): number {
  if (isText(kind)) return TEXT_BYTES;
  return kind === "svg" ? SVG_BYTES : MOST_BYTES;
}

function Show({ onShow }: { onShow: () => void }): JSX.Element {
  return (
    <button type="button" className="button small" onClick={onShow}>
      {t("artifact.show")}
    </button>
  );
}

function Preview({
  artifact,
  executionId,
  most,
  onShow,
}: {
  artifact: Artifact;
  executionId: string;
  /** How many bytes are fetched; of a text the first ones are shown. */
  most: number;
  /** Shows it although it is larger; null where that has been asked for. */
  onShow: (() => void) | null;
}): JSX.Element {
  const kind = kindOf(artifact);
  const address = artifactAddress(artifact, executionId);
  const isStreamed = (kind === "audio" || kind === "video") && !hasToken();
  const wanted = { most, takesPart: isText(kind) };
  const found = useQuery({
    queryKey: ["artifact", artifact.sha256, executionId, most],
    queryFn: ({ signal }) => sendForBytes(address, wanted, signal),
    enabled: !isStreamed,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: KEPT_MS,
  });
  const isApart = isText(kind) || kind === "svg";
  const source = useObjectUrl(isApart ? null : found.data?.bytes, artifact.mediaType);
  if (isStreamed) return <Media kind={kind} source={address} name={artifact.name} />;
  if (found.error instanceof TooLargeError) {
    const leastBytes = found.error.total ?? wanted.most;
    return <TooLarge bytes={leastBytes} onShow={leastBytes <= mostOf(kind) ? onShow : null} />;
  }
  if (found.isError) return <ErrorNote error={found.error} onRetry={() => void found.refetch()} />;
  if (found.data === undefined) return <div className="artifact-space" aria-busy="true" />;
  if (isText(kind)) return <TextPreview artifact={artifact} {...found.data} />;
  if (kind === "svg") return <Picture source={svgAddress(found.data.bytes)} name={artifact.name} />;
  if (source === null) return <div className="artifact-space" aria-busy="true" />;
  if (kind === "image") return <Picture source={source} name={artifact.name} />;
  return <Media kind={kind} source={source} name={artifact.name} />;
}

/** Said of what is larger than its reference says; it is shown where somebody asks for it. */
function TooLarge({ bytes, onShow }: { bytes: number; onShow: (() => void) | null }): JSX.Element {
  return (
    <p className="row muted">
      <span>{t("artifact.larger", { size: size(bytes) })}</span>
      {onShow !== null && <Show onShow={onShow} />}
    </p>
  );
}

/** The address of bytes in this page, as long as it is shown. */
function useObjectUrl(bytes: ArrayBuffer | null | undefined, mediaType: string): string | null {
  const [source, setSource] = useState<string | null>(null);
  useEffect(() => {
    if (bytes == null) return;
    const address = URL.createObjectURL(new Blob([bytes], { type: mediaType }));
    setSource(address);
    return () => {
      URL.revokeObjectURL(address);
      setSource(null);
    };
  }, [bytes, mediaType]);
  return source;
}

function Picture({ source, name }: { source: string; name: string }): JSX.Element {
  const [isBroken, setBroken] = useState(false);
  if (isBroken) return <p className="muted">{t("artifact.broken")}</p>;
  return (
    <img
      className="artifact-picture"
      src={source}
      alt={name}
      decoding="async"
      onError={() => setBroken(true)}
    />
  );
}

function Media({
  kind,
  source,
  name,
}: {
  kind: string;
  source: string;
  name: string;
}): JSX.Element {
  const [isBroken, setBroken] = useState(false);
  const given = {
    src: source,
    controls: true,
    preload: "metadata",
    onError: () => setBroken(true),
    "aria-label": name,
  };
  if (isBroken) return <p className="muted">{t("artifact.broken")}</p>;
  return kind === "audio" ? (
    <audio className="artifact-audio" {...given} />
  ) : (
    <video className="artifact-video" {...given} />
  );
}

function TextPreview({
  artifact,
  bytes,
  isWhole,
}: {
  artifact: Artifact;
  bytes: ArrayBuffer;
  isWhole: boolean;
}): JSX.Element {
  const text = new TextDecoder().decode(bytes);
  const value = kindOf(artifact) === "json" && isWhole ? parsed(text) : undefined;
  if (value !== undefined) return <JsonView value={value} />;
  return (
    <>
      <pre className="artifact-text" tabIndex={0} role="region" aria-label={artifact.name}>
        {text}
      </pre>
      {!isWhole && <p className="muted">{t("artifact.part", { size: size(bytes.byteLength) })}</p>}
    </>
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Save an artifact as a file; whatever it is, no page of ours shows it as a document. */
function Save({
  artifact,
  executionId,
}: {
  artifact: Artifact;
  executionId: string;
}): JSX.Element | null {
  const [error, setError] = useState<unknown>(null);
  const address = artifactAddress(artifact, executionId);
  const label = t("artifact.save", { name: artifact.name });
  const look = "button quiet icon small";
  if (!hasToken()) {
    return (
      <a className={look} href={address} download={artifact.name} aria-label={label} title={label}>
        <Icon name="save" />
      </a>
    );
  }
  // A link cannot send the session's token, so what is saved this way has to fit in memory.
  if (artifact.bytes > MOST_BYTES) return null;
  const save = async () => {
    setError(null);
    try {
      const wanted = { most: MOST_BYTES, takesPart: false };
      const { bytes } = await sendForBytes(address, wanted, new AbortController().signal);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
      link.download = artifact.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
    } catch (caught) {
      setError(caught instanceof TooLargeError ? t("artifact.unsaved") : caught);
    }
  };
  return (
    <>
      <button
        type="button"
        className={look}
        aria-label={label}
        title={label}
        onClick={() => void save()}
      >
        <Icon name="save" />
      </button>
      {error !== null && <ErrorNote error={error} />}
    </>
  );
}
