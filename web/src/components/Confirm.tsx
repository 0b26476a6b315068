// SPDX-License-Identifier: Apache-2.0

import { Button, Modal } from "@mantine/core";
import { S } from "../strings";
import { Problem } from "./bits";

/** Asks before something that cannot be taken back. */
export function Confirm(props: {
  opened: boolean;
  close: () => void;
  title: string;
  text: string;
  action: string;
  busy: boolean;
  error: unknown;
  confirm: () => void;
}) {
  return (
    <Modal opened={props.opened} onClose={props.close} title={<span className="strong">{props.title}</span>}>
      <div className="stack">
        <p style={{ margin: 0 }}>{props.text}</p>
        <Problem error={props.error} />
        <div className="row" style={{ justifyContent: "flex-end" }}>
          <Button variant="default" onClick={props.close} data-autofocus>
            {S.common.cancel}
          </Button>
          <Button color="red" loading={props.busy} onClick={props.confirm}>
            {props.action}
          </Button>
        </div>
      </div>
    </Modal>
  );
}
