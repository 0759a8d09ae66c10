/** A person shows the API key, and leaves. */

import { send } from "./client";
import { forgetToken, keepToken } from "./token";

export interface Session {
  key_needed: boolean;
  signed_in: boolean;
  role?: string;
  workspaces?: string[];
  token?: string;
}

/** Begin a session; throws `ApiError` where the key is wrong. */
export async function signIn(key: string): Promise<void> {
  const { token } = await send<Session>("POST", "console/sign-in", { key });
  if (token !== undefined) keepToken(token);
}

/** End the session at the server and here. */
export async function signOut(): Promise<void> {
  try {
    await send("POST", "console/sign-out");
  } finally {
    forgetToken();
  }
}
