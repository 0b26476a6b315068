// SPDX-License-Identifier: Apache-2.0
// API tokens of the viewer, and users for those who manage access.

import { useTitle } from "../lib/hooks";
import { useMay } from "../session";
import { S } from "../strings";
import { TokensCard } from "./access/TokensCard";
import { UsersCard } from "./access/UsersCard";

export default function AccessPage() {
  useTitle(S.access.title);
  const may = useMay();
  return (
    <>
      <div className="pagehead">
        <h1>{S.access.title}</h1>
      </div>
      <div className="stack">
        <TokensCard />
        {may("manage_access") && <UsersCard />}
      </div>
    </>
  );
}
