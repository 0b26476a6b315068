// SPDX-License-Identifier: Apache-2.0

import { ActionIcon, Button, Menu, Modal, PasswordInput, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconDots, IconPlus, IconUsers } from "@tabler/icons-react";
import { type FormEvent, useState } from "react";
import { patch, path, post, remove } from "../../api/client";
import { useChange, useUsers } from "../../api/queries";
import type { User } from "../../api/types";
import { Ago, Card, Problem, SkeletonRows } from "../../components/bits";
import { Confirm } from "../../components/Confirm";
import { PrivilegePicker, privilegeSummary } from "../../components/PrivilegePicker";
import { useSession } from "../../session";
import { S } from "../../strings";

type Doing = { what: "create" } | { what: "edit" | "reset" | "remove"; user: User };

export function UsersCard() {
  const query = useUsers(true);
  const { user: self } = useSession();
  const [doing, setDoing] = useState<Doing | null>(null);
  const update = useChange(({ id, ...body }: { id: string; disabled: boolean }) => patch<User>(path(["users", id]), body), "users");
  const removal = useChange((id: string) => remove(path(["users", id])), "users", "tokens");
  const close = () => setDoing(null);
  const target = doing && doing.what !== "create" ? doing.user : null;
  return (
    <Card
      title={S.access.users}
      icon={<IconUsers size={16} />}
      flush
      right={
        <Button size="compact-sm" h={28} px={10} variant="default" leftSection={<IconPlus size={14} />} onClick={() => setDoing({ what: "create" })}>
          {S.access.newUser}
        </Button>
      }
    >
      <p className="muted small" style={{ margin: 0, padding: "0 16px 8px" }}>
        {S.access.usersHelp}
      </p>
      {update.error ? (
        <div style={{ padding: "0 16px 8px" }}>
          <Problem error={update.error} />
        </div>
      ) : null}
      {query.error && !query.data ? (
        <div style={{ padding: 16 }}>
          <Problem error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : query.isPending ? (
        <div style={{ padding: "0 16px 16px" }}>
          <SkeletonRows rows={3} />
        </div>
      ) : (
        <div className="tablewrap">
          <table className="grid stackwide stackacts">
            <thead>
              <tr>
                <th>{S.access.columns.name}</th>
                <th>{S.access.columns.privileges}</th>
                <th>{S.access.columns.lastLogin}</th>
                <th>{S.access.columns.created}</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {query.data?.map((user) => (
                <tr key={user.id}>
                  <td className="head break">
                    <span className="strong">{user.name}</span>{" "}
                    {user.id === self.id && <span className="chip">{S.common.you}</span>}
                    {user.disabled && <span className="chip warn">{S.access.disabled}</span>}{" "}
                    <span className="muted">{user.display_name}</span>
                  </td>
                  <td className="muted small mono" data-label={S.access.columns.privileges}>{privilegeSummary(user.privileges)}</td>
                  <td className="muted nowrap" data-label={S.access.columns.lastLogin}>{user.last_login ? <Ago time={user.last_login} /> : S.common.never}</td>
                  <td className="muted nowrap" data-label={S.access.columns.created}>
                    <Ago time={user.created_at} />
                  </td>
                  <td className="end act">
                    <Menu position="bottom-end">
                      <Menu.Target>
                        <ActionIcon variant="subtle" color="gray" size={28} aria-label={`${S.device.actions}: ${user.name}`}>
                          <IconDots size={16} />
                        </ActionIcon>
                      </Menu.Target>
                      <Menu.Dropdown>
                        <Menu.Item onClick={() => setDoing({ what: "edit", user })}>{S.access.edit}</Menu.Item>
                        <Menu.Item onClick={() => setDoing({ what: "reset", user })}>{S.access.reset}</Menu.Item>
                        {user.id !== self.id && (
                          <>
                            <Menu.Item onClick={() => update.mutate({ id: user.id, disabled: !user.disabled })}>
                              {user.disabled ? S.access.enable : S.access.disable}
                            </Menu.Item>
                            <Menu.Divider />
                            <Menu.Item color="red" onClick={() => setDoing({ what: "remove", user })}>
                              {S.common.delete}
                            </Menu.Item>
                          </>
                        )}
                      </Menu.Dropdown>
                    </Menu>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Modal
        opened={doing !== null && doing.what !== "remove"}
        onClose={close}
        size={520}
        title={<span className="strong">{doing?.what === "create" ? S.access.newUser : doing?.what === "reset" ? S.access.resetTitle(target?.name ?? "") : target?.name}</span>}
      >
        {doing?.what === "create" && <NewUser close={close} />}
        {doing?.what === "edit" && target && <EditUser user={target} close={close} />}
        {doing?.what === "reset" && target && <ResetPassword user={target} close={close} />}
      </Modal>
      <Confirm
        opened={doing?.what === "remove"}
        close={close}
        title={S.access.removeTitle(target?.name ?? "")}
        text={S.access.removeText}
        action={S.common.delete}
        busy={removal.isPending}
        error={removal.error}
        confirm={() => target && removal.mutate(target.id, { onSuccess: close })}
      />
    </Card>
  );
}

function NewUser({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [display, setDisplay] = useState("");
  const [password, setPassword] = useState("");
  const [privileges, setPrivileges] = useState(["read"]);
  const make = useChange(
    (body: { name: string; display_name: string; password: string; privileges: string[] }) => post<User>("/users", body),
    "users",
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate({ name: name.trim(), display_name: display.trim(), password, privileges }, { onSuccess: close });
  };
  return (
    <form className="stack" onSubmit={submit}>
      <TextInput label={S.access.userName} description={S.access.userNameHelp} value={name} autoComplete="off" data-autofocus onChange={(e) => setName(e.currentTarget.value)} />
      <TextInput label={S.access.displayName} value={display} autoComplete="off" onChange={(e) => setDisplay(e.currentTarget.value)} />
      <PasswordInput label={S.access.password} description={S.access.passwordHelp} value={password} autoComplete="new-password" onChange={(e) => setPassword(e.currentTarget.value)} />
      <PrivilegePicker value={privileges} onChange={setPrivileges} />
      <Problem error={make.error} />
      <Button type="submit" loading={make.isPending} disabled={!name.trim() || !password}>
        {S.common.create}
      </Button>
    </form>
  );
}

function EditUser({ user, close }: { user: User; close: () => void }) {
  const [display, setDisplay] = useState(user.display_name);
  const [privileges, setPrivileges] = useState(user.privileges);
  const save = useChange((body: { display_name: string; privileges: string[] }) => patch<User>(path(["users", user.id]), body), "users", "session");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate({ display_name: display.trim(), privileges }, { onSuccess: close });
  };
  return (
    <form className="stack" onSubmit={submit}>
      <TextInput label={S.access.displayName} value={display} data-autofocus onChange={(e) => setDisplay(e.currentTarget.value)} />
      <PrivilegePicker value={privileges} onChange={setPrivileges} />
      <Problem error={save.error} />
      <Button type="submit" loading={save.isPending}>
        {S.common.save}
      </Button>
    </form>
  );
}

function ResetPassword({ user, close }: { user: User; close: () => void }) {
  const [password, setPassword] = useState("");
  const save = useChange((text: string) => post<void>(path(["users", user.id, "password"]), { password: text }), "users");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate(password, {
      onSuccess: () => {
        notifications.show({ message: S.access.resetDone });
        close();
      },
    });
  };
  return (
    <form className="stack" onSubmit={submit}>
      <PasswordInput label={S.profile.newPassword} description={S.access.passwordHelp} value={password} autoComplete="new-password" data-autofocus onChange={(e) => setPassword(e.currentTarget.value)} />
      <Problem error={save.error} />
      <Button type="submit" loading={save.isPending} disabled={!password}>
        {S.access.reset}
      </Button>
    </form>
  );
}
