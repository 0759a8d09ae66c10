/** A JSON value as a tree; what the server has cut can be asked for. */

import { type JSX, type ReactNode, useState } from "react";
import { size } from "../format";
import { number, t } from "../words";
import { Icon } from "./icons";
import { LoadMore } from "./load_more";

interface Cut {
  readonly path: string;
  readonly kind: string;
  readonly bytes: number;
  readonly at_least?: boolean;
  readonly length: number;
  readonly head?: string;
}

const MOST_SHOWN = 200;
const OPEN_DEPTH = 2;

export function cutOf(value: unknown): Cut | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const keys = Object.keys(value);
  if (keys.length !== 1 || keys[0] !== "$cut") return null;
  const cut = (value as { $cut: unknown }).$cut;
  return typeof cut === "object" && cut !== null ? (cut as Cut) : null;
}

/** Render what the server has cut; without it a cut value can only be told about. */
export type CutView = (cut: Cut) => ReactNode;

export function JsonView({ value, onCut }: { value: unknown; onCut?: CutView }): JSX.Element {
  return (
    <div className="json mono">
      <Value name={null} value={value} depth={0} onCut={onCut} />
    </div>
  );
}

function Value({
  name,
  value,
  depth,
  onCut,
}: {
  name: string | null;
  value: unknown;
  depth: number;
  onCut: CutView | undefined;
}): JSX.Element {
  const cut = cutOf(value);
  if (cut !== null) return <Line name={name}>{onCut?.(cut) ?? <CutNote cut={cut} />}</Line>;
  if (typeof value === "object" && value !== null) {
    return <Nested name={name} value={value} depth={depth} onCut={onCut} />;
  }
  return (
    <Line name={name}>
      <Scalar value={value} />
    </Line>
  );
}

/** Tell how long a cut value is; not all of a very long one was counted. */
export function sizeOfCut(cut: Cut): string {
  const told = { size: size(cut.bytes) };
  return cut.at_least === true ? t("context.cut_at_least", told) : t("context.cut", told);
}

export function CutNote({ cut }: { cut: Cut }): JSX.Element {
  return (
    <>
      {cut.head !== undefined && <span className="j-string">{JSON.stringify(cut.head)}</span>}{" "}
      <span className="muted">{sizeOfCut(cut)}</span>
    </>
  );
}

function Line({ name, children }: { name: string | null; children: ReactNode }): JSX.Element {
  return (
    <div className="j-line">
      <span className="j-gap" />
      <Name name={name} />
      <span className="j-value">{children}</span>
    </div>
  );
}

function Name({ name }: { name: string | null }): JSX.Element | null {
  if (name === null) return null;
  return (
    <span className="j-name">
      <bdi>{name}</bdi>:{" "}
    </span>
  );
}

function Scalar({ value }: { value: unknown }): JSX.Element {
  if (typeof value === "string") return <bdi className="j-string">{JSON.stringify(value)}</bdi>;
  return <span className={`j-${value === null ? "null" : typeof value}`}>{String(value)}</span>;
}

function Nested({
  name,
  value,
  depth,
  onCut,
}: {
  name: string | null;
  value: object;
  depth: number;
  onCut: CutView | undefined;
}): JSX.Element {
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.map((each, index) => [String(index), each])
    : Object.entries(value);
  const [isOpen, setOpen] = useState(depth < OPEN_DEPTH && entries.length <= 50);
  const [most, setMost] = useState(MOST_SHOWN);
  const [before, after] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0) {
    return (
      <Line name={name}>
        {before}
        {after}
      </Line>
    );
  }
  return (
    <div>
      <div className="j-line">
        <button
          type="button"
          className="j-toggle"
          aria-expanded={isOpen}
          aria-label={t("json.toggle", { name: name ?? "" })}
          onClick={() => setOpen(!isOpen)}
        >
          <Icon name={isOpen ? "down" : "right"} />
        </button>
        <Name name={name} />
        <span className="muted">
          {before}
          {!isOpen && (
            <>
              {" … "}
              {number(entries.length)} {after}
            </>
          )}
        </span>
      </div>
      {isOpen && (
        <div className="j-inner">
          {entries.slice(0, most).map(([key, each]) => (
            <Value key={key} name={key} value={each} depth={depth + 1} onCut={onCut} />
          ))}
          {entries.length > most && <LoadMore onLoad={() => setMost(most + MOST_SHOWN)} />}
        </div>
      )}
      {isOpen && (
        <div className="j-line muted">
          <span className="j-gap" />
          {after}
        </div>
      )}
    </div>
  );
}
