/** The button below a list of which there is more. */

import type { JSX } from "react";
import { t } from "../words";

export function LoadMore({
  onLoad,
  isBusy = false,
  label,
}: {
  onLoad: () => void;
  isBusy?: boolean;
  /** What it says where nothing is shown yet; else it loads more. */
  label?: string | undefined;
}): JSX.Element {
  return (
    <div className="row">
      <button type="button" className="button small" disabled={isBusy} onClick={onLoad}>
        {label ?? t("action.loadMore")}
      </button>
    </div>
  );
}
