// SPDX-License-Identifier: Apache-2.0

import { IconAlertTriangle } from "@tabler/icons-react";
import { Component, type ReactNode } from "react";
import { S } from "../strings";

/** One part that fails does not take the page with it. */
export class Boundary extends Component<{ children: ReactNode; title?: string }, { error: Error | null }> {
  override state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <div className="problem" role="alert" style={{ margin: 12 }}>
        <IconAlertTriangle size={17} />
        <div className="grow">
          <p>{this.props.title ?? S.errors.crashed}</p>
          <p className="muted small">{S.errors.crashedHint}</p>
          <p className="muted small mono break">{error.message}</p>
          <button type="button" className="plain link small" onClick={() => this.setState({ error: null })}>
            {S.common.retry}
          </button>
        </div>
      </div>
    );
  }
}
