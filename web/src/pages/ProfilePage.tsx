// SPDX-License-Identifier: Apache-2.0

import { Button, PasswordInput, useMantineColorScheme } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { BASE, post } from "../api/client";
import { Card, CopyButton, CopyId, Problem, Segments } from "../components/bits";
import { useSignOut } from "../components/Shell";
import { type TemperatureUnit } from "../lib/format";
import { useNow, useTitle } from "../lib/hooks";
import { useTemperatureUnit } from "../lib/preferences";
import { absolute, left, ms } from "../lib/time";
import { useSession } from "../session";
import { S } from "../strings";

export default function ProfilePage() {
  useTitle(S.profile.title);
  const session = useSession();
  const signOut = useSignOut();
  return (
    <>
      <div className="pagehead">
        <h1>{S.profile.title}</h1>
        <span className="grow" />
        <Button variant="default" onClick={signOut}>
          {S.nav.signOut}
        </Button>
      </div>
      <div className="columns">
        <Card title={S.profile.you}>
          <dl className="facts">
            <dt>{S.profile.user}</dt>
            <dd>{session.user.name}</dd>
            {session.user.display_name && (
              <>
                <dt>{S.profile.displayName}</dt>
                <dd>{session.user.display_name}</dd>
              </>
            )}
            <dt>{S.profile.workgroup}</dt>
            <dd>{session.workgroup.name}</dd>
            <dt>{S.device.workgroupId}</dt>
            <dd>
              <CopyId label="" value={session.workgroup.id} />
            </dd>
            <dt>{S.profile.privileges}</dt>
            <dd>
              {session.privileges.map((privilege) => (
                <div key={privilege} title={privilege}>
                  {S.access.privilegeText[privilege] ?? privilege}
                </div>
              ))}
            </dd>
          </dl>
        </Card>
        <TokenCard token={session.token} expires={session.expires_at} />
        <PasswordCard />
        <PreferencesCard />
        <Card title={S.profile.about}>
          <dl className="facts">
            <dt>{S.profile.version}</dt>
            <dd className="mono">{session.version}</dd>
            <dt>{S.profile.apiDocs}</dt>
            <dd>
              <a className="link" href={`${BASE}api/towline/v1/docs`} target="_blank" rel="noreferrer">
                api/towline/v1/docs
              </a>
            </dd>
            <dt>{S.profile.licences}</dt>
            <dd>
              <a className="link" href={`${BASE}licenses.md`} target="_blank" rel="noreferrer">
                licenses.md
              </a>
            </dd>
          </dl>
        </Card>
      </div>
    </>
  );
}

function TokenCard({ token, expires }: { token: string; expires: string | null }) {
  const [shown, show] = useState(false);
  const now = useNow(10_000);
  const at = ms(expires);
  return (
    <Card title={S.profile.session}>
      <p className="muted" style={{ margin: "0 0 12px" }}>
        {S.profile.sessionHelp}
      </p>
      <div className="codeline wrap">
        <code tabIndex={0} data-testid="session-token">
          {shown ? token : "•".repeat(28)}
        </code>
        <CopyButton text={token} />
      </div>
      <div className="row small" style={{ marginTop: 6 }}>
        <button type="button" className="plain link" onClick={() => show(!shown)}>
          {shown ? S.common.hide : S.common.show}
        </button>
        <span className="grow" />
        {!Number.isNaN(at) && (
          <span className="muted num" title={absolute(at)}>
            {S.profile.sessionEnds(S.time.in(left(at - now)))}
          </span>
        )}
      </div>
    </Card>
  );
}

function PasswordCard() {
  const [old, setOld] = useState("");
  const [fresh, setFresh] = useState("");
  const [again, setAgain] = useState("");
  const [tried, setTried] = useState(false);
  const change = useMutation({ mutationFn: () => post<void>("/session/password", { old, new: fresh }) });
  const short = fresh.length < 10;
  const differ = fresh !== again;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (short || differ) return;
    change.mutate(undefined, {
      onSuccess: () => {
        notifications.show({ message: S.profile.changed });
        [setOld, setFresh, setAgain].forEach((set) => set(""));
        setTried(false);
      },
    });
  };
  return (
    <Card title={S.profile.password}>
      <form className="stack" onSubmit={submit}>
        <PasswordInput label={S.profile.oldPassword} autoComplete="current-password" value={old} onChange={(e) => setOld(e.currentTarget.value)} />
        <PasswordInput
          label={S.profile.newPassword}
          autoComplete="new-password"
          value={fresh}
          onChange={(e) => setFresh(e.currentTarget.value)}
          error={tried && short && S.profile.tooShort}
        />
        <PasswordInput
          label={S.profile.repeatPassword}
          autoComplete="new-password"
          value={again}
          onChange={(e) => setAgain(e.currentTarget.value)}
          error={tried && !short && differ && S.profile.mismatch}
        />
        <Problem error={change.error} />
        <Button type="submit" variant="default" loading={change.isPending} disabled={!old || !fresh}>
          {S.profile.change}
        </Button>
      </form>
    </Card>
  );
}

function PreferencesCard() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const [unit, setUnit] = useTemperatureUnit();
  return (
    <Card title={S.profile.preferences}>
      <dl className="facts">
        <dt style={{ paddingTop: 11 }}>{S.profile.theme}</dt>
        <dd>
          <Segments
            small
            label={S.profile.theme}
            value={colorScheme}
            onChange={setColorScheme}
            options={(["auto", "light", "dark"] as const).map((value) => ({ value, label: S.nav.theme[value] }))}
          />
        </dd>
        <dt style={{ paddingTop: 11 }}>{S.profile.temperature}</dt>
        <dd>
          <Segments<TemperatureUnit>
            small
            label={S.charts.unitChoice}
            value={unit}
            onChange={setUnit}
            options={[
              { value: "C", label: "°C" },
              { value: "F", label: "°F" },
            ]}
          />
        </dd>
      </dl>
    </Card>
  );
}
