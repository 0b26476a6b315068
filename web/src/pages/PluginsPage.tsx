// SPDX-License-Identifier: Apache-2.0
// Credentials with which plugins prove who they are.

import { ActionIcon, Button, Menu, Modal, Select, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconDots, IconDownload, IconPlus } from "@tabler/icons-react";
import { type FormEvent, useState } from "react";
import { call, path, post, remove } from "../api/client";
import { useChange, useCredentials } from "../api/queries";
import type { Credential } from "../api/types";
import { Ago, CodeLine, CopyId, Empty, Problem, SkeletonRows } from "../components/bits";
import { Confirm } from "../components/Confirm";
import { useTitle } from "../lib/hooks";
import { useMay } from "../session";
import { S } from "../strings";

/** The file in octo's form, as plugins read it. */
function download(credential: Credential): void {
  const { app_guid, access_key, platform, architecture } = credential;
  const text = `${JSON.stringify({ app_guid, access_key, platform, architecture }, null, 2)}\n`;
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = "plugin_credential.json";
  anchor.click();
  window.setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export default function PluginsPage() {
  useTitle(S.pluginsPage.title);
  const query = useCredentials();
  const may = useMay();
  const manage = may("manage_devices");
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Credential | null>(null);
  const revoke = useChange((guid: string) => remove(path(["plugins", guid])), "credentials");
  const fetchOne = (guid: string) =>
    call<Credential>(path(["plugins", guid, "credential"])).then(download, (error: Error) =>
      notifications.show({ color: "red", title: S.errors.title, message: error.message }),
    );
  const credentials = query.data ?? [];
  return (
    <>
      <div className="pagehead">
        <h1>{S.pluginsPage.title}</h1>
        <span className="grow" />
        {manage && (
          <Button leftSection={<IconPlus size={16} />} onClick={() => setMaking(true)}>
            {S.pluginsPage.new}
          </Button>
        )}
      </div>
      <p className="pagehelp">{S.pluginsPage.help}</p>
      <section className="card">
        {query.error && !query.data ? (
          <div style={{ padding: 16 }}>
            <Problem error={query.error} retry={() => void query.refetch()} />
          </div>
        ) : query.isPending ? (
          <div style={{ padding: 16 }}>
            <SkeletonRows rows={4} />
          </div>
        ) : credentials.length === 0 ? (
          <Empty title={S.pluginsPage.empty}>
            <p>{S.pluginsPage.emptyHint}</p>
            <div style={{ width: "100%", maxWidth: 400 }}>
              <CodeLine code={S.pluginsPage.emptyCommand} />
            </div>
          </Empty>
        ) : (
          <div className="tablewrap" style={{ paddingTop: 4 }}>
            <table className="grid">
              <thead>
                <tr>
                  <th>{S.pluginsPage.columns.name}</th>
                  <th className="hidephone">{S.pluginsPage.columns.guid}</th>
                  <th className="hidephone">{S.pluginsPage.columns.platform}</th>
                  <th className="end hidephone">{S.pluginsPage.columns.devices}</th>
                  <th className="hidephone">{S.pluginsPage.columns.created}</th>
                  {manage && <th />}
                </tr>
              </thead>
              <tbody>
                {credentials.map((each) => (
                  <tr key={each.app_guid}>
                    <td>
                      <span className="strong break">{each.name}</span>
                      <div className="onlyphone">
                        <CopyId label="" value={each.app_guid} />
                      </div>
                    </td>
                    <td className="hidephone">
                      <CopyId label="" value={each.app_guid} />
                    </td>
                    <td className="muted nowrap hidephone">
                      {each.platform} · {each.architecture}
                    </td>
                    <td className="end hidephone">{each.devices}</td>
                    <td className="muted nowrap hidephone">
                      <Ago time={each.created_at} />
                    </td>
                    {manage && (
                      <td className="end nowrap">
                        <Menu position="bottom-end">
                          <Menu.Target>
                            <ActionIcon variant="subtle" color="gray" size={28} aria-label={`${S.device.actions}: ${each.name}`}>
                              <IconDots size={16} />
                            </ActionIcon>
                          </Menu.Target>
                          <Menu.Dropdown>
                            <Menu.Item leftSection={<IconDownload size={15} />} onClick={() => void fetchOne(each.app_guid)}>
                              {S.pluginsPage.download}
                            </Menu.Item>
                            <Menu.Item color="red" onClick={() => setRevoking(each)}>
                              {S.pluginsPage.revoke}
                            </Menu.Item>
                          </Menu.Dropdown>
                        </Menu>
                      </td>
                    )}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <Modal opened={making} onClose={() => setMaking(false)} title={<span className="strong">{S.pluginsPage.new}</span>} size={520}>
        {making && <NewCredential close={() => setMaking(false)} />}
      </Modal>
      <Confirm
        opened={revoking !== null}
        close={() => setRevoking(null)}
        title={S.pluginsPage.revokeTitle(revoking?.name ?? "")}
        text={S.pluginsPage.revokeText}
        action={S.pluginsPage.revoke}
        busy={revoke.isPending}
        error={revoke.error}
        confirm={() => revoking && revoke.mutate(revoking.app_guid, { onSuccess: () => setRevoking(null) })}
      />
    </>
  );
}

const PLATFORMS = ["linux", "windows"];
const ARCHITECTURES = ["x86_64", "aarch64", "x86"];

function NewCredential({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [guid, setGuid] = useState("");
  const [platform, setPlatform] = useState("linux");
  const [architecture, setArchitecture] = useState("x86_64");
  const make = useChange((body: Record<string, string>) => post<Credential>("/plugins", body), "credentials");
  const made = make.data;
  if (made) {
    const text = JSON.stringify({ app_guid: made.app_guid, access_key: made.access_key, platform: made.platform, architecture: made.architecture }, null, 2);
    return (
      <div className="stack">
        <p style={{ margin: 0 }}>{S.pluginsPage.onceText}</p>
        <CodeLine code={text} wrap />
        <div className="row">
          <Button leftSection={<IconDownload size={15} />} onClick={() => download(made)}>
            {S.pluginsPage.download}
          </Button>
          <Button variant="default" onClick={close}>
            {S.common.done}
          </Button>
        </div>
      </div>
    );
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate({ name: name.trim(), platform, architecture, ...(guid.trim() ? { app_guid: guid.trim() } : {}) });
  };
  return (
    <form className="stack" onSubmit={submit}>
      <TextInput label={S.pluginsPage.name} description={S.pluginsPage.nameHelp} value={name} data-autofocus onChange={(e) => setName(e.currentTarget.value)} />
      <TextInput
        label={S.pluginsPage.guid}
        description={S.pluginsPage.guidHelp}
        value={guid}
        onChange={(e) => setGuid(e.currentTarget.value)}
        styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
      />
      <div className="formrow">
        <Select label={S.pluginsPage.platform} data={PLATFORMS} value={platform} onChange={(value) => setPlatform(value ?? "linux")} allowDeselect={false} />
        <Select label={S.pluginsPage.architecture} data={ARCHITECTURES} value={architecture} onChange={(value) => setArchitecture(value ?? "x86_64")} allowDeselect={false} />
      </div>
      <Problem error={make.error} />
      <Button type="submit" loading={make.isPending} disabled={!name.trim()}>
        {S.common.create}
      </Button>
    </form>
  );
}
