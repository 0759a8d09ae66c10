/** Small things that every page uses: copying, refusals, code, tabs, dialogs. */

import { useQueryClient } from "@tanstack/react-query";
import { type JSX, type ReactNode, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { t } from "../words";
import { Icon, type IconName } from "./icons";
import { StatusIcon } from "./status";

export function CopyButton({
  text,
  label,
  small = true,
  className = "",
}: {
  text: string;
  label?: string;
  small?: boolean;
  className?: string;
}): JSX.Element {
  const [copied, setCopied] = useState<string | null>(null);
  useEffect(() => {
    if (copied === null) return;
    const timer = setTimeout(() => setCopied(null), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const isCopied = copied === text;
  const said = isCopied ? t("action.copied") : (label ?? t("action.copy"));
  return (
    <button
      type="button"
      className={`button quiet icon ${small ? "small" : ""} ${className}`}
      title={said}
      aria-label={said}
      onClick={(event) => {
        event.stopPropagation();
        void copy(text).then((isDone) => setCopied(isDone ? text : null));
      }}
    >
      <Icon name={isCopied ? "done" : "copy"} />
    </button>
  );
}

/** A button that is an icon, and says what it does to who points at it or hears it. */
export function IconButton({
  icon,
  label,
  isOff = false,
  onClick,
}: {
  icon: IconName;
  label: string;
  isOff?: boolean;
  onClick: () => void;
}): JSX.Element {
  return (
    <button
      type="button"
      className="button quiet icon small"
      aria-label={label}
      title={label}
      disabled={isOff}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

/** Put a text on the clipboard, also where the page came over plain HTTP from another machine. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand("copy");
    field.remove();
    return isDone;
  }
}

/** What the server has refused, with its hint. */
export function ErrorNote({
  error,
  onRetry,
}: {
  error: unknown;
  onRetry?: () => void;
}): JSX.Element {
  const told = error instanceof ApiError ? error : null;
  const text =
    told === null
      ? String(error)
      : told.status === 0
        ? t("error.unreachable")
        : told.message || t("error.status", { status: told.status });
  return (
    <div className="note" role="alert">
      <StatusIcon status="failed" label={false} />
      <div className="grow">
        <div>
          {text}
          {told?.code != null && <span className="muted mono"> {told.code}</span>}
        </div>
        {told?.hint != null && <div className="muted">{told.hint}</div>}
      </div>
      {onRetry !== undefined && (
        <button type="button" className="button small" onClick={onRetry}>
          {t("action.retry")}
        </button>
      )}
    </div>
  );
}

export function Code({ text, label }: { text: string; label?: string }): JSX.Element {
  return (
    <div className="code">
      <pre tabIndex={0} role="region" aria-label={label}>
        {text}
      </pre>
      <CopyButton text={text} className="copy" />
    </div>
  );
}

export interface Tab<Name extends string> {
  readonly name: Name;
  readonly label: ReactNode;
}

/** A list of tabs; arrow keys go from one to the other. */
export function Tabs<Name extends string>({
  tabs,
  chosen,
  onChoose,
  label,
}: {
  tabs: readonly Tab<Name>[];
  chosen: Name;
  onChoose: (name: Name) => void;
  label: string;
}): JSX.Element {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const area = list.current;
    const tab = area?.querySelector(`[data-tab="${chosen}"]`)?.getBoundingClientRect();
    if (area == null || tab === undefined) return;
    // Where there is no room for all tabs, the chosen one is seen.
    const box = area.getBoundingClientRect();
    area.scrollLeft += Math.max(0, tab.right - box.right) + Math.min(0, tab.left - box.left);
  }, [chosen]);
  const step = (by: number) => {
    const at = tabs.findIndex((tab) => tab.name === chosen);
    const next = tabs[(at + by + tabs.length) % tabs.length];
    if (next === undefined) return;
    onChoose(next.name);
    list.current?.querySelector<HTMLElement>(`[data-tab="${next.name}"]`)?.focus();
  };
  return (
    <div
      className="tabs"
      role="tablist"
      aria-label={label}
      ref={list}
      onKeyDown={(event) => {
        if (event.key === "ArrowRight") step(1);
        if (event.key === "ArrowLeft") step(-1);
      }}
    >
      {tabs.map((tab) => (
        <button
          type="button"
          role="tab"
          key={tab.name}
          data-tab={tab.name}
          aria-selected={tab.name === chosen}
          tabIndex={tab.name === chosen ? 0 : -1}
          onClick={() => onChoose(tab.name)}
        >
          {tab.label}
        </button>
      ))}
    </div>
  );
}

/** A dialog in front of the page; Escape and a click beside it close it. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose: () => void;
  children: ReactNode;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself
    <dialog
      ref={dialog}
      aria-label={title}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div className="dialog-body">
        <h2>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/** A dialog that says what will happen, and does it. */
export function Confirm({
  title,
  text,
  action,
  danger = false,
  isReady = true,
  onClose,
  onDo,
  children,
}: {
  title: string;
  text: string;
  action: string;
  danger?: boolean;
  isReady?: boolean;
  onClose: () => void;
  onDo: () => Promise<unknown>;
  children?: ReactNode;
}): JSX.Element {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      await onDo();
      onClose();
      void client.invalidateQueries();
    } catch (caught) {
      setError(caught);
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p className="muted">{text}</p>
      {children}
      {error !== null && <ErrorNote error={error} />}
      <div className="dialog-foot">
        <button type="button" className="button" onClick={onClose}>
          {t("action.back")}
        </button>
        <button
          type="button"
          className={`button ${danger ? "danger" : "primary"}`}
          disabled={isBusy || !isReady}
          onClick={() => void run()}
        >
          {action}
        </button>
      </div>
    </Dialog>
  );
}
