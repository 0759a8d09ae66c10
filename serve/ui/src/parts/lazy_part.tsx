/** Parts of the page that are loaded when they are first shown, also after the server has changed. */

import { Component, type ComponentType, type JSX, lazy, type ReactNode } from "react";
import { ApiError } from "../api/client";
import { ErrorNote } from "./controls";

const RENEWED = "rillflow.renewed";
/** A page that was loaded anew so shortly before is not loaded anew once more. */
const LEAST_MS = 30_000;

/** Load a part; where its file is gone, since the server was upgraded, load the page anew. */
export function lazyPart<Props extends object>(
  load: () => Promise<{ default: ComponentType<Props> }>,
) {
  return lazy(() => load().catch(renewed));
}

async function renewed(error: unknown): Promise<never> {
  const isThere = await fetch("console").then(
    (response) => response.ok,
    () => false,
  );
  if (!isThere) throw new ApiError(0, null, "", null);
  if (!mayRenew(Date.now())) throw error;
  location.reload();
  return new Promise(() => {}); // until it is there
}

function mayRenew(nowMs: number): boolean {
  try {
    if (nowMs - Number(sessionStorage.getItem(RENEWED) ?? 0) < LEAST_MS) return false;
    sessionStorage.setItem(RENEWED, String(nowMs));
    return true;
  } catch {
    return false; // a browser that keeps nothing would go on for ever
  }
}

/** Shows what went wrong in a part instead of an empty page. */
export class Guarded extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override render(): JSX.Element {
    const { error } = this.state;
    if (error === null) return <>{this.props.children}</>;
    return <ErrorNote error={error} onRetry={() => location.reload()} />;
  }
}
