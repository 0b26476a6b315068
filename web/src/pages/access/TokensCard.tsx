// SPDX-License-Identifier: Apache-2.0

import { Button, Modal, TextInput } from "@mantine/core";
import { IconKey, IconPlus } from "@tabler/icons-react";
import { type FormEvent, useState } from "react";
import { path, post, remove } from "../../api/client";
import { useChange, useTokens } from "../../api/queries";
import type { Token } from "../../api/types";
import { Ago, Card, CodeLine, Empty, Problem, Segments, SkeletonRows } from "../../components/bits";
import { Confirm } from "../../components/Confirm";
import { PrivilegePicker, privilegeSummary } from "../../components/PrivilegePicker";
import { absolute, day, ms } from "../../lib/time";
import { S } from "../../strings";

const DAYS = { d30: 30, d90: 90, d365: 365 };
type Days = keyof typeof DAYS;

export function TokensCard() {
  const query = useTokens();
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Token | null>(null);
  const revoke = useChange((jti: string) => remove(path(["tokens", jti])), "tokens");
  const tokens = query.data ?? [];
  return (
    <Card
      title={S.access.tokens}
      icon={<IconKey size={16} />}
      flush
      right={
        <Button size="compact-sm" h={28} px={10} variant="default" leftSection={<IconPlus size={14} />} onClick={() => setMaking(true)}>
          {S.access.newToken}
        </Button>
      }
    >
      <p className="muted small" style={{ margin: 0, padding: "0 16px 8px" }}>
        {S.access.tokensHelp}
      </p>
      {query.error && !query.data ? (
        <div style={{ padding: 16 }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : query.isPending ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={3} />
        </div>
      ) : tokens.length === 0 ? (
        <Empty small title={S.access.tokensEmpty}>
          <p>{S.access.tokensEmptyHint}</p>
        </Empty>
      ) : (
        <div className="tablewrap">
          <table className="grid stackwide stackacts">
            <thead>
              <tr>
                <th>{S.access.columns.name}</th>
                <th>{S.access.columns.user}</th>
                <th>{S.access.columns.privileges}</th>
                <th>{S.access.columns.created}</th>
                <th>{S.access.columns.expires}</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {tokens.map((token) => (
                <tr key={token.jti}>
                  <td className="head strong break">{token.name}</td>
                  <td data-label={S.access.columns.user}>{token.user.name}</td>
                  <td className="muted small mono" data-label={S.access.columns.privileges}>{privilegeSummary(token.privileges)}</td>
                  <td className="muted nowrap" data-label={S.access.columns.created}>
                    <Ago time={token.created_at} />
                  </td>
                  <td className="muted nowrap" data-label={S.access.columns.expires} title={absolute(ms(token.expires_at))}>
                    {token.expires_at ? day(ms(token.expires_at)) : S.common.never}
                  </td>
                  <td className="end act">
                    {token.revoked ? (
                      <span className="chip">{S.access.revoked}</span>
                    ) : (
                      <Button size="compact-sm" variant="subtle" color="red" c="var(--tl-bad)" onClick={() => setRevoking(token)}>
                        {S.access.revoke}
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Modal opened={making} onClose={() => setMaking(false)} title={<span className="strong">{S.access.newToken}</span>} size={520}>
        {making && <NewToken close={() => setMaking(false)} />}
      </Modal>
      <Confirm
        opened={revoking !== null}
        close={() => setRevoking(null)}
        title={S.access.revokeTitle(revoking?.name ?? "")}
        text={S.access.revokeText}
        action={S.access.revoke}
        busy={revoke.isPending}
        error={revoke.error}
        confirm={() => revoking && revoke.mutate(revoking.jti, { onSuccess: () => setRevoking(null) })}
      />
    </Card>
  );
}

function NewToken({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState<Days>("d90");
  const [privileges, setPrivileges] = useState(["read"]);
  const make = useChange(
    (body: { name: string; privileges: string[]; ttl_days: number }) => post<{ token: string }>("/tokens", body),
    "tokens",
  );
  if (make.data) {
    return (
      <div className="stack">
        <Problem tone="warn" error={new Error(S.access.tokenOnce)} />
        <CodeLine code={make.data.token} wrap />
        <Button onClick={close}>{S.common.done}</Button>
      </div>
    );
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate({ name: name.trim(), privileges, ttl_days: DAYS[days] });
  };
  return (
    <form className="stack" onSubmit={submit}>
      <TextInput label={S.access.tokenName} value={name} onChange={(e) => setName(e.currentTarget.value)} data-autofocus maxLength={64} />
      <div>
        <div className="fieldlabel">{S.access.tokenDays}</div>
        <Segments<Days>
          label={S.access.tokenDays}
          value={days}
          onChange={setDays}
          options={(Object.keys(DAYS) as Days[]).map((value) => ({ value, label: S.access.days[value] }))}
        />
      </div>
      <PrivilegePicker value={privileges} onChange={setPrivileges} />
      <Problem error={make.error} />
      <Button type="submit" loading={make.isPending} disabled={!name.trim() || privileges.length === 0}>
        {S.common.create}
      </Button>
    </form>
  );
}
