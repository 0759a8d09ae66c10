/** What the key that is signed in may do, so that a page offers nothing that would be refused. */

import { createContext, type JSX, type ReactNode, useContext } from "react";
import { StatusIcon } from "./parts/status";
import { t } from "./words";

/** Each role may do what those before it may. */
export const ROLES = ["viewer", "submitter", "operator", "author", "admin"] as const;
export type Role = (typeof ROLES)[number];

export interface Rights {
  readonly role: Role;
  /** The workspaces that the key is limited to; none are all. */
  readonly workspaces: readonly string[];
}

export const ALL: Rights = { role: "admin", workspaces: [] };

/** Read the rights of a session; a role that this page does not know may look only. */
export function rightsOf(session: {
  readonly role?: string;
  readonly workspaces?: readonly string[];
}): Rights {
  if (session.role === undefined) return ALL;
  const role = ROLES.find((each) => each === session.role) ?? "viewer";
  return { role, workspaces: session.workspaces ?? [] };
}

export function allows(rights: Rights, role: Role): boolean {
  return ROLES.indexOf(rights.role) >= ROLES.indexOf(role);
}

export const RightsContext = createContext<Rights>(ALL);

export function useRights(): Rights {
  return useContext(RightsContext);
}

/** Whether the key may do what needs a role. */
export function useMay(role: Role): boolean {
  return allows(useRights(), role);
}

/** Whether the key sees more than some workspaces. */
export function useSeesAll(): boolean {
  return useRights().workspaces.length === 0;
}

/** Say why a page or a part of it is not there for this key. */
export function NotAllowed({ children }: { children: ReactNode }): JSX.Element {
  return (
    <div className="note" role="status">
      <StatusIcon status="held" label={false} />
      <span>{children}</span>
    </div>
  );
}

/** What a page that needs a role says to a key without it. */
export function NeedsRole({ needed }: { needed: Role }): JSX.Element {
  const { role: own } = useRights();
  return (
    <NotAllowed>
      {t("access.needs", { own: t(`role.${own}`), role: t(`role.${needed}`) })}
    </NotAllowed>
  );
}
