// SPDX-License-Identifier: Apache-2.0

import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { ApiError, post } from "../api/client";
import type { Session } from "../api/types";
import { CodeLine, Problem } from "../components/bits";
import { Mark } from "../components/Mark";
import { useTitle } from "../lib/hooks";
import { S } from "../strings";

export default function SignIn({ ended }: { ended: boolean }) {
  useTitle(S.signIn.submit);
  const query = useQueryClient();
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const session = await post<Session>("/session", { user: user.trim(), password });
      query.setQueryData(["session"], session);
    } catch (failed) {
      setBusy(false);
      setPassword("");
      if (failed instanceof ApiError && failed.status === 401) setError(new Error(S.signIn.wrong));
      else if (failed instanceof ApiError && failed.status === 429) setError(new Error(S.signIn.throttled(failed.retryAfter || 60)));
      else setError(failed);
    }
  };

  return (
    <main className="signin">
      <div className="box">
        <span className="mark">
          <Mark size={40} />
        </span>
        <h1>{S.signIn.title}</h1>
        <form className="stack" onSubmit={(event) => void submit(event)}>
          {ended && !error ? <Problem tone="warn" error={new Error(S.signIn.ended)} /> : null}
          <TextInput
            label={S.signIn.user}
            name="username"
            autoComplete="username"
            autoCapitalize="off"
            spellCheck={false}
            autoFocus
            required
            withAsterisk={false}
            size="md"
            value={user}
            onChange={(event) => setUser(event.currentTarget.value)}
          />
          <PasswordInput
            label={S.signIn.password}
            name="password"
            autoComplete="current-password"
            required
            withAsterisk={false}
            size="md"
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
          />
          <Problem error={error} />
          <Button type="submit" size="md" loading={busy}>
            {S.signIn.submit}
          </Button>
        </form>
        <p className="muted small" style={{ margin: "20px 0 8px" }}>
          {S.signIn.hint}
        </p>
        <CodeLine code={S.signIn.hintCommand} />
      </div>
    </main>
  );
}
