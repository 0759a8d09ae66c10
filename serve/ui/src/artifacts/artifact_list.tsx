/** The artifacts of a task or of a context, each with a preview. */

import "../styles/artifacts.css";
import { useQuery } from "@tanstack/react-query";
import { type JSX, useEffect, useState } from "react";
import { sendForBytes } from "../api/client";
import { hasToken } from "../api/token";
import { size } from "../format";
import { ErrorNote } from "../parts/controls";
import { Icon } from "../parts/icons";
import { JsonView } from "../parts/json_view";
import { t } from "../words";
import { type Artifact, artifactAddress, kindOf, svgAddress } from "./references";

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
  const isText = kind === "text" || kind === "json";
  const [isShown, setShown] = useState(isText || (kind !== "none" && artifact.bytes <= OWN_BYTES));
  const isTooLarge = artifact.bytes > (kind === "svg" ? SVG_BYTES : MOST_BYTES) && !isText;
  return (
    <div className="artifact">
      <div className="row">
        <span className="cut grow" dir="auto" title={artifact.sha256}>
          {artifact.name}
        </span>
        <span className="muted small cut">{artifact.mediaType}</span>
        <span className="muted small num">{size(artifact.bytes)}</span>
        {!isShown && kind !== "none" && !isTooLarge && (
          <button type="button" className="button small" onClick={() => setShown(true)}>
            {t("artifact.show")}
          </button>
        )}
        <Save artifact={artifact} executionId={executionId} />
      </div>
      {isShown && !isTooLarge && <Preview artifact={artifact} executionId={executionId} />}
    </div>
  );
}

function Preview({
  artifact,
  executionId,
}: {
  artifact: Artifact;
  executionId: string;
}): JSX.Element {
  const kind = kindOf(artifact);
  const address = artifactAddress(artifact, executionId);
  const isText = kind === "text" || kind === "json";
  const isStreamed = (kind === "audio" || kind === "video") && !hasToken();
  const found = useQuery({
    queryKey: ["artifact", artifact.sha256, executionId],
    queryFn: ({ signal }) =>
      sendForBytes(address, signal, isText && artifact.bytes > TEXT_BYTES ? TEXT_BYTES : null),
    enabled: !isStreamed,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: KEPT_MS,
  });
  const source = useObjectUrl(isText || kind === "svg" ? null : found.data, artifact.mediaType);
  if (isStreamed) return <Media kind={kind} source={address} name={artifact.name} />;
  if (found.isError) return <ErrorNote error={found.error} onRetry={() => void found.refetch()} />;
  if (found.data === undefined) return <div className="artifact-space" aria-busy="true" />;
  if (isText) return <TextPreview artifact={artifact} bytes={found.data} />;
  if (kind === "svg") return <Picture source={svgAddress(found.data)} name={artifact.name} />;
  if (source === null) return <div className="artifact-space" aria-busy="true" />;
  if (kind === "image") return <Picture source={source} name={artifact.name} />;
  return <Media kind={kind} source={source} name={artifact.name} />;
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

function TextPreview({ artifact, bytes }: { artifact: Artifact; bytes: ArrayBuffer }): JSX.Element {
  const text = new TextDecoder().decode(bytes);
  const isWhole = bytes.byteLength >= artifact.bytes;
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
      const bytes = await sendForBytes(address, new AbortController().signal);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
      link.download = artifact.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
    } catch (caught) {
      setError(caught);
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
