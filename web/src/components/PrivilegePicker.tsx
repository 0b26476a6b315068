// SPDX-License-Identifier: Apache-2.0

import { Checkbox } from "@mantine/core";
import { useMay } from "../session";
import { S } from "../strings";

/** Nobody can grant what they do not have. */
export function PrivilegePicker({ value, onChange }: { value: string[]; onChange: (value: string[]) => void }) {
  const may = useMay();
  return (
    <Checkbox.Group label={S.access.privileges} value={value} onChange={onChange}>
      <div className="stack" style={{ gap: 6, marginTop: 6 }}>
        {Object.entries(S.access.privilegeText).map(([privilege, text]) => (
          <Checkbox
            key={privilege}
            value={privilege}
            disabled={!may(privilege) && !value.includes(privilege)}
            label={
              <>
                {text} <span className="mono muted small">{privilege}</span>
              </>
            }
          />
        ))}
      </div>
    </Checkbox.Group>
  );
}

export const privilegeSummary = (privileges: string[]): string =>
  privileges.includes("owner") ? "owner" : privileges.join(", ") || S.common.none;
