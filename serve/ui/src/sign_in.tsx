/** The page on which a person shows the API key. */

import { type FormEvent, type JSX, useState } from "react";
import { signIn } from "./api/session";
import { ErrorNote } from "./parts/controls";
import icon from "./styles/icon.svg";
import { t } from "./words";

export function SignIn({ onSignedIn }: { onSignedIn: () => void }): JSX.Element {
  const [key, setKey] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await signIn(key.trim());
      onSignedIn();
    } catch (caught) {
      setError(caught);
    }
    setBusy(false);
  };
  return (
    <main className="page">
      <form className="sign-in stack" onSubmit={(event) => void submit(event)}>
        <div className="brand">
          <img src={icon} alt="" />
          <span>Rillflow</span>
        </div>
        <h1>{t("sign.title")}</h1>
        <p>{t("sign.why")}</p>
        <label className="stack" style={{ gap: 4 }}>
          {t("sign.key")}
          <input
            className="field mono"
            type="password"
            autoComplete="current-password"
            required
            value={key}
            onChange={(event) => setKey(event.target.value)}
          />
        </label>
        {error !== null && <ErrorNote error={error} />}
        <button type="submit" className="button primary" disabled={isBusy || key === ""}>
          {t("sign.submit")}
        </button>
        <p className="muted">{t("sign.where")}</p>
        <p className="muted">{t("sign.kept")}</p>
      </form>
    </main>
  );
}
