/** The half of a session that only pages of this origin hold.

The other half is a cookie, which a browser also sends to other ports of a machine. Each is
worth nothing alone.
*/

const NAME = "rillflow.session";
const HEADER = "X-Rillflow-Session";

/** For browsers that keep nothing. */
let held: string | null = null;

export function keepToken(token: string): void {
  held = token;
  try {
    localStorage.setItem(NAME, token);
  } catch {
    // It lasts as long as the page.
  }
}

export function forgetToken(): void {
  held = null;
  try {
    localStorage.removeItem(NAME);
  } catch {
    // Nothing was kept.
  }
}

/** The header that goes with each request; none before somebody has signed in. */
export function sessionHeader(): Record<string, string> {
  const token = kept() ?? held;
  return token === null ? {} : { [HEADER]: token };
}

/** Whether requests have to carry the token, which links and pictures cannot. */
export function hasToken(): boolean {
  return (kept() ?? held) !== null;
}

function kept(): string | null {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}
