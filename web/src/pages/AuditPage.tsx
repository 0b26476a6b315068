// SPDX-License-Identifier: Apache-2.0

import { Button } from "@mantine/core";
import { useAudit } from "../api/queries";
import type { Json } from "../api/types";
import { Empty, Problem, SkeletonRows } from "../components/bits";
import { useNow, useTitle } from "../lib/hooks";
import { absolute, ms, stamp } from "../lib/time";
import { S } from "../strings";

export default function AuditPage() {
  useTitle(S.audit.title);
  const query = useAudit();
  const now = useNow(1000);
  const entries = query.data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <>
      <div className="pagehead">
        <h1>{S.audit.title}</h1>
      </div>
      <p className="pagehelp">{S.audit.help}</p>
      <section className="card">
        {query.error && !query.data ? (
          <div style={{ padding: 16 }}>
            <Problem error={query.error} retry={() => void query.refetch()} />
          </div>
        ) : query.isPending ? (
          <div style={{ padding: 16 }}>
            <SkeletonRows rows={8} />
          </div>
        ) : entries.length === 0 ? (
          <Empty title={S.audit.empty} />
        ) : (
          <div className="tablewrap" style={{ paddingTop: 4 }}>
            <table className="grid dense stackphone">
              <thead>
                <tr>
                  <th>{S.audit.columns.time}</th>
                  <th>{S.audit.columns.user}</th>
                  <th>{S.audit.columns.action}</th>
                  <th className="hidephone">{S.audit.columns.entity}</th>
                  <th className="hidephone">{S.audit.columns.detail}</th>
                  <th className="hidephone">{S.audit.columns.address}</th>
                </tr>
              </thead>
              <tbody>
                {entries.map((entry) => (
                  <tr key={entry.id}>
                    <td className="muted nowrap when" title={absolute(ms(entry.time))}>
                      {stamp(ms(entry.time), now)}
                    </td>
                    <td className="strong nowrap">{entry.user || S.common.none}</td>
                    <td className="under nowrap">
                      <span className="mono">{entry.action}</span>
                      <div className="onlyphone muted small break">
                        {entry.entity} {shortId(entry.entity_id)} {detail(entry.detail)}
                      </div>
                    </td>
                    <td className="muted nowrap hidephone" title={entry.entity_id}>
                      {entry.entity} <span className="mono small">{shortId(entry.entity_id)}</span>
                    </td>
                    <td className="muted break hidephone">{detail(entry.detail)}</td>
                    <td className="muted mono hidephone">{entry.address}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {query.hasNextPage && (
          <div className="foot">
            <Button size="compact-sm" variant="subtle" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
              {S.common.loadMore}
            </Button>
          </div>
        )}
      </section>
    </>
  );
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const list = (value: Json): string => (Array.isArray(value) && value.every((each) => typeof each === "string") ? value.join(", ") : JSON.stringify(value));
const shortId = (id: string): string => (id.length > 22 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

function detail(value: Json): string {
  if (value === null) return "";
  if (typeof value !== "object" || Array.isArray(value)) return typeof value === "string" ? value : JSON.stringify(value);
  return Object.entries(value)
    .filter(([, each]) => each !== null && each !== "")
    .map(([key, each]) => `${key}: ${typeof each === "string" ? (UUID.test(each) ? shortId(each) : each) : list(each)}`)
    .join(" · ");
}
